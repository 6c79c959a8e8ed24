"""Bounded reading of logs: windows, budgets, rotated files, commands, and every way a log can be unreadable."""

from __future__ import annotations

import gzip
import os
import stat
import time
from pathlib import Path

import pytest
from kvproof.node import log as logs
from kvproof.node.log import files
from written_logs import MARKER, START, ids_of, line, noise, stored, written

FIXTURE = Path(__file__).resolve().parents[2] / "fixtures" / "logs" / "healthy_decode.log"


# ------------------------------------------------------------------ a small file, read whole


def test_a_small_log_is_read_whole():
    log = logs.read(
        {"file": str(FIXTURE)}, logs.Want(["probe-mwbbucwy-B", "cmpl-probe-mwbbucwy-X", "probe-never"], "probe-")
    )
    assert (log["schema"], log["state"], log["whole"], log["detail"]) == ("kvproof.log/1", "ok", True, None)
    assert log["size"] == FIXTURE.stat().st_size
    assert log["ids_found"] == ["probe-mwbbucwy-B", "cmpl-probe-mwbbucwy-X"]
    assert log["ids_missing"] == ["probe-never"]
    assert [event["kind"] for event in log["head"]][:3] == ["engine_started", "config_file", "none_hash"]
    assert log["levels"]["INFO"] > 20
    assert log["levels"]["WARNING"] == 10
    offset = next(event["offset"] for event in log["events"] if event["kind"] == "responded")
    assert b"Responding" in FIXTURE.read_bytes()[offset : offset + 200]


def test_the_layout_line_before_the_first_id_belongs_to_the_run():
    log = logs.read({"file": str(FIXTURE)}, logs.Want(["probe-mwbbucwy-B"], "probe-mwbbucwy"))
    first = next(index for index, event in enumerate(log["events"]) if "mwbbucwy" in event.get("id", ""))
    assert log["events"][first - 1]["kind"] == "layout"
    # What happened more than five seconds before the run, or belongs to another request, is not its own.
    lead = log["events"][:first]
    assert [event["at"] for event in lead] == ["2026-11-24 02:24:34,642", "2026-11-24 02:24:38,982"]


def test_without_ids_the_head_is_all_there_is(tmp_path):
    log = logs.read(written(tmp_path / "log", FIXTURE.read_bytes()), logs.Want())
    assert log["head"]
    assert log["events"] == []


def test_an_appended_log_shows_the_last_start_only(tmp_path):
    old = START + line("Initialized NONE_HASH=111 from vLLM (>= PR#20511)")
    new = START + line("Initialized NONE_HASH=222 from vLLM (>= PR#20511)")
    log = logs.read(written(tmp_path / "log", old, noise(3), new), logs.Want())
    assert [event.get("value") for event in log["head"]] == [None, "222"]


def test_what_an_engine_repeats_is_a_start_up_fact_once(tmp_path):
    crash = line("Peer request handler crashed: Address already in use (addr='tcp://10.0.0.1:8201')", level="ERROR")
    again = line("Starting P2P backend batched get handler at 10.0.0.1:8201")
    log = logs.read(written(tmp_path / "log", START, (again + crash) * 50), logs.Want())
    assert [event["kind"] for event in log["head"]] == ["engine_started", "p2p_listening", "handler_crashed"]


# ------------------------------------------------------------------ where the run is in a large file


@pytest.mark.parametrize("place", ["start", "middle", "end"])
def test_the_run_is_found_wherever_it_is(tmp_path, monkeypatch, place):
    monkeypatch.setattr(files, "WHOLE_BYTES", 0)
    monkeypatch.setattr(files, "BLOCK", 4096)
    parts = [stored("kvp-RUN42-0-seed"), stored("kvp-RUN42-1-seed")]
    before, after = {"start": (0, 400), "middle": (200, 200), "end": (400, 0)}[place]
    source = written(tmp_path / "log", START, noise(before), *parts, noise(after))
    log = logs.read(source, logs.Want(["kvp-RUN42-0-seed", "kvp-RUN42-1-seed"], MARKER))
    assert log["ids_missing"] == []
    assert ids_of(log)[0] == "cmpl-kvp-RUN42-0-seed-0-0123abcd"
    assert len(ids_of(log)) == 2 + after
    assert log["head"][0]["kind"] == "engine_started"
    assert log["whole"] is False


