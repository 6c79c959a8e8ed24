# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds a run that lies far from a log's end: by bisecting the log's time stamps, then searching around that moment.

A log of any size is looked at in some twenty places and in one bounded stretch.  Only the run's own ids prove that
the place is right; the time says no more than where to look.
"""

from __future__ import annotations

import os
from collections import namedtuple

from .events import LEAD_SECONDS, Clock, Want

BLOCK = 1 << 20
QUIET = 4 << 20  # so many bytes without a line of the run end the search when all ids were seen
_LOOK = 64 << 10  # read at once when looking for a time stamp
_STAMPLESS = 4 << 20  # a stretch without any stamp is followed this far

#: Offsets of the run's first id and behind its last.
Stretch = namedtuple("Stretch", "first last")


def find(source, want: Want, clock: Clock) -> Stretch | None:
    """Where the run is, as a Stretch, reading at most `want.budget` bytes more; None where its ids were not met."""
    shifts = _shifts(source, clock)
    for shift in shifts:
        moment = _bisect(source, clock, (want.since or 0.0) - LEAD_SECONDS - shift)
        # The engine's clock may differ from the one that `since` was taken by: a part of the stretch lies before.
        room = want.budget // len(shifts)
        start = max(0, moment - room // 4)
        stretch = _search(source, want, start, min(source.size, start + room))
        if stretch:
            return stretch
    return None


def _shifts(source, clock):
    """Seconds by which the log's local time may be behind ours: its last stamp is about as old as the file, unless
    LMCache has been silent for long; then ours is as good a guess."""
    last = clock.last_stamp(source.at(max(0, source.size - BLOCK), BLOCK))
    if last is None:
        return [0.0]
    zone = clock.zone(os.fstat(source.handle.fileno()).st_mtime - last)
    return [0.0] if zone is None else list(dict.fromkeys([zone, 0.0]))


def _bisect(source, clock, moment):
    """An offset at most a block before the first line that is not older than `moment`, in the log's local time."""
    low, high = 0, source.size
    while high - low > BLOCK:
        middle = (low + high) // 2
        stamp = _stamp(source, clock, middle, high)
        if stamp is not None and stamp < moment:
            low = middle
        else:
            high = middle
    return low


def _stamp(source, clock, position, end):
    end = min(end, position + _STAMPLESS)
    while position < end:
        stamp = clock.first_stamp(source.at(position, _LOOK))
        if stamp is not None:
            return stamp
        position += _LOOK - 64  # a stamp may lie across the border
    return None


def _search(source, want, position, end):
    overlap = max(len(needle) for needle in want.needles) - 1
    missing = {request.encode() for request in want.ids} | set(want.needles)
    first = last = None
    tail, quiet = b"", 0
    while position < end:
        data = source.at(position, min(BLOCK, end - position))
        if not data:  # truncated while it was read
            break
        block, begins = tail + data, position - len(tail)
        position += len(data)
        hits = [needle for needle in want.needles if needle in block]
        if hits and first is None:
            first = begins + min(block.find(needle) for needle in hits)
        if hits:
            last, quiet = begins + max(block.rfind(needle) + len(needle) for needle in hits), 0
            missing = {needle for needle in missing if needle not in block}
        else:
            quiet += len(data)
        if first is not None and not missing and quiet >= QUIET:
            break
        tail = block[-overlap:] if overlap else b""
    return None if first is None else Stretch(first, last)
