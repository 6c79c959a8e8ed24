"""The configuration file, read with and without PyYAML, and the internal API."""

from __future__ import annotations

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from kvproof.node.config import api_urls, ask_api, config_path, p2p_ports, read_file
from kvproof.node.http import get, get_json
from kvproof.stack import flatyaml

TYPICAL = """\
---
# LMCache on decode-1
chunk_size: 256            # tokens
local_cpu: true
max_local_cpu_size: 0.5
enable_p2p: "yes"
enable_async_loading: yes
p2p_host: "10.0.0.17"
p2p_init_ports: [8200, 8201]
p2p_lookup_ports:
  - 8300
  - 8301
nixl_backends:
- UCX
- 'POSIX'
lmcache_instance_id: 'decode''s #1'
remote_url: redis://user:s3cret@cache:6379/0
local_disk:
min_retrieve_tokens: 0x10
priority_limit: ~
extra_config: {"token": "s3cret"}
nested:
  a: 1
  b:
    - 2
text: |
  chunk_size: 128
enable_pd: off
"""


def test_the_usual_style_reads_the_same_with_and_without_a_library():
    flat, library = flatyaml.read_flat(TYPICAL), yaml.safe_load(TYPICAL)
    for key in ("extra_config", "nested", "text"):
        assert flat.pop(key) is None
        library.pop(key)
    assert flat == library
    assert flat["enable_p2p"] == "yes"
    assert flat["enable_async_loading"] is True


SCALAR = st.one_of(
    st.integers(-(10**9), 10**9),
    st.booleans(),
    st.none(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(alphabet="abcXYZ019 .,:;#'\"-_/@[]{}yesno~", max_size=16),
)


@given(
    st.dictionaries(st.from_regex(r"\A[a-z][a-z0-9_]{0,12}\Z"), st.one_of(SCALAR, st.lists(SCALAR, max_size=4))),
    st.booleans(),
)
def test_what_is_understood_is_understood_as_the_library_does(mapping, flow):
    text = yaml.safe_dump(mapping, default_flow_style=None if flow else False, width=10**6, sort_keys=False)
    try:
        flat = flatyaml.read_flat(text) if mapping else {}
    except flatyaml.NotReadable:
        return
    assert flat == yaml.safe_load(text)


@given(st.text(alphabet="abz:019 .,#'\"-_/@[]{}|>&*!%\n\t", max_size=60))
def test_any_text_is_read_alike_or_refused(text):
    try:
        flat = flatyaml.read_flat(text)
    except flatyaml.NotReadable:
        return
    try:
        library = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return
    library = library if isinstance(library, dict) else {}
    for key, value in flat.items():
        if value is not None and key in library and not isinstance(library[key], (dict, str)):
            assert value == library[key]


@pytest.mark.parametrize(
    "text",
    [
        "a: [1, 2",
        "just words",
        "a: 1\n   b: 2",
        "a: *ref",
        "a: !tag x",
        "a: 'open",
        "a: 12:30:45",
        "{a: 1",
        "a: [[1], 2]",
        "- a\n- b",
    ],
)
def test_what_is_not_understood_is_refused_with_its_line(text):
    with pytest.raises(flatyaml.NotReadable, match=r"^line \d+: "):
        flatyaml.read_flat(text)


def test_the_library_is_used_where_it_is(monkeypatch):
    assert flatyaml.load("a: 12:30") == {"a": 750}
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    with pytest.raises(flatyaml.NotReadable):
        flatyaml.load("a: 12:30")


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: [1", "line 1: "), ("- 1", "holds no mapping"), ("a: \x00", ""), ("plain", "holds no mapping")],
)
def test_a_file_that_is_no_configuration(tmp_path, text, said):
    path = tmp_path / "lmcache.yaml"
    path.write_text(text)
    found = read_file(str(path), "variable")
    assert found["state"] == "invalid"
    assert said in found["detail"]


def test_a_configuration_file(tmp_path):
    path = tmp_path / "lmcache.yaml"
    path.write_text(TYPICAL)
    found = read_file("/etc/lmcache.yaml", "environ", str(path))
    assert (found["path"], found["found_by"], found["state"]) == ("/etc/lmcache.yaml", "environ", "ok")
    assert found["values"]["remote_url"] == "redis://cache:6379/0"
    assert found["keys_other"] == ["extra_config", "nested", "priority_limit", "text"]
    assert found["mtime"] == path.stat().st_mtime
    assert "s3cret" not in json.dumps(found)


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    assert read_file(str(tmp_path / "none"), "log")["state"] == "absent"
    assert read_file(str(tmp_path), "log")["state"] == "invalid"
    assert read_file(None, None)["state"] == "unknown"
    (tmp_path / "big").write_text("a: 1\n" * 100000)
    assert "more than" in read_file(str(tmp_path / "big"), "log")["detail"]
    (tmp_path / "latin").write_bytes(b"a: \xff")
    assert read_file(str(tmp_path / "latin"), "log")["state"] == "invalid"
    if os.geteuid() == 0:

        def refuse(*args, **_kwargs):
            raise PermissionError(13, "Permission denied", args[0])

        monkeypatch.setattr("builtins.open", refuse)
    else:
        (tmp_path / "latin").chmod(0)
    assert read_file(str(tmp_path / "latin"), "log")["state"] == "unreadable"


def test_where_the_path_comes_from():
    logged = [{"kind": "config_file", "path": "/old"}, {"kind": "config_file", "path": "/new"}]
    env = {"LMCACHE_CONFIG_FILE": "/env"}
    assert config_path("/given", env, logged) == ("/given", "variable")
    assert config_path(None, env, logged) == ("/env", "environ")
    assert config_path(None, None, logged) == ("/new", "log")
    assert config_path(None, {}, []) == (None, None)


# ------------------------------------------------------------------ the internal API


class Api:
    """A little HTTP server on a loopback address: path to (status, body)."""

    def __init__(self, answers: dict, port: int = 0):
        self.asked = asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):  # the name is http.server's
                asked.append(self.path)
                status, body = answers.get(self.path, (404, "{}"))
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", body)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def apis():
    """Makes a scheduler's and a worker's API on neighbouring ports."""
    running = []

    def make(scheduler: dict | None, worker: dict | None) -> tuple[int, list]:
        for _attempt in range(50):
            first = Api(scheduler or {})
            try:
                second = Api(worker or {}, first.port + 1)
            except OSError:
                first.close()
                continue
            for api, wanted in ((first, scheduler), (second, worker)):
                running.append(api) if wanted is not None else api.close()
            return first.port, [first.asked, second.asked]
        raise RuntimeError("no two neighbouring ports are free")

    yield make
    for api in running:
        api.close()


