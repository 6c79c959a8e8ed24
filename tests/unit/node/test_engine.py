"""One pass over a node, and over a controller's, on a process filesystem laid out for the test."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from fake_proc import FakeProc
from kvproof.evidence.document import Node
from kvproof.node import http, processes
from kvproof.node.controller import gather as controller_document
from kvproof.node.engine import gather as node_document
from kvproof.node.http import Answer
from kvproof.node.readers import READERS
from kvproof.stack import workers

LOGS = Path(__file__).resolve().parents[2] / "fixtures" / "logs"
YAML = """\
chunk_size: 256
enable_p2p: true
p2p_host: 127.0.0.97
p2p_init_ports: 8200
p2p_lookup_ports: 8201
controller_pull_url: 127.0.0.1:1
controller_reply_url: 127.0.0.1:2
remote_url: redis://u:s3cret@h:1
"""


@pytest.fixture
def node(tmp_path):
    """A node with one engine, its configuration and its log; returns (proc, configuration file, log file)."""
    config, log = tmp_path / "lmcache.yaml", tmp_path / "vllm.log"
    config.write_text(YAML)
    log.write_bytes((LOGS / "healthy_decode.log").read_bytes())
    proc = FakeProc(tmp_path)
    proc.listen("127.0.0.97", 8000, 70)
    proc.listen("127.0.0.97", 8200, 71)
    proc.add(
        50,
        ["vllm", "serve", "/opt/kv/model", "--host", "127.0.0.97", "--api-key", "sk-s3cret"],
        env={"LMCACHE_CONFIG_FILE": str(config), "HF_TOKEN": "s3cret"},
        sockets=[70],
        fds={"2": str(log)},
    )
    return proc, config, log


@pytest.fixture(autouse=True)
def nothing_answers(monkeypatch):
    """No test asks an internal API that happens to run on this machine."""
    return answering(monkeypatch, Answer("refused", None, "connection refused", None))


def gather(proc: FakeProc, **wanted) -> dict:
    return node_document(proc=str(proc), **{"host": "127.0.0.97", "api_timeout": 0.2, "dial_timeout": 0.2, **wanted})


def test_everything_visible(node):
    proc, config, log = node
    seen = gather(
        proc,
        ids=["probe-mwbbucwy-B"],
        run_marker="probe-mwbbucwy",
        controller_url="http://127.0.0.1:3",
        peers=[{"to": "127.0.0.1:4", "why": "peer-lookup"}],
    )
    assert seen["schema"] == "kvproof.node/1"
    assert (seen["ssh"], seen["uid"], seen["hostname"]) == ("ok", os.geteuid(), socket.gethostname())
    engine = seen["engine"]
    assert (engine["pid"], engine["found_by"], engine["running"], engine["listening"]) == (50, "socket", True, True)
    assert engine["options"] == {"model": "/opt/kv/model", "host": "127.0.0.97"}
    assert engine["env"] == {"LMCACHE_CONFIG_FILE": str(config)}
    assert engine["unseen"] == []
    assert (seen["config_file"]["state"], seen["config_file"]["found_by"]) == ("ok", "environ")
    assert "size" not in seen["config_file"]
    assert seen["effective"]["source"] == "log"
    assert seen["effective"]["values"]["p2p_init_ports"] == [8200]
    assert seen["meta"]["kv_dtype"] == "torch.bfloat16"
    assert seen["backends"] == ["LocalCPUBackend", "P2PBackend"]
    assert seen["internal_api"] == {"url": "http://127.0.0.97:6999", "state": "refused", "status": None}
    assert seen["versions"] == {"lmcache": "0.5.6-g3e11e108", "vllm": "0.32.0"}
    assert seen["p2p_host"] == {"value": "127.0.0.97", "resolved": ["127.0.0.97"], "ours": True}
    assert seen["addresses"] == ["127.0.0.1", "10.0.0.17", "::1", "fe80::250:56ff:fe00:1"]
    assert seen["listening"] == [{"address": "127.0.0.97", "port": 8000}, {"address": "127.0.0.97", "port": 8200}]
    assert {(dial["to"], dial["why"]) for dial in seen["dials"]} == {
        ("127.0.0.1:4", "peer-lookup"),
        ("127.0.0.13:8200", "peer-from-log"),
        ("127.0.0.1:3", "controller-http"),
        ("127.0.0.1:8300", "controller-pull"),
        ("127.0.0.1:8400", "controller-reply"),
    }
    assert (seen["log"]["source"], seen["log"]["found_by"]) == ({"file": str(log)}, "stdout")
    assert seen["log"]["ids_missing"] == []
    assert seen["bytes_read"] >= log.stat().st_size + len(YAML)
    assert "s3cret" not in json.dumps(seen)


def test_as_another_user_only_what_is_world_readable(node):
    proc, config, log = node
    proc.hide_descriptors(50)
    seen = gather(proc)
    assert (seen["engine"]["pid"], seen["engine"]["found_by"], seen["engine"]["env"]) == (50, "cmdline", None)
    assert seen["engine"]["unseen"] == [
        "pid of the socket",
        "environ",
        "mount namespace",
        "where the engine writes its log",
    ]
    assert (seen["log"]["state"], seen["log"]["source"]) == ("unknown", None)
    assert "kv_reuse_log" in seen["log"]["detail"]
    assert (seen["config_file"]["state"], seen["effective"]["source"]) == ("unknown", None)
    assert seen["p2p_host"] == {"value": None, "resolved": [], "ours": None}
    assert (seen["meta"], seen["backends"], seen["internal_api"]["state"]) == (None, None, "unknown")
    # With its log given, the rest follows from there.
    seen = gather(proc, log={"file": str(log)})
    assert (seen["log"]["state"], seen["log"]["found_by"]) == ("ok", "variable")
    assert (seen["config_file"]["path"], seen["config_file"]["found_by"]) == ("/opt/kv/run/decode.yaml", "log")
    assert (seen["config_file"]["state"], seen["effective"]["source"]) == ("absent", "log")
    # And with the file given, too.
    seen = gather(proc, config_file=str(config))
    assert (seen["config_file"]["state"], seen["p2p_host"]["ours"]) == ("ok", True)


def test_an_engine_that_is_not_there(tmp_path):
    seen = gather(FakeProc(tmp_path))
    engine = seen["engine"]
    assert (engine["running"], engine["listening"], engine["pid"], engine["unseen"]) == (False, False, None, [])
    assert seen["log"]["state"] == "unknown"
    assert "not found" in seen["log"]["detail"]


def test_of_two_engines_the_one_at_the_address_ssh_was_called_under(tmp_path, monkeypatch):
    proc = FakeProc(tmp_path)
    for pid, host, inode in ((50, "127.0.0.13", 70), (60, "127.0.0.97", 71)):
        proc.listen(host, 8000, inode)
        proc.add(pid, ["vllm", "serve", "m", "--host", host], sockets=[inode])
    assert gather(proc, host=None)["engine"]["pid"] is None
    monkeypatch.setenv("SSH_CONNECTION", "127.0.0.1 40000 127.0.0.97 22")
    assert gather(proc, host=None)["engine"]["pid"] == 60
    assert gather(proc, host="127.0.0.13")["engine"]["pid"] == 50


def test_with_hidden_processes_its_absence_is_not_known(tmp_path):
    engine = gather(FakeProc(tmp_path, hidepid=True))["engine"]
    assert (engine["running"], engine["listening"]) == (None, False)
    assert engine["unseen"] == ["other users' processes"]


def test_an_address_that_is_not_ours(node):
    proc, config, _log = node
    config.write_text(YAML.replace("127.0.0.97", "192.0.2.7"))
    proc_log = proc.folder / "50" / "fd" / "2"
    proc_log.unlink()
    proc_log.symlink_to("pipe:[1]")
    seen = gather(proc)
    assert seen["p2p_host"] == {"value": "192.0.2.7", "resolved": ["192.0.2.7"], "ours": False}
    assert "writes to neither a file nor" in seen["log"]["detail"]


def test_the_environment_stands_above_the_file(node):
    proc, config, _log = node
    (proc.folder / "50" / "fd" / "2").unlink()
    (proc.folder / "50" / "environ").write_bytes(f"LMCACHE_CONFIG_FILE={config}\0LMCACHE_P2P_HOST=10.0.0.17\0".encode())
    assert gather(proc)["p2p_host"]["value"] == "10.0.0.17"


def test_a_container_is_followed_through_its_root(node):
    proc, _config, log = node
    inside = proc.folder / "50" / "root" / "data"
    inside.mkdir(parents=True)
    (inside / "lmcache.yaml").write_text(YAML)
    (inside / "vllm.log").write_bytes(log.read_bytes())
    (proc.folder / "50" / "ns" / "mnt").unlink()
    (proc.folder / "50" / "ns" / "mnt").symlink_to("mnt:[2]")
    (proc.folder / "50" / "environ").write_bytes(b"LMCACHE_CONFIG_FILE=/data/lmcache.yaml\0")
    (proc.folder / "50" / "fd" / "2").unlink()
    (proc.folder / "50" / "fd" / "2").symlink_to("/data/vllm.log")
    seen = gather(proc)
    assert seen["engine"]["other_namespace"] is True
    assert (seen["config_file"]["path"], seen["config_file"]["state"]) == ("/data/lmcache.yaml", "ok")
    assert (seen["log"]["source"], seen["log"]["state"]) == ({"file": "/data/vllm.log"}, "ok")
    seen = gather(proc, log={"file": "/data/vllm.log"}, config_file="/data/lmcache.yaml")
    assert (seen["config_file"]["state"], seen["log"]["state"]) == ("ok", "ok")


def test_a_deleted_log_is_read_while_it_is_open(node):
    proc, _config, log = node
    (proc.folder / "50" / "fd" / "2").unlink()
    with open(proc.folder / "50" / "fd" / "2", "wb") as still_open:
        still_open.write(log.read_bytes())
    os.symlink("x", proc.folder / "50" / "fd" / "1")
    original = os.readlink

    def readlink(path, **options):
        if str(path).endswith("/50/fd/2"):
            return "/gone/vllm.log (deleted)"
        return original(path, **options)

    os.readlink, restore = readlink, original
    try:
        seen = gather(proc)
    finally:
        os.readlink = restore
    assert (seen["log"]["source"], seen["log"]["state"]) == ({"file": "/gone/vllm.log"}, "ok")


def test_every_part_that_is_read_is_a_part_of_the_document():
    assert set(READERS) < set(Node.__annotations__)


# ------------------------------------------------------------------ the controller

WORKERS = {
    "workers": [
        {
            "instance_id": "decode_1",
            "worker_id": 0,
            "ip": "127.0.0.97",
            "port": 8501,
            "peer_init_url": "127.0.0.97:8200",
            "registration_time": 1.5,
            "last_heartbeat_time": 1.5,
            "key_count": 8,
            "new_field": "x",
        }
    ],
    "total_count": 1,
}


@pytest.fixture
def controller(tmp_path):
    proc = FakeProc(tmp_path)
    for port, inode in ((9000, 80), (8300, 81), (8400, 82), (9999, 83)):
        proc.listen("0.0.0.0", port, inode)
    proc.add(
        60,
        ["python3", "/opt/venv/bin/lmcache_controller", "--monitor-ports", '{"pull": 8300, "reply": 8400}'],
        sockets=[80, 81, 82, 83],
    )
    return proc


def answering(monkeypatch, answer: Answer) -> list:
    asked = []

    def get(url, timeout=2.0, max_bytes=0):
        asked.append((url, timeout))
        return answer

    monkeypatch.setattr(http, "get", get)
    return asked


def test_a_controller(controller, monkeypatch):
    asked = answering(monkeypatch, Answer("ok", 200, None, json.dumps(WORKERS).encode()))
    seen = controller_document(name="controller-1", proc=str(controller))
    assert asked == [("http://127.0.0.1:9000/controller/workers", 2.0)]
    assert (seen["schema"], seen["name"], seen["url"]) == (
        "kvproof.controller/1",
        "controller-1",
        "http://127.0.0.1:9000",
    )
    assert seen["http"] == {"state": "ok", "status": 200, "text": None}
    assert seen["workers"][0]["key_count"] == 8
    assert set(seen["workers"][0]) == {
        "instance_id",
        "worker_id",
        "ip",
        "port",
        "peer_init_url",
        "registration_time",
        "last_heartbeat_time",
        "key_count",
    }
    assert (seen["process"]["running"], seen["process"]["pid"], seen["process"]["found_by"]) == (True, 60, "socket")
    assert seen["options"]["monitor_ports"] == {"pull": 8300, "reply": 8400, "heartbeat": None}
    assert seen["listening"] == [{"address": "0.0.0.0", "port": port} for port in (8300, 8400, 9000)]


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (Answer("refused", None, "connection refused", None), "refused"),
        (Answer("timeout", None, "no answer in time", None), "timeout"),
        (Answer("error", 500, "HTTP 500", None), "error"),
        (Answer("ok", 200, None, b"<html>"), "not-json"),
        (Answer("ok", 200, None, b'{"workers": 5}'), "error"),
    ],
)
def test_a_controller_that_does_not_list_its_workers(controller, monkeypatch, answer, state):
    answering(monkeypatch, answer)
    seen = controller_document(url="http://127.0.0.5:9000", proc=str(controller))
    assert (seen["http"]["state"], seen["workers"]) == (state, None)
    assert seen["process"]["running"] is True


def test_a_controller_that_only_its_own_host_can_reach(tmp_path, monkeypatch):
    answering(monkeypatch, Answer("refused", None, "connection refused", None))
    proc = FakeProc(tmp_path)
    proc.listen("127.0.0.1", 9000, 80)
    proc.add(60, ["lmcache_controller", "--host", "localhost", "--port", "9000"], sockets=[80])
    seen = controller_document(url="http://10.0.0.17:9000", proc=str(proc))
    assert (seen["process"]["running"], seen["process"]["pid"], seen["options"]["host"]) == (True, 60, "localhost")
    assert (seen["url"], seen["http"]["state"]) == ("http://10.0.0.17:9000", "refused")


def test_no_controller(tmp_path):
    seen = controller_document(proc=str(FakeProc(tmp_path)))
    assert (seen["url"], seen["http"]["state"], seen["workers"], seen["options"]) == (None, "unset", None, None)
    assert (seen["process"]["running"], seen["listening"]) == (False, [])


def test_a_controller_inside_something_else(tmp_path, monkeypatch):
    proc = FakeProc(tmp_path)
    proc.listen("10.0.0.17", 9000, 80)
    proc.add(60, ["python3", "router.py"], sockets=[80])
    asked = answering(monkeypatch, Answer("ok", 200, None, b'{"workers": []}'))
    seen = controller_document(proc=str(proc))
    assert asked[0][0] == "http://10.0.0.17:9000/controller/workers"
    assert (seen["workers"], seen["options"], seen["process"]["pid"]) == ([], None, 60)


@pytest.mark.parametrize("answer", [None, [], {}, {"workers": None}, {"workers": [1]}, "x"])
def test_workers_of_another_shape(answer):
    assert workers.listed(answer) is None


def test_workers_with_fields_missing():
    assert workers.listed({"workers": [{"instance_id": "a"}]})[0]["key_count"] is None


@pytest.mark.parametrize("ids", [["cmpl-probe-mwbbucwy-B"], ["cmpl-of-the-other"], []])
def test_behind_nat_the_log_with_this_runs_ids_shows_the_engine(tmp_path, ids):
    proc, log = FakeProc(tmp_path), tmp_path / "vllm.log"
    log.write_bytes((LOGS / "healthy_decode.log").read_bytes())
    proc.space("a", "10.88.0.2", {8000: 70})
    proc.space("b", "10.88.0.3", {8000: 80})
    proc.add(50, ["vllm", "serve", "/m/a"], sockets=[70], space="a", fds={"2": str(log)}, env={"PYTHONHASHSEED": "0"})
    proc.add(60, ["vllm", "serve", "/m/b"], sockets=[80], space="b", env={"PYTHONHASHSEED": "1"})
    seen = gather(proc, host="192.0.2.80", ids=ids)
    if ids == ["cmpl-probe-mwbbucwy-B"]:
        assert (seen["engine"]["pid"], seen["engine"]["found_by"], seen["engine"]["unseen"]) == (50, "log", [])
        assert (seen["engine"]["options"], seen["log"]["ids_found"]) == ({"model": "/m/a"}, ids)
        assert seen["addresses"] == ["10.88.0.2"]
    else:
        assert (seen["engine"]["pid"], seen["engine"]["env"], seen["addresses"]) == (None, None, [])
        assert seen["engine"]["unseen"] == [processes.NOT_SHOWN.format(8000)]