@pytest.mark.parametrize("shift", range(0, 90, 7))
def test_ids_across_block_borders_are_found(tmp_path, monkeypatch, shift):
    monkeypatch.setattr(files, "WHOLE_BYTES", 0)
    monkeypatch.setattr(files, "BLOCK", 256)
    source = written(tmp_path / "log", START, noise(5), b"x" * shift + b"\n", stored("kvp-RUN42-0-seed"), noise(5))
    log = logs.read(source, logs.Want(["kvp-RUN42-0-seed"], MARKER))
    assert log["ids_found"] == ["kvp-RUN42-0-seed"]


def test_ids_that_a_proxy_rewrote_are_found_without_the_marker(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "WHOLE_BYTES", 0)
    monkeypatch.setattr(files, "BLOCK", 4096)
    source = written(tmp_path / "log", noise(100), stored("abcdef"), noise(100))
    log = logs.read(source, logs.Want(["cmpl-abcdef"], MARKER))
    assert log["ids_found"] == ["cmpl-abcdef"]


def test_a_huge_log_costs_what_its_tail_costs(tmp_path):
    path = tmp_path / "log"
    with open(path, "wb") as handle:
        handle.write(FIXTURE.read_bytes())
        handle.seek(10 << 30)  # sparse: ten gibibytes that take no room
        handle.write(b"\n" + noise(2000) + stored("kvp-RUN42-0-seed") + noise(2000))
    log = logs.read({"file": str(path)}, logs.Want(["kvp-RUN42-0-seed"], MARKER))
    assert log["ids_found"] == ["kvp-RUN42-0-seed"]
    assert [event["kind"] for event in log["head"]][:2] == ["engine_started", "config_file"]
    assert log["bytes_read"] < 16 << 20


def test_a_run_that_is_nowhere_is_searched_for_within_the_budget(tmp_path):
    path = tmp_path / "log"
    with open(path, "wb") as handle:
        handle.seek(1 << 30)
        handle.write(noise(10))
    log = logs.read({"file": str(path)}, logs.Want(["kvp-RUN42-0-seed"], MARKER, budget=16 << 20))
    assert (log["state"], log["events"], log["ids_missing"]) == ("ok", [], ["kvp-RUN42-0-seed"])
    assert log["bytes_read"] <= (16 << 20) + files.WHOLE_BYTES + (4 << 20)
    assert "no line of this run in the last 16777216 of" in log["detail"]


def test_lines_older_than_the_run_end_the_search(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "WHOLE_BYTES", 0)
    monkeypatch.setattr(files, "BLOCK", 8192)
    begin = time.time() - 60
    source = written(tmp_path / "log", noise(5000, begin - 90000), stored("kvp-RUN42-0-seed", begin + 1))
    want = logs.Want(["kvp-RUN42-0-seed", "kvp-RUN42-never"], MARKER, begin, head_bytes=9000)
    log = logs.read(source, want)
    assert log["ids_found"] == ["kvp-RUN42-0-seed"]
    assert log["bytes_read"] < 400_000
    assert ids_of(log) == ["cmpl-kvp-RUN42-0-seed-0-0123abcd"]


def test_a_log_in_another_time_zone_is_found_too(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "WHOLE_BYTES", 0)
    monkeypatch.setattr(files, "BLOCK", 8192)
    begin = time.time() - 60
    far = begin - 9 * 3600
    source = written(tmp_path / "log", noise(500, far - 300), stored("kvp-RUN42-0-seed", far + 1), noise(500, far + 30))
    log = logs.read(source, logs.Want(["kvp-RUN42-0-seed"], MARKER, begin))
    assert log["ids_found"] == ["kvp-RUN42-0-seed"]
    assert len(ids_of(log)) == 501


def test_a_head_older_than_the_process_is_not_taken_for_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "WHOLE_BYTES", 0)
    monkeypatch.setattr(files, "BLOCK", 65536)
    monkeypatch.setattr(files, "_LEAD_BYTES", 1024)
    now = time.time()
    old = START + line("Initialized NONE_HASH=111 from vLLM (>= PR#20511)", now - 200000)
    new = START + line("Initialized NONE_HASH=222 from vLLM (>= PR#20511)", now - 1000)
    tail = [noise(3000, now - 500), stored("kvp-RUN42-0-seed", now), noise(20, now)]
    want = logs.Want(["kvp-RUN42-0-seed"], MARKER, now, started_at=now - 1010, head_bytes=4096)
    log = logs.read(written(tmp_path / "log", old, noise(3000, now - 2000), new, *tail), want)
    assert [event.get("value") for event in log["head"] if event["kind"] == "none_hash"] == ["222"]
    log = logs.read(written(tmp_path / "log", old, noise(3000, now - 2000), *tail), want)
    assert log["head"] == []
    assert log["detail"] == "the log's start-up lines are of an earlier start of the engine"


