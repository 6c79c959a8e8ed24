# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a run has come, in one line, and whether it is time to say so.  No I/O, no clock.

Pairs are probed first and judged at the end, so a probed pair is not counted as anything else before its verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ..judge.verdict import FAIL, INCONCLUSIVE, PASS
from ..plan.pair import Key

LINE, LOG, OFF = "line", "log", "off"  # one line that changes; a line now and then; nothing
PAUSE_S = {LINE: 0.0, LOG: 10.0}
_WORDS = {PASS: "passed", FAIL: "failed", INCONCLUSIVE: "inconclusive"}
# ansible-runner, which AWX runs jobs with, makes an event of every line and sets these in the job's environment
RUNNER = ("RUNNER_OMIT_EVENTS", "RUNNER_ONLY_FAILED_EVENTS")


def way(environment: Mapping[str, str], stdout_callback: str, is_terminal: bool) -> str:
    """How to show progress: not at all where every line becomes an event of AWX or ansible-runner.

    A terminal that calls itself dumb has no line that could be changed.
    """
    runner = any(name.startswith("AWX_") or name in RUNNER for name in environment)
    if runner or stdout_callback == "awx_display":
        return OFF
    changes = is_terminal and environment.get("TERM") != "dumb"
    return LINE if changes and "json" not in stdout_callback else LOG


class Progress:
    """Counts of one run.  Times are seconds of one clock that only goes forward."""

    def __init__(self, shown: str = OFF):
        self._shown = shown
        self._total = 0
        self._probed: set[Key] = set()
        self._verdicts: dict[Key, str] = {}
        self._began = self._last_shown = 0.0

    def planned(self, total: int, now: float) -> None:
        self._total, self._began, self._last_shown = total, now, now if self._shown == LOG else 0.0

    def probed(self, pair: Key) -> None:
        self._probed.add(pair)

    def judged(self, pair: Key, verdict: str) -> None:
        self._verdicts[pair] = verdict

    def due(self, now: float) -> str | None:
        """The line, where it is time for another one."""
        if self._shown == OFF or not self._total or now - self._last_shown < PAUSE_S[self._shown]:
            return None
        self._last_shown = now
        return self.text(now)

    def text(self, now: float) -> str:
        counts = Counter(self._verdicts.values())
        done = f"{len(self._verdicts)} judged" if self._verdicts else f"{len(self._probed)} probed, none judged yet"
        outcomes = [f"{counts[verdict]} {word}" for verdict, word in _WORDS.items()] if self._verdicts else []
        elapsed, probed = now - self._began, len(self._probed)
        left = []
        if 0 < probed < self._total and not self._verdicts:
            left = [f"probes end in about {_duration(elapsed / probed * (self._total - probed))}"]
        head = f"KV reuse: {self._total} pair{'s' * (self._total != 1)}: "
        return head + ", ".join([done, *outcomes, _duration(elapsed) + " gone", *left])


def _duration(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min" if whole < 7200 else f"{whole / 3600:.1f} h"
