# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bounded reading of a log file, its rotated siblings included, into a `kvproof.log/1` document.

A large file is read in two windows: its head, where the start-up facts stand, and from the first line of
this run to the end.  That line is searched backwards from the end, block by block, so that a log of any
size costs what its tail costs; where it lies further back, around the time of the run (search.py).
Small files are read whole.
"""

from __future__ import annotations

import errno
import gzip
import os
import re
import stat
import time
import zlib
from collections.abc import Callable, Iterator

from ...stack import lines
from . import search
from .events import Collector, Want, document

BLOCK = 1 << 20
MAX_LINE = 64 << 10
_SMALL_BLOCK = 64 << 10
WHOLE_BYTES = 8 << 20  # a file up to this size is read once, as a whole
_LEAD_BYTES = 64 << 10  # read before the run's first line, for lines without an id that belong to it
_MAX_SIBLINGS = 5
_OLDER_START = "the log's start-up lines are of an earlier start of the engine"
_ROTATED = re.compile(r"^(?:\.\d{1,3}|[-.]\d{4}-?\d{2}-?\d{2}(?:[-T_.]?\d{2,10})?)(?:\.gz)?$")


class Source:
    """One open log: its size when it was opened, the bytes read from it, and until when it may be read."""

    def __init__(self, handle, size, deadline):
        self.handle, self.size, self.deadline = handle, size, deadline
        self.bytes_read = 0

    def at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from `offset`; raises TimeoutError after the deadline."""
        if time.monotonic() > self.deadline:
            raise TimeoutError(errno.ETIMEDOUT, "reading took too long and was stopped")
        self.handle.seek(offset)
        data = self.handle.read(count)
        self.bytes_read += len(data)
        return data

    def lines(
        self, start: int, end: int, passes_over: Callable[[bytes], bool] | None = None
    ) -> Iterator[tuple[int, bytes]]:
        """(offset, line) from `start`, itself the beginning of a line, to `end`; overlong lines are cut.

        `passes_over` says of a block of lines whether it can be left out; it gets small ones.
        """
        rest, rest_at, position = b"", start, start
        while position < end:
            block = self.at(position, min(_SMALL_BLOCK if passes_over else BLOCK, end - position))
            if not block:  # truncated while it was read
                break
            position += len(block)
            block = rest + block
            whole = block.rfind(b"\n") + 1
            if passes_over and whole and passes_over(block[:whole]):
                rest_at, rest = rest_at + whole, block[whole:]
                continue
            pieces = block.split(b"\n")
            rest = pieces.pop()
            for piece in pieces:
                yield rest_at, piece[:MAX_LINE]
                rest_at += len(piece) + 1
            if len(rest) > BLOCK:
                yield rest_at, rest[:MAX_LINE]
                rest_at, rest = position, b""
        if rest:
            yield rest_at, rest[:MAX_LINE]

    def line_start(self, offset: int, floor: int = 0) -> int:
        """The beginning of the first whole line at or after `offset`, no earlier than `floor`."""
        if offset <= floor:
            return floor
        newline = self.at(offset, MAX_LINE).find(b"\n")
        return offset + newline + 1 if newline >= 0 else offset


def regular(path: str) -> os.stat_result:
    """The status of `path`, which must be a regular file: a pipe or a device could block or never end."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        kind = "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise IsADirectoryError(errno.EISDIR, f"is {kind}; a log file is wanted", path)
    return status


def read_file(log: dict, path: str, want: Want) -> None:
    """Fill `log` from the file at `path`.  Raises OSError when it cannot be opened."""
    status = regular(path)
    with open(path, "rb") as handle:
        log["size"], log["mtime"] = status.st_size, status.st_mtime
        if not status.st_size:
            log["state"], log["detail"] = "empty", "the file has 0 bytes"
            return
        log["state"] = "ok"
        source = Source(handle, status.st_size, time.monotonic() + want.timeout)
        collector = Collector(log, want)
        try:
            begins_inside = _collect(log, source, want, collector)
        except TimeoutError as error:
            log["truncated"], log["detail"], begins_inside = True, error.strerror, True
        collector.finish()
        log["bytes_read"] += source.bytes_read
    if not begins_inside or not log["head"]:
        _read_rotated(log, path, want, collector.clock, source.deadline)


def _collect(log, source, want, collector):
    """Read the windows of one file; whether the run begins inside it (else a rotated file has the rest)."""
    if source.size <= min(WHOLE_BYTES, want.budget):
        log["whole"] = True
        start = 0
        _feed(collector.feed, source, 0, source.size)
        if collector.drop_older_start():
            log["detail"] = _OLDER_START
    else:
        start = _collect_windows(log, source, want, collector)
    return start > 0 or not want.needles or collector.clock.run_is_later(source.at(0, 4 * MAX_LINE))


def _collect_windows(log, source, want, collector):
    """Read a large file's head and where the run is; the offset at which the latter begins."""
    first, engine_start, searched = _find_run(source, want, collector.clock)
    end, floor, earlier = source.size, searched, None
    sought = want.needles and want.since is not None and first is None and searched == source.size - want.budget
    if sought:
        earlier = search.find(source, want, collector.clock)
    if earlier:
        first, floor = earlier.first, 0
        end = min(source.size, earlier.last + _LEAD_BYTES)
        log["truncated"] = True  # what was not searched may hold more of the run
    if first is None:
        first = max(searched, source.size - WHOLE_BYTES)
    start = source.line_start(max(floor, first - _LEAD_BYTES), floor)
    _read_head(log, source, want, collector, run_start=start, engine_start=engine_start)
    _feed(collector.feed, source, start, end)
    where = f"in the last {source.size - searched} of {source.size} bytes"
    if earlier:
        place = f"the run is not {where}, but around its time, from byte {earlier.first} to {earlier.last}"
        log["detail"] = "; ".join(filter(None, [log["detail"], place]))
    elif collector.run_at is None and want.needles:
        nor = ", nor around its time" if sought else ""
        log["detail"] = f"no line of this run {where}{nor}, which is as far as was searched"
    return start


