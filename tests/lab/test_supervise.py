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

from lab.cluster import supervise

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
        argv, usual = [sys.executable, "-c", code], {"log_mode": "0640", "fresh_dirs": [str(self.folder / name)]}
        self.specs.append(supervise.spec(name, argv, self.folder, self.folder / "logs", **{**usual, **changes}))

    def up(self):
        return supervise.up(self.specs, 60)

    def wait(self, seconds=60, **how):
        supervise.wait(self.specs, seconds, **how)

    def down(self):
        return supervise.stop(self.records())

    def records(self):
        return sorted(self.folder.glob("*.pid"))

    def pid(self, name):
        return json.loads((self.folder / f"{name}.pid").read_text())["pid"]


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path)
    yield lab
    lab.down()


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def test_second_up_changes_nothing(lab):
    lab.add("one")
    lab.add("two")
    assert lab.up() == {"changed": True, "differ": ["one", "two"]}
    before = lab.pid("one"), lab.pid("two")
    assert lab.up() == {"changed": False, "differ": []}
    assert (lab.pid("one"), lab.pid("two")) == before


def test_one_that_differs_restarts_the_unit(lab):
    lab.add("one")
    lab.add("two")
    lab.up()
    before = lab.pid("one")
    lab.specs[1]["env"] = {"CHANGED": "1"}
    assert lab.up()["differ"] == ["two"]
    assert not alive(before)
    assert alive(lab.pid("one"))


def test_another_unit_is_left_running(lab):
    lab.add("one")
    lab.add("two", unit="other")
    lab.up()
    before = lab.pid("one")
    lab.specs[1]["env"] = {"CHANGED": "1"}
    assert lab.up()["differ"] == ["two"]
    assert lab.pid("one") == before


def test_a_file_that_was_edited_is_written_again_without_a_restart(lab):
    path = lab.folder / "settings.yaml"
    lab.add("one", files=[{"path": str(path), "content": "a: 1\n", "mode": "0640"}])
    lab.up()
    assert path.read_text() == "a: 1\n"
    assert path.stat().st_mode & 0o777 == 0o640
    before = lab.pid("one")
    path.write_text("a: 2\n")
    assert lab.up() == {"changed": True, "differ": []}
    assert (path.read_text(), lab.pid("one")) == ("a: 1\n", before)
    lab.specs[0]["files"][0]["content"] = "a: 3\n"
    assert lab.up()["differ"] == ["one"]


def test_a_watched_file_counts(lab):
    watched = lab.folder / "source.py"
    watched.write_text("1")
    lab.add("one", watch=[str(watched)])
    lab.up()
    watched.write_text("2")
    assert lab.up()["changed"]


def test_down_ends_children_and_those_that_ignore_term(lab):
    lab.add("one", STUBBORN)
    lab.up()
    log = lab.folder / "logs" / "one.log"
    while "up" not in log.read_text():
        time.sleep(0.05)
    leader = lab.pid("one")
    children = [int(p) for p in Path(f"/proc/{leader}/task/{leader}/children").read_text().split()]
    assert children
    assert lab.down() == ["one"]
    assert not any(alive(pid) for pid in [leader, *children])
    assert lab.down() == []


@pytest.mark.parametrize("forged", [{"start_ticks": 1}, {"boot_id": "another boot"}])
def test_a_stranger_with_the_recorded_pid_is_left_alone(lab, forged):
    lab.add("one")
    lab.up()
    with subprocess.Popen([sys.executable, "-c", SLEEP], stdout=subprocess.DEVNULL, start_new_session=True) as stranger:
        try:
            record = json.loads((lab.folder / "one.pid").read_text())
            path = lab.folder / "stranger.pid"
            ticks = int(Path(f"/proc/{stranger.pid}/stat").read_text().rpartition(")")[2].split()[19])
            path.write_text(json.dumps({**record, "pid": stranger.pid, "start_ticks": ticks, **forged}))
            assert supervise.stop([path]) == []
            assert alive(stranger.pid)
        finally:
            os.kill(stranger.pid, signal.SIGKILL)


