# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to look for in an engine's log, and the sorting of its lines into a `kvproof.log/1` document.

Files are read in files.py, units and commands in __init__.py.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable

from ...stack import lines
from ..arguments import LOG, filled

MAX_HEAD_EVENTS = 400
_DEFAULTS = filled(LOG, {})
#: A lookup's layout line carries no id and comes before the first line that does; after a time-out of
#: the lookup (3 s) it stands this much earlier.
LEAD_SECONDS = 5.0
_OTHER_ZONE = 15 * 3600.0  # the log's time zone may differ from ours by at most this
_CLOCK_SLACK = 2.0
_AT = re.compile(rb"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d{3}\] LMCache ")


class Want:
    """What to look for in a log, and how much of it may be read.

    `ids` are request ids as sent or as answered, `marker` is a string that every id of this run contains,
    `since` is when the run began and `started_at` when the engine's process did (epoch seconds).
    `head_bytes`, `budget` (bytes), `max_events` and `timeout` (seconds) bound the reading.
    """

    def __init__(
        self,
        ids: Iterable[str] = (),
        marker: str | None = None,
        since: float | None = None,
        *,
        started_at: float | None = None,
        head_bytes: int = _DEFAULTS["head"],
        budget: int = _DEFAULTS["budget"],
        max_events: int = _DEFAULTS["max_events"],
        timeout: float = _DEFAULTS["timeout"],
    ):
        self.ids = list(dict.fromkeys(ids))
        self.since = since
        self.started_at = started_at
        self.head_bytes = head_bytes
        self.budget = budget
        self.max_events = max_events
        self.timeout = timeout
        needles = [marker] if marker else []
        needles += [item for item in self.ids if not marker or marker not in item]
        self.needles = [needle.encode() for needle in needles]


class Clock:
    """Compares the log's local time stamps with epoch seconds.

    The engine's time zone may be another than ours.  The first line of this run tells: it was written
    within minutes of `since`, so the difference, rounded to a quarter of an hour, is the zones'.  Until
    such a line was met, only differences larger than any zone's count.
    """

    def __init__(self, since: float | None):
        self.since = since
        self.shift = 0.0
        self.margin = _OTHER_ZONE

    def calibrate(self, raw: bytes) -> None:
        """Take the zone from the last time stamp in `raw`, which must be that of a line of this run."""
        last = self.last_stamp(raw)
        if not self.margin or last is None or self.since is None:
            return
        shift = self.zone(self.since - last)
        if shift is not None:
            self.shift, self.margin = shift, 0.0

    @staticmethod
    def zone(difference: float) -> float | None:
        """A difference of clocks as one of time zones: whole quarters of an hour; None where it is too large."""
        shift = round(difference / 900.0) * 900.0
        return shift if abs(shift) <= _OTHER_ZONE else None

    @staticmethod
    def first_stamp(block: bytes) -> float | None:
        """The first time stamp in a block of bytes, as if it were of our zone; None where there is none."""
        stamp = _AT.search(block)
        return _epoch(stamp.group(1).decode()) if stamp else None

    @staticmethod
    def last_stamp(block: bytes) -> float | None:
        """The same of the last time stamp."""
        stamps = _AT.findall(block)
        return _epoch(stamps[-1].decode()) if stamps else None

    def epoch(self, at: str | None) -> float | None:
        """Epoch seconds of an event's `at`, None where there is none."""
        value = _epoch(at[:19]) if at else None
        return None if value is None else value + self.shift

    def is_before(self, at: str | None, moment: float | None) -> bool:
        """Whether `at` lies before `moment` for certain; what is not known is not before."""
        value = self.epoch(at)
        return value is not None and moment is not None and value < moment - _CLOCK_SLACK - self.margin

    def run_is_later(self, block: bytes) -> bool:
        """Whether the first time stamp in a block of bytes lies before the run for certain."""
        stamp = _AT.search(block)
        return (
            stamp is not None
            and self.since is not None
            and self.is_before(stamp.group(1).decode(), self.since - LEAD_SECONDS)
        )


def _epoch(text):
    try:
        return time.mktime(time.strptime(text, "%Y-%m-%d %H:%M:%S"))
    except (ValueError, OverflowError):
        return None