def _feed(sink, source, start, end, passes_over=None):
    for offset, raw in source.lines(start, end, passes_over):
        sink(raw, offset)


def _feed_head(collector, source, start, end):
    _feed(collector.feed_head, source, start, end, collector.head_passes_over)


def _read_head(log, source, want, collector, *, run_start, engine_start):
    """Start-up facts: from the engine's last start where the search met it, else from the file's head."""
    start = engine_start or 0
    end = run_start if run_start >= start else source.size  # an engine started again after a run far back
    _feed_head(collector, source, start, min(start + want.head_bytes, end))
    if not collector.drop_older_start():
        return
    start = _last_start(source, max(0, run_start - want.budget), run_start)
    if start is not None:
        _feed_head(collector, source, start, min(start + want.head_bytes, run_start))
    if start is None or collector.drop_older_start():
        log["detail"] = _OLDER_START


def _find_run(source, want, clock):
    """Where this run's first line is and where the engine's last start (None: was not seen), and down to where
    was searched.

    Reads backwards in blocks, at most `want.budget` bytes, and stops early when the lines are older than the run,
    or, where the log's time is not known, when all that is wanted was found and a quiet stretch follows.
    """
    overlap = max([len(needle) for needle in want.needles] + [64]) - 1
    floor = max(0, source.size - want.budget)
    first = engine_start = None
    missing = set(want.needles)
    position, quiet, tail = source.size, 0, b""
    while position > floor:
        count = min(BLOCK, position - floor)
        position -= count
        block = source.at(position, count) + tail[:overlap]
        hits = {needle: block.find(needle) for needle in want.needles if needle in block}
        quiet = 0 if hits else quiet + count
        if hits:
            missing -= set(hits)
            nearest = min(hits.values())
            first = position + nearest
            clock.calibrate(block[max(0, nearest - 300) : nearest].rpartition(b"\n")[2])
        if engine_start is None:
            engine_start = _last_anchor(block, position)
        timeless = clock.margin and first is not None and not missing and quiet >= search.QUIET
        if not hits and (clock.run_is_later(block) or timeless):
            break
        tail = block
    if engine_start is not None:
        engine_start = source.line_start(max(0, engine_start - _LEAD_BYTES))
    return first, engine_start, position


def _last_anchor(block, position):
    starts = [at for at in (block.rfind(anchor) for anchor in lines.START_ANCHORS) if at >= 0]
    return position + max(starts) if starts else None


def _last_start(source, floor, end):
    """Where the engine's last start before `end` begins, searched backwards to `floor`; None: not seen."""
    position = end
    while position > floor:
        count = min(BLOCK, position - floor)
        position -= count
        start = _last_anchor(source.at(position, count + 64), position)
        if start is not None:
            return source.line_start(max(0, start - _LEAD_BYTES))
    return None


def rotated(path: str) -> list[str]:
    """Rotated siblings of a log file, newest first: `log.1`, `log-20250101`, either with `.gz`."""
    folder, name = os.path.split(os.path.abspath(path))
    siblings = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(name) and _ROTATED.match(entry.name[len(name) :]):
                    siblings.append((entry.stat().st_mtime, entry.path))
    except OSError:
        return []
    return [item for _mtime, item in sorted(siblings, reverse=True)[:_MAX_SIBLINGS]]


def _read_rotated(log, path, want, clock, deadline):
    """Look for the run's beginning, and for start-up facts, in the files rotated away most recently."""
    wants_run = bool(want.needles)
    for sibling in rotated(path):
        left = want.budget - log["bytes_read"]
        if left <= 0 or not (wants_run or not log["head"]):
            return
        try:
            wants_run = wants_run and os.stat(sibling).st_mtime >= (want.since or 0) - 1
            if not wants_run and log["head"]:
                return
            part, begins_inside = _read_sibling(
                sibling, want, clock, wants_run=wants_run, budget=left, deadline=deadline
            )
        except (OSError, EOFError, zlib.error) as error:
            log["detail"] = f"{sibling} could not be read: {error}"
            return
        log["bytes_read"] += part["bytes_read"]
        log["head"] = log["head"] or part["head"]
        if wants_run:
            room = want.max_events - len(log["events"])
            log["truncated"] = log["truncated"] or len(part["events"]) > room
            log["events"] = part["events"][max(0, len(part["events"]) - room) :] + log["events"]
            wants_run = not begins_inside


def _read_sibling(path, want, clock, *, wants_run, budget, deadline):
    """The document of one rotated file, and whether the run begins inside it.

    Without `wants_run` only its head is read.  Compressed files are read from their beginning.
    """
    size = regular(path).st_size
    part = document({"file": path})
    compressed = path.endswith(".gz")
    with gzip.open(path, "rb") if compressed else open(path, "rb") as handle:
        source = Source(handle, budget if compressed else size, deadline)
        collector = Collector(part, want, clock)
        begins_inside = True
        if not wants_run:
            _feed_head(collector, source, 0, min(want.head_bytes, source.size))
        elif compressed:
            _feed(collector.feed, source, 0, source.size)
        else:
            begins_inside = _collect(part, source, want, collector)
        collector.drop_older_start()
        collector.finish()
    part["bytes_read"] = source.bytes_read
    for event in part["head"] + part["events"]:
        event["file"] = os.path.basename(path)
    return part, begins_inside
