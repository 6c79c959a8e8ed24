# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""How far a run is: what the line says, when, and that it never gets between the report's lines."""

from __future__ import annotations

import os
import pty
import subprocess

import pytest
from callback_project import PAIR, judged
from kvproof.report.progress import LINE, LOG, OFF, Progress, way


@pytest.mark.parametrize(
    ("environment", "callback", "terminal", "shown"),
    [
        ({}, "default", True, LINE),
        ({}, "default", False, LOG),
        ({"RUNNER_OS": "Linux"}, "default", False, LOG),  # GitHub's runner makes no events
        ({"AWX_ISOLATED_DATA_DIR": "/x"}, "default", True, OFF),
        ({"RUNNER_OMIT_EVENTS": "False"}, "default", False, OFF),
        ({}, "awx_display", False, OFF),
        ({}, "json", True, LOG),
        ({"TERM": "dumb"}, "default", True, LOG),
    ],
)
def test_where_it_is_shown(environment, callback, terminal, shown):
    assert way(environment, callback, terminal) == shown


def test_what_it_says():
    told = Progress(LINE)
    told.planned(4, 100.0)
    told.probed(("c", "p", "d"))
    assert told.text(110.0) == ("KV reuse: 4 pairs: 1 probed, none judged yet, 10 s gone, probes end in about 30 s")
    told.judged(("c", "p", "d"), "pass")
    told.judged(("c", "p", "e"), "inconclusive")
    assert told.text(4000.0) == "KV reuse: 4 pairs: 2 judged, 1 passed, 0 failed, 1 inconclusive, 65 min gone"


def test_a_log_gets_a_line_now_and_then():
    told = Progress(LOG)
    assert told.due(50.0) is None  # nothing planned
    told.planned(2, 100.0)
    assert [bool(told.due(at)) for at in (101.0, 109.9, 110.0, 111.0, 120.0)] == [False, False, True, False, True]


def test_nothing_is_said_where_it_is_off():
    told = Progress(OFF)
    told.planned(2, 0.0)
    assert told.due(1000.0) is None


def on_terminal(project, **environment: str) -> str:
    """What a run writes to a terminal."""
    ours, theirs = pty.openpty()
    started = subprocess.Popen(
        project.command("validate.yml"), cwd=project.folder, env=project.environment(environment),
        stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    found = b""
    try:
        while piece := os.read(ours, 65536):
            found += piece
    except OSError:  # the end of a terminal that nobody holds any more
        pass
    os.close(ours)
    assert started.wait() == 0, found
    return found.decode()


def test_on_a_terminal_the_line_is_gone_before_anything_else_is_said(project):
    project.inventory(prefill={}, decode={**judged("healthy"), "said_probed": [PAIR]})
    text = on_terminal(project, ANSIBLE_NOCOLOR="1")
    drawn = [part for part in text.split("\r\x1b[K") if "KV reuse: 1 pair: " in part]
    assert any("1 probed, none judged yet" in part for part in drawn)
    assert all("\n" not in part for part in drawn)  # erased, or drawn anew, before the next line
    assert text.rstrip().endswith("pairs were judged, and none failed")


@pytest.mark.parametrize("environment", [{"KV_REUSE_PROGRESS": "off"}, {"AWX_ISOLATED_DATA_DIR": "/x"}])
def test_it_can_be_switched_off(project, environment):
    project.inventory(prefill={}, decode={**judged("healthy"), "said_probed": [PAIR]})
    text = on_terminal(project, **environment)
    assert "probed, none judged yet" not in text
    assert "1 of 1 pairs passed" in text


def test_a_dumb_terminal_gets_ascii_and_no_sequences(project):
    project.inventory(prefill={}, decode={**judged("healthy"), "said_probed": [PAIR]})
    text = on_terminal(project, TERM="dumb", ANSIBLE_NOCOLOR="1")
    report = text[text.index("KV reuse ==") :]
    assert report.isascii()
    assert "\x1b" not in text
    assert "   +  3 cache layer up" in report
    assert [line for line in report.splitlines() if len(line) > 80 and len(line.split()) > 2] == []
