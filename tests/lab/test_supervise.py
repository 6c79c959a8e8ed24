# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""The lab's supervisor, with real processes: idempotent, restarts as one unit, never signals a stranger."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

SUPERVISE = Path(__file__).resolve().parents[2] / "lab" / "cluster" / "supervise.py"
SLEEP = "import time; print('up', flush=True); time.sleep(600)"
LISTEN = "import socket, time; s = socket.create_server(('127.0.0.1', {})); time.sleep(600)"
# ignores SIGTERM and has a child that does, too
STUBBORN = (
    "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); print('up', flush=True); time.sleep(600)"
)


class Lab:
    def __init__(self, folder):
        self.folder = folder
        self.specs = []

    def add(self, name, code=SLEEP, **changes):
        self.specs.append(
            {
                "name": name,
                "unit": "cluster",
                "record": str(self.folder / f"{name}.pid"),
                "argv": [sys.executable, "-c", code],
                "env": {},
                "cwd": str(self.folder),
                "user": None,
                "log": str(self.folder / "logs" / f"{name}.log"),
                "log_mode": "0640",
                "fresh_dirs": [str(self.folder / name)],
                "ports": [],
                "files": [],
                "ready_urls": [],
                "watch": [],
                **changes,
            }
        )

    def run(self, action, *arguments, code=0):
        path = self.folder / "specs.json"
        path.write_text(json.dumps(self.specs))
        first = [] if action == "down" else [str(path)]
        done = subprocess.run(
            [sys.executable, str(SUPERVISE), action, *first, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return json.loads(done.stdout) if code == 0 else done.stderr

    def records(self):
        return sorted(self.folder.glob("*.pid"))

    def pid(self, name):
        return json.loads((self.folder / f"{name}.pid").read_text())["pid"]


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path)
    yield lab
    lab.run("down", *lab.records())


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def test_second_up_changes_nothing(lab):
    lab.add("one")
    lab.add("two")
    assert lab.run("up") == {"changed": True, "differ": ["one", "two"]}
    before = lab.pid("one"), lab.pid("two")
    assert lab.run("up") == {"changed": False, "differ": []}
    assert (lab.pid("one"), lab.pid("two")) == before


def test_one_that_differs_restarts_the_unit(lab):
    lab.add("one")
    lab.add("two")
    lab.run("up")
    before = lab.pid("one")
    lab.specs[1]["env"] = {"CHANGED": "1"}
    assert lab.run("up")["differ"] == ["two"]
    assert not alive(before)
    assert alive(lab.pid("one"))


def test_another_unit_is_left_running(lab):
    lab.add("one")
    lab.add("two", unit="other")
    lab.run("up")
    before = lab.pid("one")
    lab.specs[1]["env"] = {"CHANGED": "1"}
    assert lab.run("up")["differ"] == ["two"]
    assert lab.pid("one") == before


def test_a_file_that_was_edited_is_written_again_without_a_restart(lab):
    path = lab.folder / "settings.yaml"
    lab.add("one", files=[{"path": str(path), "content": "a: 1\n", "mode": "0640"}])
    lab.run("up")
    assert path.read_text() == "a: 1\n"
    assert path.stat().st_mode & 0o777 == 0o640
    before = lab.pid("one")
    path.write_text("a: 2\n")
    assert lab.run("up") == {"changed": True, "differ": []}
    assert (path.read_text(), lab.pid("one")) == ("a: 1\n", before)
    lab.specs[0]["files"][0]["content"] = "a: 3\n"
    assert lab.run("up")["differ"] == ["one"]


def test_down_removes_what_it_is_told_to(lab):
    lab.add("one")
    lab.run("up")
    folder = lab.folder / "one"
    assert lab.run("down", "--remove", folder, "--remove", lab.folder / "never-made")["changed"]
    assert not folder.exists()
    assert lab.run("down", "--remove", folder) == {"changed": False, "stopped": []}


def test_a_watched_file_counts(lab):
    watched = lab.folder / "source.py"
    watched.write_text("1")
    lab.add("one", watch=[str(watched)])
    lab.run("up")
    watched.write_text("2")
    assert lab.run("up")["changed"]


def test_down_ends_children_and_those_that_ignore_term(lab):
    lab.add("one", STUBBORN)
    lab.run("up")
    log = lab.folder / "logs" / "one.log"
    while "up" not in log.read_text():
        time.sleep(0.05)
    leader = lab.pid("one")
    children = [int(p) for p in Path(f"/proc/{leader}/task/{leader}/children").read_text().split()]
    assert children
    assert lab.run("down", *lab.records()) == {"changed": True, "stopped": ["one"]}
    assert not any(alive(pid) for pid in [leader, *children])
    assert lab.run("down") == {"changed": False, "stopped": []}


@pytest.mark.parametrize("forged", [{"start_ticks": 1}, {"boot_id": "another boot"}])
def test_a_stranger_with_the_recorded_pid_is_left_alone(lab, forged):
    lab.add("one")
    lab.run("up")
    with subprocess.Popen([sys.executable, "-c", SLEEP], stdout=subprocess.DEVNULL, start_new_session=True) as stranger:
        try:
            record = json.loads((lab.folder / "one.pid").read_text())
            path = lab.folder / "stranger.pid"
            ticks = int(Path(f"/proc/{stranger.pid}/stat").read_text().rpartition(")")[2].split()[19])
            path.write_text(json.dumps({**record, "pid": stranger.pid, "start_ticks": ticks, **forged}))
            assert lab.run("down", path) == {"changed": False, "stopped": []}
            assert alive(stranger.pid)
        finally:
            os.kill(stranger.pid, signal.SIGKILL)


def test_a_taken_port_is_said_before_anything_starts(lab):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = f"127.0.0.1:{taken.getsockname()[1]}"
        lab.add("one")
        lab.add("two", ports=[port])
        assert f"two cannot listen on {port}" in lab.run("up", code=1)
    assert lab.records() == []


def test_wait_for_a_port(lab):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    lab.add("one", LISTEN.format(port), ready_urls=[f"tcp://127.0.0.1:{port}"])
    lab.run("up")
    assert lab.run("wait", "--timeout", 60) == {"changed": False}
    assert lab.run("up", "--wait", "--timeout", 60) == {"changed": False, "differ": []}


def test_wait_shows_the_log_of_one_that_ended(lab):
    lab.add("one", "print('no such option'); raise SystemExit(3)", ready_urls=["tcp://127.0.0.1:1"])
    lab.run("up")
    said = lab.run("wait", "--timeout", 60, code=1)
    assert "one ended while it was starting" in said
    assert "no such option" in said


def test_wait_for_the_end(lab):
    lab.add("one", "raise SystemExit(3)")
    lab.add("two")
    lab.run("up")
    assert lab.run("wait", "--exit", "one", "--timeout", 60, "one") == {"changed": False}
    assert "two still runs after 0.1 s" in lab.run("wait", "--exit", "two", "--timeout", 0.1, code=1)


def test_specs_by_standard_input_are_kept_private(lab):
    lab.add("one")
    path = lab.folder / "kept.json"
    done = subprocess.run(
        [sys.executable, str(SUPERVISE), "up", str(path), "--stdin"],
        input=json.dumps(lab.specs),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["changed"]
    assert (json.loads(path.read_text()), path.stat().st_mode & 0o777) == (lab.specs, 0o600)


def test_log_mode_and_fresh_folder(lab):
    lab.add("one")
    (lab.folder / "one").mkdir()
    (lab.folder / "one" / "stale.db").touch()
    lab.run("up")
    assert (lab.folder / "logs" / "one.log").stat().st_mode & 0o777 == 0o640
    assert list((lab.folder / "one").iterdir()) == []


def test_alone_stops_what_is_asked_for_no_more(lab):
    lab.add("one")
    lab.add("other", unit="other")
    lab.run("up")
    one, other = lab.pid("one"), lab.pid("other")
    del lab.specs[1]
    assert lab.run("up") == {"changed": False, "differ": []}
    assert alive(other)
    assert lab.run("up", "--alone") == {"changed": True, "differ": []}
    assert alive(one)
    assert not alive(other)
    assert [record.stem for record in lab.records()] == ["one"]


def test_those_after_the_first_find_it_ready(lab):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    taken = f"import socket; print(socket.socket().connect_ex(('127.0.0.1', {port})), flush=True);" + SLEEP
    lab.add("first", LISTEN.format(port), first=True, ready_urls=[f"tcp://127.0.0.1:{port}"])
    lab.add("second", taken)
    lab.run("up")
    log = lab.folder / "logs" / "second.log"
    while len(log.read_text().splitlines()) < 2:
        time.sleep(0.05)
    assert log.read_text().splitlines() == ["0", "up"]


def test_a_program_that_does_not_exist_is_one_sentence(lab):
    lab.add("one", argv=["/nonexistent/program"])
    assert lab.run("up", code=1).count("\n") == 1