CONF = json.dumps(
    {
        "chunk_size": 256,
        "enable_p2p": True,
        "remote_url": "redis://u:s3cret@h:1",
        "extra_config": {"token": "s3cret"},
        "pd_allocation_timeout_sec": float("inf"),
    }
)
META = json.dumps({"model_name": "/m", "kv_dtype": "torch.bfloat16", "kv_connector_extra_config": {"a": "s3cret"}})
COMMON = {"/conf": (200, CONF), "/meta": (200, META), "/lmc_version": (200, '"0.5.6"')}
UNAVAILABLE = (503, '{"error": "/backends API is unavailable"}')


def test_scheduler_and_worker_are_asked(apis):
    port, asked = apis(
        {**COMMON, "/backends": UNAVAILABLE},
        {**COMMON, "/backends": (200, '{"P2PBackend": "P2PBackend", "LocalCPUBackend": "x"}')},
    )
    found = ask_api(None, {"internal_api_server_enabled": True, "internal_api_server_port_start": port}, 2.0)
    assert found["internal_api"] == {"url": f"http://127.0.0.1:{port}", "state": "ok", "status": 200}
    assert found["conf"] == {"chunk_size": 256, "enable_p2p": True, "remote_url": "redis://h:1"}
    assert found["meta"] == {"model_name": "/m", "kv_dtype": "torch.bfloat16"}
    assert (found["backends"], found["lmcache"]) == (["LocalCPUBackend", "P2PBackend"], "0.5.6")
    assert set(asked[0] + asked[1]) == {"/conf", "/meta", "/lmc_version", "/backends"}


def test_a_worker_whose_cache_failed_to_start(apis):
    port, _asked = apis({**COMMON, "/backends": UNAVAILABLE}, {**COMMON, "/backends": UNAVAILABLE})
    found = ask_api(f"http://127.0.0.1:{port}", {}, 2.0)
    assert found["internal_api"]["status"] == 503
    assert (found["backends"], found["internal_api"]["state"]) == (None, "ok")


def test_only_the_worker_answers(apis):
    port, _asked = apis(None, {**COMMON, "/backends": (200, '{"P2PBackend": "x"}')})
    found = ask_api(f"127.0.0.1:{port}", {}, 2.0)
    assert found["internal_api"] == {"url": f"http://127.0.0.1:{port + 1}", "state": "ok", "status": 200}
    assert found["backends"] == ["P2PBackend"]