def test_a_taken_port_is_said_before_anything_starts(lab, monkeypatch):
    monkeypatch.setattr(supervise, "FREE_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = f"127.0.0.1:{taken.getsockname()[1]}"
        lab.add("one")
        lab.add("two", ports=[port])
        with pytest.raises(supervise.Failure, match=f"two cannot listen on {port}"):
            lab.up()
    assert lab.records() == []


LEADER_ENDS_FIRST = """
import ctypes, os, socket, sys, threading, time
held = socket.create_server(("127.0.0.1", int(sys.argv[1])))
def last():
    time.sleep(1)
    os._exit(0)
threading.Thread(target=last).start()
print("holding", flush=True)
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_port_is_waited_for_that_the_last_threads_of_an_ended_process_hold(lab):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-c", LEADER_ENDS_FIRST, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as ending:
        assert ending.stdout.readline() == "holding\n"
        lab.add("one", LISTEN.format(port), ports=[f"127.0.0.1:{port}"], ready_urls=[f"tcp://127.0.0.1:{port}"])
        lab.up()
        lab.wait()


def test_wait_for_a_port(lab):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    lab.add("one", LISTEN.format(port), ready_urls=[f"tcp://127.0.0.1:{port}"])
    lab.up()
    lab.wait()
    assert supervise.is_ready(lab.specs[0])
    assert lab.up() == {"changed": False, "differ": []}


def test_wait_for_a_word_in_the_log(lab):
    lab.add("one", "import time; time.sleep(0.3); " + SLEEP, ready_log="up")
    lab.up()
    assert not supervise.is_ready(lab.specs[0])
    lab.wait()
    assert "up" in (lab.folder / "logs" / "one.log").read_text()


def test_wait_shows_the_log_of_one_that_ended(lab):
    lab.add("one", "print('no such option'); raise SystemExit(3)", ready_urls=["tcp://127.0.0.1:1"])
    lab.up()
    with pytest.raises(supervise.Failure, match=r"(?s)one ended while it was starting.*no such option"):
        lab.wait()


def test_wait_for_the_end(lab):
    lab.add("one", "raise SystemExit(3)")
    lab.add("two")
    lab.up()
    supervise.wait(lab.specs[:1], 60, until_exit=True)
    with pytest.raises(supervise.Failure, match=r"two still runs after 0\.1 s"):
        lab.wait(0.1, until_exit=True)


def test_what_was_started_is_kept_private(lab):
    path = lab.folder / "kept.json"
    path.touch(0o644)
    supervise.write_private(path, "[]")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("[]", 0o600)


def test_log_mode_and_fresh_folder(lab):
    lab.add("one")
    (lab.folder / "one").mkdir()
    (lab.folder / "one" / "stale.db").touch()
    lab.up()
    assert (lab.folder / "logs" / "one.log").stat().st_mode & 0o777 == 0o640
    assert list((lab.folder / "one").iterdir()) == []


def test_those_after_the_first_find_it_ready(lab):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    taken = f"import socket; print(socket.socket().connect_ex(('127.0.0.1', {port})), flush=True);" + SLEEP
    lab.add("first", LISTEN.format(port), first=True, ready_urls=[f"tcp://127.0.0.1:{port}"])
    lab.add("second", taken)
    lab.up()
    log = lab.folder / "logs" / "second.log"
    while len(log.read_text().splitlines()) < 2:
        time.sleep(0.05)
    assert log.read_text().splitlines() == ["0", "up"]


def test_a_program_that_does_not_exist_is_one_sentence(lab):
    lab.add("one")
    lab.specs[0]["argv"] = ["/nonexistent/program"]
    with pytest.raises(supervise.Failure, match=r"^cannot start one: .*$"):
        lab.up()
