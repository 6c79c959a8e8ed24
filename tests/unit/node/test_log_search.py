"""A run far from a log's end is found by the time it began, within the same bounds on bytes."""

from __future__ import annotations

import os
import time

import pytest
from kvproof.node import log as logs
from kvproof.node.log import files, search
from written_logs import MARKER, START, ids_of, line, noise, padding, stored, written

IDS = ["kvp-RUN42-0-seed", "kvp-RUN42-1-seed"]
BUDGET, LINES = 1 << 20, 20_000  # a log of about 4 MB, of which a quarter may be read from the end


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The sizes of a log of many gigabytes, as if seen from far away."""
    monkeypatch.setattr(files, "WHOLE_BYTES", 64 << 10)
    monkeypatch.setattr(files, "BLOCK", 64 << 10)
    monkeypatch.setattr(files, "_LEAD_BYTES", 4 << 10)
    for name, size in (("BLOCK", 64 << 10), ("QUIET", 128 << 10), ("_LOOK", 4 << 10)):
        monkeypatch.setattr(search, name, size)


def big(path, at: float, *, shift: float = 0.0, skew: float = 0.0, more: bytes = b"") -> tuple[dict, float]:
    """A log with a line each second until now, the run's lines after this share of them; and when the run began."""
    now = time.time()
    place = int(LINES * at)
    lines = [stored(f"other-{n}", now - LINES + n - shift - skew) for n in range(LINES)]
    began = now - LINES + place
    run = [stored(one, began + 1 - shift - skew) for one in IDS]
    source = written(path, START, line("Initialized NONE_HASH=7 from vLLM"), *lines[:place], *run, more, *lines[place:])
    return source, began


def read(source: dict, began: float | None, **more) -> dict:
    return logs.read(source, logs.Want(IDS, MARKER, began, budget=BUDGET, head_bytes=8192, **more))


@pytest.mark.parametrize("at", [0.0, 0.001, 0.3, 0.5, 0.6])
@pytest.mark.parametrize("hours", [0, 9, -5.5])
def test_the_run_is_found_by_its_time(tmp_path, at, hours):
    log = read(*big(tmp_path / "log", at, shift=hours * 3600))
    assert (log["ids_found"], log["ids_missing"]) == (IDS, [])
    assert ids_of(log)[0] == f"cmpl-{IDS[0]}-0-0123abcd"
    assert log["head"][1]["value"] == "7"
    assert log["bytes_read"] < 2.5 * BUDGET
    assert "but around its time" in log["detail"]


def test_what_was_not_searched_may_hold_more_of_the_run(tmp_path):
    log = read(*big(tmp_path / "log", 0.5))
    assert log["truncated"] is True
    assert len(log["events"]) < 100


@pytest.mark.parametrize("seconds", [-600, 600])
def test_a_clock_that_is_wrong_by_minutes_does_not_hide_the_run(tmp_path, seconds):
    source, began = big(tmp_path / "log", 0.5, skew=seconds)
    os.utime(source["file"], (time.time() - seconds,) * 2)
    assert read(source, began)["ids_missing"] == []


def test_a_log_that_lmcache_has_not_written_to_for_long(tmp_path):
    # The last stamp is then older than the file by more than a quarter of an hour, which looks like a time zone.
    source, began = big(tmp_path / "log", 0.5)
    with open(source["file"], "ab") as handle:
        handle.write(padding(32 << 10))
    os.utime(source["file"], (time.time() + 4000,) * 2)
    assert read(source, began)["ids_missing"] == []


def test_stretches_without_a_stamp_are_passed_over(tmp_path):
    assert read(*big(tmp_path / "log", 0.4, more=padding(700 << 10)))["ids_missing"] == []


def test_a_run_in_two_parts_is_found_whole(tmp_path):
    more = padding(200 << 10) + stored("kvp-RUN42-2-seed")
    source, began = big(tmp_path / "log", 0.3, more=more)
    log = logs.read(source, logs.Want([*IDS, "kvp-RUN42-2-seed"], MARKER, began, budget=BUDGET))
    assert log["ids_missing"] == []


def test_an_engine_that_was_started_again_after_the_run_shows_its_last_start(tmp_path):
    source, began = big(tmp_path / "log", 0.3)
    with open(source["file"], "ab") as handle:
        handle.write(START + line("Initialized NONE_HASH=8 from vLLM", time.time()) + noise(20, time.time()))
    log = read(source, began)
    assert log["ids_missing"] == []
    assert [event["value"] for event in log["head"] if event["kind"] == "none_hash"] == ["8"]


def test_a_run_that_is_nowhere_is_said_not_to_be_found(tmp_path):
    source, began = big(tmp_path / "log", 0.5)
    log = logs.read(source, logs.Want(["kvp-OTHER-0-seed"], "kvp-OTHER", began, budget=BUDGET, head_bytes=8192))
    assert (log["state"], log["ids_found"], log["ids_missing"]) == ("ok", [], ["kvp-OTHER-0-seed"])
    assert log["detail"].endswith("bytes, nor around its time, which is as far as was searched")
    assert log["bytes_read"] < 2.5 * BUDGET


def test_without_a_time_the_end_is_all_that_is_searched(tmp_path):
    source, _began = big(tmp_path / "log", 0.5)
    log = read(source, None)
    assert log["ids_missing"] == IDS
    assert "nor around" not in log["detail"]


def test_a_log_without_any_stamp_is_searched_without_them(tmp_path):
    log = read(written(tmp_path / "log", padding(3 << 20)), time.time() - 60)
    assert (log["state"], log["ids_missing"]) == ("ok", IDS)


def test_a_run_near_the_end_is_read_from_its_first_line_however_much_others_wrote_in_between(tmp_path):
    now = time.time()
    between = b"".join(stored(f"other-{n}", now - 30 + n / 100) for n in range(3000))
    parts = [noise(20_000, now - 9000), stored(IDS[0], now - 31), between, stored(IDS[1], now)]
    assert read(written(tmp_path / "log", *parts), now - 32)["ids_missing"] == []