def test_the_url_given_may_be_the_workers(apis):
    port, _asked = apis(None, {**COMMON, "/backends": (200, '{"P2PBackend": "x"}')})
    found = ask_api(f"http://127.0.0.1:{port + 1}", {}, 2.0)
    assert found["backends"] == ["P2PBackend"]


@pytest.mark.parametrize(
    ("logged", "state"),
    [
        ({"lmcache_instance_id": "decode-1"}, "another"),
        ({"lmcache_instance_id": "prefill-1"}, "ok"),
        ({}, "ok"),
        (None, "ok"),
    ],
)
def test_the_api_of_the_other_engine_on_this_host(apis, logged, state):
    here = {**COMMON, "/conf": (200, json.dumps({"lmcache_instance_id": "prefill-1"})), "/backends": (200, "{}")}
    port, _asked = apis(here, here)
    found = ask_api(f"http://127.0.0.1:{port}", {}, 2.0, logged=logged)
    assert found["internal_api"]["state"] == state
    assert (found["conf"] is None, found["meta"] is None) == (state == "another", state == "another")


@pytest.mark.parametrize(
    ("answers", "state"),
    [
        ({"/conf": (200, "<html>")}, "error"),
        ({"/conf": (500, "")}, "error"),
        ({"/conf": (200, "[]")}, "error"),
        ({"/conf": (302, "http://127.0.0.1:1/conf")}, "error"),
        (None, "refused"),
    ],
)
def test_an_api_that_is_none(apis, answers, state):
    port, _asked = apis(answers, answers)
    found = ask_api(f"http://127.0.0.1:{port}", {}, 2.0)
    assert (found["internal_api"]["state"], found["conf"]) == (state, None)


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ({}, "unknown"),
        ({"chunk_size": 256}, "off"),
        ({"internal_api_server_enabled": False}, "off"),
        ({"internal_api_server_enabled": True, "internal_api_server_port_start": "x"}, "unknown"),
    ],
)
def test_an_api_that_is_not_asked(values, state):
    assert ask_api(None, values, 2.0)["internal_api"] == {"url": None, "state": state, "status": None}


def test_urls_of_the_internal_api():
    on = {"internal_api_server_enabled": True}
    assert api_urls(None, on) == ("http://127.0.0.1:6999", "http://127.0.0.1:7000")
    assert api_urls(None, {**on, "internal_api_server_host": "0.0.0.0"})[0] == "http://127.0.0.1:6999"
    assert api_urls(None, {**on, "internal_api_server_host": "fd00::1"})[0] == "http://[fd00::1]:6999"
    assert api_urls("http://h:7099", {}) == ("http://h:7099", "http://h:7100")


def test_a_server_that_drips_is_not_waited_for():
    class Drip(BaseHTTPRequestHandler):
        def do_GET(self):  # the name is http.server's
            self.send_response(200)
            self.end_headers()
            try:
                for _byte in range(100):
                    self.wfile.write(b" ")
                    threading.Event().wait(0.05)
            except OSError:
                pass

        def log_message(self, *_args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Drip)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        answer = get(f"http://127.0.0.1:{server.server_port}/", timeout=0.3)
        assert (answer.state, answer.body) == ("timeout", None)
    finally:
        server.shutdown()
        server.server_close()


def test_environment_proxies_are_ignored(apis, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    port, _asked = apis(COMMON, COMMON)
    assert get_json(f"http://127.0.0.1:{port}/conf")[0].state == "ok"


@pytest.mark.parametrize(
    ("url", "state"),
    [
        ("ftp://h/", "error"),
        ("http://", "error"),
        ("http://[::1", "error"),
        ("http://127.0.0.1:1/", "refused"),
        ("http://no.invalid/", "error"),
    ],
)
def test_urls_that_give_nothing(url, state):
    assert get(url, timeout=2.0).state == state


def test_more_than_wanted_is_not_read(apis):
    port, _asked = apis({"/conf": (200, "x" * 100)}, {})
    answer = get(f"http://127.0.0.1:{port}/conf", max_bytes=10)
    assert (answer.state, answer.body) == ("error", None)


def test_p2p_ports():
    assert p2p_ports({"p2p_init_ports": [8200, 8201], "p2p_lookup_ports": 8300, "lmcache_worker_ports": None}) == [
        8200,
        8201,
        8300,
    ]