def test_what_a_head_is_passed_over_for_speed_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "WHOLE_BYTES", 0)
    monkeypatch.setattr(files, "_SMALL_BLOCK", 1000)
    failed = line("Failed to register with controller: Traceback (most recent call last):", level="ERROR")
    cause = b'  File "x.py", line 1, in f\nzmq.error.ZMQError: Invalid argument\n'
    parts = [START, line("Initialized NONE_HASH=1 from vLLM"), noise(300), failed, cause, noise(300)]
    source, want = written(tmp_path / "log", *parts, stored("kvp-RUN42-0-seed")), logs.Want([], MARKER)
    log = logs.read(source, want)
    assert [event["kind"] for event in log["head"]] == ["engine_started", "none_hash", "register_failed"]
    assert log["head"][2]["text"] == "zmq.error.ZMQError: Invalid argument"
    monkeypatch.setattr(logs.lines.Scanner, "passes_over", lambda *_: False)
    assert logs.read(source, want) == log


def test_a_small_log_of_an_earlier_start_has_no_start_up_facts(tmp_path):
    now = time.time()
    old = START + line("Initialized NONE_HASH=111 from vLLM (>= PR#20511)", now - 200000)
    source = written(tmp_path / "log", old, stored("kvp-RUN42-0-seed", now))
    log = logs.read(source, logs.Want([], MARKER, now, started_at=now - 1000))
    assert (log["head"], len(log["events"])) == ([], 1)
    assert "earlier start" in log["detail"]


def test_start_up_facts_come_from_the_rotated_file_that_has_them(tmp_path):
    now = time.time()
    facts = START + line("Initialized NONE_HASH=222 from vLLM (>= PR#20511)", now - 90000)
    for number, content in ((1, noise(3, now - 4000)), (2, noise(3, now - 50000)), (3, facts + noise(3, now - 80000))):
        path = tmp_path / f"vllm.log.{number}"
        path.write_bytes(content)
        os.utime(path, (now - 3600 * number, now - 3600 * number))
    source = written(tmp_path / "vllm.log", noise(3, now - 900), stored("kvp-RUN42-0-seed", now - 5))
    log = logs.read(source, logs.Want(["kvp-RUN42-0-seed"], MARKER, now - 30))
    assert [(event["kind"], event["file"]) for event in log["head"]] == [
        ("engine_started", "vllm.log.3"),
        ("none_hash", "vllm.log.3"),
    ]
    assert ids_of(log) == ["cmpl-kvp-RUN42-0-seed-0-0123abcd"]


def test_others_traffic_cannot_crowd_out_the_run(tmp_path):
    source = written(tmp_path / "log", stored("kvp-RUN42-0-seed"), noise(50), stored("kvp-RUN42-0-reuse"))
    log = logs.read(source, logs.Want(["kvp-RUN42-0-seed", "kvp-RUN42-0-reuse"], MARKER, max_events=10))
    assert log["ids_missing"] == []
    assert log["truncated"] is True
    assert len(log["events"]) == 11


# ------------------------------------------------------------------ states


def test_an_empty_log(tmp_path):
    log = logs.read(written(tmp_path / "log"), logs.Want(["a"]))
    assert (log["state"], log["detail"], log["ids_missing"]) == ("empty", "the file has 0 bytes", ["a"])


def test_an_absent_log(tmp_path):
    log = logs.read({"file": str(tmp_path / "none")}, logs.Want())
    assert log["state"] == "absent"
    assert "No such file" in log["detail"]


def test_a_directory_is_not_a_log(tmp_path):
    log = logs.read({"file": str(tmp_path)}, logs.Want())
    assert log["state"] == "not-a-file"
    assert "is a directory" in log["detail"]


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert logs.read({"file": str(tmp_path / "pipe")}, logs.Want())["state"] == "not-a-file"


def test_an_unreadable_log(tmp_path, monkeypatch):
    path = tmp_path / "log"
    path.write_bytes(b"x")
    path.chmod(0)
    if os.geteuid() == 0:  # root reads everything: refuse as the kernel would for others

        def refuse(*args, **_kwargs):
            raise PermissionError(13, "Permission denied", args[0])

        monkeypatch.setattr("builtins.open", refuse)
    log = logs.read({"file": str(path)}, logs.Want())
    assert log["state"] == "unreadable"
    assert "Permission denied" in log["detail"]


