# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Log commands that do not end, or leave something behind."""

from __future__ import annotations

import os
import time

import pytest
from kvproof.node import log as logs

LINE = "echo '[2026-11-24 02:24:29,175] LMCache INFO: Initialized NONE_HASH=7 (a.py:1:a)'"


def read(script: str, timeout: float = 1.0) -> tuple[dict, float]:
    began = time.monotonic()
    log = logs.read({"command": ["sh", "-c", script]}, logs.Want(timeout=timeout))
    return log, time.monotonic() - began


@pytest.mark.parametrize(
    "script",
    [
        "sleep 30; true",
        "sleep 30 & wait",
        "sleep 30 & exit 0",
        "setsid sleep 5 & exit 0",
        "trap '' TERM HUP INT; sleep 30; true",
        "while :; do printf x; sleep 0.1; done",
        "exec 1>&- 2>&-; sleep 30",
    ],
)
def test_a_command_that_does_not_end_costs_its_time_and_keeps_what_it_printed(tmp_path, script):
    log, took = read(f"echo $$ > {tmp_path}/pid; {LINE}; {script}")
    assert took < 5
    assert [event["kind"] for event in [*log["head"], *log["events"]]] == ["none_hash"]
    assert log["state"] == "failed"
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_command_that_prints_without_end_is_cut_at_the_budget():
    began = time.monotonic()
    log = logs.read({"command": ["yes"]}, logs.Want(timeout=20.0, budget=1 << 20))
    assert time.monotonic() - began < 10
    assert log["truncated"]
    assert log["bytes_read"] < 2 << 20


def test_a_line_without_end_is_cut_into_pieces():
    log = logs.read({"command": ["sh", "-c", "head -c 3000000 /dev/zero"]}, logs.Want(timeout=20.0))
    assert log["state"] == "ok"
    assert log["bytes_read"] == 3_000_000
