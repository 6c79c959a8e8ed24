"""What a user who is not the engine's sees of a real process: root starts it, nobody looks."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PYTHON = next((path for path in ("/usr/bin/python3", "/usr/local/bin/python3") if os.path.exists(path)), None)
ENGINE = """
import socket, sys, time
server = socket.create_server((sys.argv[4], int(sys.argv[6])))
print("[2026-11-24 02:24:29,175] LMCache INFO: P2P transfer finished for request 3 (a.py:1:b)", file=sys.stderr)
time.sleep(60)
"""
LOOK = """
import json, sys
sys.path.insert(0, sys.argv[1])
from kvproof.node import engine as nodeinfo
print(json.dumps(nodeinfo.gather(port=int(sys.argv[2]), host="127.0.0.1", log=json.loads(sys.argv[3]),
                                 run_marker="request 3")))
"""

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or PYTHON is None or shutil.which("runuser") is None,
    reason="needs root, runuser and a Python that every user may run",
)


@pytest.fixture
def place():
    """A folder that every user may enter, with a copy of the core: the tree itself may be closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="kvproof-"))
    folder.chmod(0o755)
    shutil.copytree(
        ROOT / "module_utils" / "kvproof", folder / "core" / "kvproof", ignore=shutil.ignore_patterns("__pycache__")
    )
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def engine(place):
    """A process with an engine's command line, started by root, its log in a file."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (place / "vllm").write_text(ENGINE)
    with open(place / "engine.log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(place / "vllm"), "serve", "/m", "--host", "127.0.0.1", "--port", str(port)],
            stderr=log,
            env={"PYTHONHASHSEED": "0", "HF_TOKEN": "s3cret"},
        )
    deadline = time.monotonic() + 20
    while b"LMCache" not in (place / "engine.log").read_bytes() and time.monotonic() < deadline:
        time.sleep(0.05)
    yield process, port
    process.kill()
    process.wait()


def look(place: Path, port: int, log: dict | None, *before: str) -> dict:
    done = subprocess.run(
        [*before, PYTHON, "-c", LOOK, str(place / "core"), str(port), json.dumps(log)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_root_sees_everything(place, engine):
    process, port = engine
    seen = look(place, port, None)
    assert (seen["engine"]["pid"], seen["engine"]["found_by"]) == (process.pid, "socket")
    assert (seen["engine"]["env"], seen["engine"]["unseen"]) == ({"PYTHONHASHSEED": "0"}, [])
    assert (seen["log"]["found_by"], seen["log"]["source"]) == ("stdout", {"file": str(place / "engine.log")})
    assert [event["n"] for event in seen["log"]["events"]] == [3]


def test_nobody_sees_what_is_world_readable_and_says_what_is_not(place, engine):
    process, port = engine
    seen = look(place, port, None, "runuser", "-u", "nobody", "--")
    assert seen["user"] == "nobody"
    found = seen["engine"]
    assert (found["pid"], found["found_by"], found["running"], found["user"]) == (process.pid, "cmdline", True, "root")
    assert (found["listening"], found["env"], found["other_namespace"]) == (True, None, False)
    assert found["options"] == {"model": "/m", "host": "127.0.0.1", "port": str(port)}
    assert found["unseen"] == ["pid of the socket", "environ", "mount namespace", "where the engine writes its log"]
    assert abs(found["started_at"] - time.time()) < 120
    assert (seen["log"]["state"], seen["config_file"]["state"]) == ("unknown", "unknown")


def test_a_log_that_nobody_may_read_is_unreadable_and_one_that_it_may_is_read(place, engine):
    _process, port = engine
    log = {"file": str(place / "engine.log")}
    seen = look(place, port, log, "runuser", "-u", "nobody", "--")
    assert (seen["log"]["state"], len(seen["log"]["events"])) == ("ok", 1)
    (place / "engine.log").chmod(0o600)
    seen = look(place, port, log, "runuser", "-u", "nobody", "--")
    assert (seen["log"]["state"], seen["log"]["events"]) == ("unreadable", [])
    assert "Permission denied" in seen["log"]["detail"]