def document(
    source: dict | None,
    found_by: str | None = None,
    *,
    state: str = "unknown",
    detail: str | None = None,
    ids: Iterable[str] = (),
) -> dict:
    """A LOG document with nothing read yet."""
    return {
        "schema": "kvproof.log/1",
        "source": source,
        "found_by": found_by,
        "state": state,
        "detail": detail,
        "size": None,
        "mtime": None,
        "bytes_read": 0,
        "whole": False,
        "ids_wanted": list(ids),
        "ids_found": [],
        "ids_missing": list(ids),
        "head": [],
        "events": [],
        "levels": {"INFO": 0, "WARNING": 0, "ERROR": 0},
        "truncated": False,
    }


def _same(event, other):
    """Whether two events say the same at different times."""
    return all(event[name] == other.get(name) for name in event if name not in ("at", "offset", "line"))


class Collector:
    """Sorts events into a LOG's `head` and `events` as lines are fed in order.

    Before the run's first line, start-up events go to `head`, and the rest is kept only in case it leads up
    to the run.  From that line on, everything is an event of the run.
    """

    def __init__(self, log: dict, want: Want, clock: Clock | None = None):
        self.log, self.want = log, want
        self.clock = clock or Clock(want.since)
        self.run_at: int | None = None  # offset of the run's first line
        self._scanner = lines.Scanner()
        self._head_scanner = lines.Scanner(lines.STARTUP_ANCHORS)
        self.head_passes_over = self._head_scanner.passes_over
        self._lead: list[dict] = []

    def feed_head(self, raw: bytes, offset: int) -> None:
        """A line of the head window: only start-up facts matter."""
        event = self._head_scanner.feed(raw, offset)
        if event is not None and event["kind"] in lines.STARTUP:
            self._keep_head(event)

    def feed(self, raw: bytes, offset: int) -> None:
        """A line of the window in which the run is."""
        ours = any(map(raw.__contains__, self.want.needles))
        if ours and self.run_at is None:
            self.run_at = offset
            self.clock.calibrate(raw)
        event = self._scanner.feed(raw, offset)
        if event is None:
            return
        if self.run_at is not None:
            self._keep(event, ours)
        elif event["kind"] in lines.STARTUP:
            self._keep_head(event)
        else:
            self._lead.append(event)
            if len(self._lead) > 2 * self.want.max_events:
                del self._lead[: self.want.max_events]

    def _keep_head(self, event):
        head = self.log["head"]
        if event["kind"] == "engine_started":  # an appended log: what an earlier start printed is past
            del head[:]
        again = event["kind"] in lines.REPEATED and any(_same(event, other) for other in head)
        if len(head) < MAX_HEAD_EVENTS and not again:
            head.append(event)

    def _keep(self, event, ours):
        # Others' traffic may fill the list; our own events have as much room again.
        limit = self.want.max_events * (2 if ours else 1)
        if len(self.log["events"]) < limit:
            self.log["events"].append(event)
        else:
            self.log["truncated"] = True

    def drop_older_start(self) -> bool:
        """Forget start-up facts that are older than the engine's process; whether there were any."""
        stamps = [event["at"] for event in self.log["head"] if event["at"]]
        older = bool(stamps) and self.clock.is_before(stamps[-1], self.want.started_at)
        if older:
            del self.log["head"][:]
        return older

    def finish(self) -> None:
        """Put the events that lead up to the run in front of it, and publish the level counts."""
        self.log["events"][:0] = [event for event in self._lead if self._leads(event)][-self.want.max_events :]
        self._lead = []
        for scanner in (self._scanner, self._head_scanner):
            for level, count in scanner.levels.items():
                self.log["levels"][level] = self.log["levels"].get(level, 0) + count

    def _leads(self, event):
        if self.run_at is None:
            since = self.want.since
            return since is not None and (self.clock.epoch(event["at"]) or 0) >= since - _CLOCK_SLACK
        first = next((item["at"] for item in self.log["events"] if item["at"]), None)
        if first is None or not event["at"] or event.get("id"):  # another request's
            return False
        return _epoch(first[:19]) - _epoch(event["at"][:19]) <= LEAD_SECONDS