# ------------------------------------------------------------------ strange content


def test_strange_bytes_do_not_break_it(tmp_path):
    junk = bytes(range(256)) * 40 + b"\n\x00\x00\x00\n" + b"\xff\xfe LMCache \xc3\x28\n"
    long = b"[2026-11-24 02:24:29,175] LMCache INFO: " + b"y" * (3 << 20) + b"\n"
    crlf = stored("kvp-RUN42-1-seed").replace(b"\n", b"\r\n")
    last = stored("kvp-RUN42-2-seed").rstrip(b"\n")  # still being written: no end of line yet
    source = written(tmp_path / "log", junk, stored("kvp-RUN42-0-seed"), long, crlf, junk, last)
    wanted = ["kvp-RUN42-0-seed", "kvp-RUN42-1-seed", "kvp-RUN42-2-seed"]
    log = logs.read(source, logs.Want(wanted, MARKER))
    assert (log["state"], log["ids_found"]) == ("ok", wanted)


def test_a_line_cut_in_the_middle_is_no_event(tmp_path):
    half = stored("kvp-RUN42-1-seed")[:70]
    log = logs.read(written(tmp_path / "log", stored("kvp-RUN42-0-seed"), half), logs.Want([], MARKER))
    assert [event["id"] for event in log["events"]] == ["cmpl-kvp-RUN42-0-seed-0-0123abcd"]


