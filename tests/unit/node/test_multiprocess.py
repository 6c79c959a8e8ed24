# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node shows of the multiprocess mode, cache server and coordinator, on a process filesystem laid out for it."""

from __future__ import annotations

import json

import pytest
from fake_engine import Server
from fake_mp import FakeCacheServer
from fake_proc import FakeProc
from kvproof.node.engine import gather as node_document
from kvproof.node.multiprocess import cache_server, coordinator
from kvproof.stack import commands, lines

ID = "cmpl-kvp-kabc12345-0-reuse"
LOG = (
    "\x1b[32;20m[2026-11-25 01:08:58,589] LMCache INFO:\x1b[0m Prefetch request completed (L1+L2): 2/2 retained keys "
    f"(0 L1, 2 L2) in 614.8 ms (external_request_id={ID}-0-97e355b1, prefetch_request_id=4) "
    "(storage_manager.py:651:lmcache.v1.distributed.storage_manager)\n"
    "[2026-11-25 01:08:59,123] LMCache INFO: Stored 512 tokens in 0.159 seconds "
    "(engine_driven_transfer.py:447:lmcache.v1.multiprocess.modules.engine_driven_transfer)\n"
)


@pytest.fixture
def server():
    its = FakeCacheServer("decode_mp", "22")
    yield its
    its.close()


def mp_node(tmp_path, server, host="127.0.0.97", ports=(8000, 5556), connector="LMCacheMPConnector") -> FakeProc:
    """An engine of this connector and its cache server, whose log has a line of this run."""
    (tmp_path / "server.log").write_text(LOG)
    transfer = {
        "kv_connector": connector,
        "kv_connector_extra_config": {"lmcache.mp.host": f"tcp://{host}", "lmcache.mp.port": 5556},
    }
    proc = FakeProc(tmp_path)
    for number, port in enumerate(ports):
        proc.listen("127.0.0.97", port, 70 + number)
    engine = ["vllm", "serve", "/opt/kv/model", "--host", "127.0.0.97", "--kv-transfer-config", json.dumps(transfer)]
    proc.add(50, engine, sockets=[70])
    if 5556 in ports:
        started = [
            "python3",
            "/opt/lmcache/bin/lmcache",
            "server",
            "--instance-id",
            "decode_mp",
            "--host",
            "127.0.0.97",
        ]
        started += ["--port", "5556", "--http-port", server.url.rpartition(":")[2], "--l2-adapter", '{"password": "x"}']
        started += ["--p2p-advertise-url", "127.0.0.97:8200", "--coordinator-url", "http://u:s3cret@127.0.0.5:9300"]
        proc.add(60, started, sockets=[71], fds={"2": str(tmp_path / "server.log")})
    return proc


def look(proc, **wanted):
    return node_document(proc=str(proc), host="127.0.0.97", port=8000, dial_timeout=0.2, **wanted)


def test_the_engines_own_server_is_found_and_read(tmp_path, server):
    found = look(mp_node(tmp_path, server), ids=[ID], run_marker="kvp-kabc12345", since=0.0)["cache_server"]
    assert (found["process"]["pid"], found["healthy"], found["url"]) == (60, True, server.url)
    assert found["wanted"] == {"host": "127.0.0.97", "port": 5556, "ours": True}
    assert (found["facts"]["engines"], found["facts"]["chunk_size"]) == (["22"], server.chunk_size)
    assert found["options"]["coordinator-url"] == "http://127.0.0.5:9300"
    assert "l2-adapter" not in found["options"]
    assert [event["kind"] for event in found["log"]["events"]] == ["prefetched", "server_stored"]
    assert lines.same_request(ID, found["log"]["events"][0]["id"])
    assert "s3cret" not in json.dumps(found)


def test_its_log_is_left_alone_where_no_run_is_looked_for(tmp_path, server):
    assert look(mp_node(tmp_path, server), only=["cache_server"])["cache_server"]["log"] is None


def test_a_server_that_is_gone_and_one_on_another_node(tmp_path, server):
    gone = look(mp_node(tmp_path, server, ports=(8000,)))["cache_server"]
    assert (gone["process"]["running"], gone["facts"], gone["http"]["state"]) == (False, None, "unset")
    (tmp_path / "other").mkdir()
    away = look(mp_node(tmp_path / "other", server, host="10.9.9.9"))["cache_server"]
    assert away["wanted"]["ours"] is False


def test_an_engine_of_another_connector(tmp_path, server):
    proc = mp_node(tmp_path, server, connector="LMCacheConnectorV1")
    stray = look(proc)["cache_server"]
    assert (stray["wanted"], stray["process"]["pid"]) == (None, 60)
    (tmp_path / "alone").mkdir()
    alone = FakeProc(tmp_path / "alone")
    alone.add(50, ["vllm", "serve", "m"])
    assert look(alone)["cache_server"] is None


def test_a_server_in_another_container_is_none_of_this_engines(tmp_path):
    proc = FakeProc(tmp_path / "host")
    proc.add(50, ["vllm", "serve", "m"])
    proc.space("other", "10.9.0.2", {5555: 91})
    proc.add(60, ["lmcache", "server", "--port", "5555"], space="other")
    assert look(proc)["cache_server"] is None


def test_a_server_on_a_host_of_its_own(tmp_path, server):
    proc = mp_node(tmp_path, server)
    seen = cache_server(str(proc), name="cache-1", ids=[ID], run_marker="kvp-kabc12345", since=0.0)
    assert (seen["name"], seen["facts"]["instance_id"], len(seen["log"]["events"])) == ("cache-1", "decode_mp", 2)
    assert cache_server(str(FakeProc(tmp_path / "x")))["process"]["pid"] is None


def test_the_coordinator(tmp_path):
    its = Server()
    its.on = {
        "/healthz": lambda h, _p: h.reply(200, {"status": "healthy"}),
        "/instances": lambda h, _p: h.reply(200, {"instances": [{"instance_id": "a", "mq_port": 5555, "secret": "x"}]}),
        "/directory/stats": lambda h, _p: h.reply(200, {"l1_keys_by_instance": {"a": 8}}),
    }
    proc, port = FakeProc(tmp_path), its.url.rpartition(":")[2]
    proc.listen("127.0.0.1", int(port), 70)
    proc.add(70, ["lmcache", "coordinator", "--host", "127.0.0.1", "--port", port], sockets=[70])
    seen = coordinator(str(proc), url=its.url)
    its.close()
    assert (seen["healthy"], seen["process"]["pid"], seen["keys"]) == (True, 70, {"a": 8})
    assert seen["instances"][0]["mq_port"] == 5555
    assert "secret" not in seen["instances"][0]
    gone = coordinator(str(FakeProc(tmp_path / "x")), url=its.url)
    assert (gone["process"]["running"], gone["http"]["state"], gone["instances"]) == (False, "refused", None)


@pytest.mark.parametrize(
    "words",
    [
        ["/opt/v/bin/python", "/opt/v/bin/lmcache", "server", "--port", "5556"],
        ["lmcache", "server", "--port=5556"],
        ["python3.11", "-m", "lmcache.cli.main", "server", "--port", "5556"],
    ],
)
def test_command_lines_of_a_cache_server(words):
    assert commands.cache_server(words).port == 5556
    assert commands.coordinator(words) is None
    assert commands.engine(words) is None
