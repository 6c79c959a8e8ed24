# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""The workflow commands that GitHub's runners read from the output of a job."""

from __future__ import annotations

import re

import verdicts
from kvproof.report.views import clean, github

COMMAND = re.compile(r"::(error|warning) title=([^:,\r\n]*)::([^\r\n]+)")


def commands(document: dict) -> list[tuple[str, str]]:
    """(level, title) of each line, every one of which is a command."""
    lines = github.commands(clean.cleaned(document))
    return [COMMAND.fullmatch(line).groups()[:2] for line in lines]


def test_a_pair_that_fails_is_an_error_with_what_to_do():
    document = verdicts.document(verdicts.verdict("sync_loading"), exit_code=2)
    assert [level for level, _title in commands(document)] == ["error"]
    (line,) = github.commands(clean.cleaned(document))
    assert "FAIL" in line
    assert document["clusters"][0]["pairs"][0]["findings"][0]["remedy"][:40].replace("%", "%25") in line


def test_a_run_that_passes_says_nothing():
    assert commands(verdicts.document(verdicts.verdict("healthy"))) == []


def test_a_waived_failure_is_a_warning_and_what_was_not_judged_an_error():
    levels = [level for level, _ in commands(verdicts.document(verdicts.waived(), missing=1, exit_code=2))]
    assert levels == ["warning", "error"]


def test_where_nothing_was_judged_that_is_an_error():
    assert [level for level, _title in commands(verdicts.document(exit_code=2))] == ["error"]


def test_a_name_ends_no_command_and_begins_none():
    hostile = verdicts.verdict("sync_loading", cluster="a::b,c\n::error::x\r%0A")
    (command,) = commands(verdicts.document(hostile, exit_code=2))
    assert "\n" not in command[1]