def test_a_log_truncated_while_it_is_read(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(noise(100))
    with open(path, "rb") as handle:
        source = files.Source(handle, 1 << 30, time.monotonic() + 5)
        assert len(list(source.lines(0, source.size))) == 100


def test_reading_stops_at_its_time_limit(tmp_path):
    log = logs.read(written(tmp_path / "log", noise(10)), logs.Want([], MARKER, timeout=-1.0))
    assert (log["state"], log["truncated"]) == ("ok", True)
    assert "took too long" in log["detail"]


# ------------------------------------------------------------------ rotated files


@pytest.mark.parametrize(
    "name",
    [
        "vllm.log.1",
        "vllm.log-20261124",
        "vllm.log.1.gz",
        "vllm.log-20261124.gz",
        "vllm.log.2026-11-24",
        "vllm.log-20261124-1200",
    ],
)
def test_the_run_may_begin_in_a_rotated_file(tmp_path, name):
    now = time.time()
    old = START + noise(3, now - 900) + stored("kvp-RUN42-0-seed", now - 20)
    opener = gzip.open if name.endswith(".gz") else open
    with opener(tmp_path / name, "wb") as handle:
        handle.write(old)
    source = written(tmp_path / "vllm.log", stored("kvp-RUN42-0-reuse", now - 5))
    log = logs.read(source, logs.Want(["kvp-RUN42-0-seed", "kvp-RUN42-0-reuse"], MARKER, now - 30))
    assert log["ids_missing"] == []
    assert [event.get("file") for event in log["events"]] == [name, None]
    assert [(event["kind"], event["file"]) for event in log["head"]] == [("engine_started", name)]


def test_rotated_files_are_left_alone_where_they_are_not_needed(tmp_path):
    now = time.time()
    (tmp_path / "vllm.log.1").write_bytes(stored("kvp-RUN42-9-seed", now - 5))
    source = written(
        tmp_path / "vllm.log",
        START,
        line("Initialized NONE_HASH=1 from vLLM", now - 90000),
        stored("kvp-RUN42-0-seed", now - 5),
    )
    log = logs.read(source, logs.Want(["kvp-RUN42-9-seed"], MARKER, now - 30))
    assert log["ids_missing"] == ["kvp-RUN42-9-seed"]


def test_other_files_are_no_rotated_ones(tmp_path):
    for name in ("vllm.log.bak", "vllm.log2", "vllm.log.1.swp", "other.log.1", "vllm.log-notes"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "vllm.log.1").write_bytes(b"x")
    assert [os.path.basename(path) for path in files.rotated(str(tmp_path / "vllm.log"))] == ["vllm.log.1"]


def test_a_broken_archive_is_said_and_survived(tmp_path):
    (tmp_path / "vllm.log.1.gz").write_bytes(b"\x1f\x8b\x08\x00broken")
    log = logs.read(written(tmp_path / "vllm.log", noise(1)), logs.Want(["a"], MARKER))
    assert log["state"] == "ok"
    assert "vllm.log.1.gz could not be read" in log["detail"]


# ------------------------------------------------------------------ commands and units


def test_a_commands_output_is_a_log():
    log = logs.read({"command": ["cat", str(FIXTURE)]}, logs.Want(["probe-mwbbucwy-B"], "probe-"))
    assert (log["state"], log["whole"], log["ids_found"]) == ("ok", True, ["probe-mwbbucwy-B"])
    assert log["head"]


def test_standard_error_belongs_to_it():
    text = stored("kvp-RUN42-0-seed").decode()
    log = logs.read({"command": ["sh", "-c", 'printf "%s" "$0" >&2', text]}, logs.Want([], MARKER))
    assert len(log["events"]) == 1


def test_a_command_is_told_when_the_run_began():
    log = logs.read(
        {"command": ["sh", "-c", "echo $0 $1 >&2; exit 3", "{since}", "{since_time}"]}, logs.Want(since=1795487065.0)
    )
    assert log["state"] == "failed"
    assert log["detail"] == "sh ended with code 3: 1795487060 2026-11-24T02:24:20Z"


def test_a_command_that_does_not_exist():
    log = logs.read({"command": ["no-such-command-here"]}, logs.Want())
    assert (log["state"], log["detail"]) == (
        "failed",
        "no-such-command-here could not be started: No such file or directory",
    )


def test_a_command_that_hangs_is_ended():
    log = logs.read({"command": ["sleep", "60"]}, logs.Want(timeout=0.2))
    assert (log["state"], log["detail"]) == ("failed", "sleep did not end within 0.2 s")


def test_a_command_that_prints_without_end_is_ended():
    log = logs.read(
        {"command": ["yes", stored("kvp-RUN42-0-seed").decode().strip()]},
        logs.Want([], MARKER, budget=100_000, max_events=5),
    )
    assert (log["state"], log["whole"], log["truncated"]) == ("ok", False, True)
    assert log["bytes_read"] < 300_000
    assert "only the first 100000 bytes" in log["detail"]


def test_a_command_that_prints_nothing():
    assert logs.read({"command": ["true"]}, logs.Want())["state"] == "empty"


def test_a_units_journal(tmp_path, monkeypatch):
    script = tmp_path / "journalctl"
    script.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {tmp_path}/calls\n'
        f'case "$*" in *--until*) cat {tmp_path}/start ;; *) cat {tmp_path}/run ;; esac\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "start").write_bytes(START + line("Initialized NONE_HASH=7 from vLLM"))
    (tmp_path / "run").write_bytes(stored("kvp-RUN42-0-seed"))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    log = logs.read(
        {"unit": "vllm.service"}, logs.Want(["kvp-RUN42-0-seed"], MARKER, 1795487065.0, started_at=1795480000.0)
    )
    assert (log["state"], log["ids_missing"]) == ("ok", [])
    assert [event["kind"] for event in log["head"]] == ["engine_started", "none_hash"]
    calls = (tmp_path / "calls").read_text().splitlines()
    assert "-u vllm.service --since=@1795479995 --until=@1795480900" in calls[0]
    assert calls[1].endswith("-u vllm.service --since=@1795487060")
    (tmp_path / "start").write_bytes(b"")
    (tmp_path / "run").write_bytes(b"")
    log = logs.read({"unit": "vllm.service"}, logs.Want())
    assert log["state"] == "empty"
    assert "may not read the system journal" in log["detail"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({}, "exactly one of file, unit and command"),
        ({"file": "/a", "unit": "b"}, "exactly one of file, unit and command"),
        ({"path": "/a"}, "exactly one of file, unit and command"),
        ({"command": "docker logs x"}, "a list of words"),
        ({"unit": "--directory=/x"}, "the name of a systemd unit"),
        ("file", "exactly one of file, unit and command"),
    ],
)
def test_a_source_that_is_none(source, said):
    assert said in logs.bad_source(source)


@pytest.mark.parametrize("source", [None, {"file": "/a", "unit": None}, {"unit": "vllm"}, {"command": ["a", "b"]}])
def test_a_source_that_is_one(source):
    assert logs.bad_source(source) is None


def test_a_prompt_that_is_logged_is_no_start_of_the_engine(tmp_path):
    log = tmp_path / "engine.log"
    seed = line("Initialized NONE_HASH=7", 1)
    log.write_bytes(START + seed + b"INFO 11-24 02:25:00 [logger.py:43] prompt: 'non-default args: {}', params: None\n")
    head = logs.read({"file": str(log)}, logs.Want())["head"]
    assert [event["kind"] for event in head] == ["engine_started", "none_hash"]
