# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bounded reading of an engine's log: `kvproof.log/1` (docs/evidence.md).

A file is read in two windows: its head, where the start-up facts stand, and from the first line of this
run to the end.  The run's first line is searched backwards from the end, block by block, so that a log of
any size costs what its tail costs.  Small files are read whole.  Standard library only, Python 3.8+.
"""
from __future__ import annotations

import errno
import gzip
import os
import re
import stat
import subprocess
import threading
import time

from .dialects.inprocess_p2p import lines

SCHEMA = "kvproof.log/1"
BLOCK = 1 << 20
MAX_LINE = 64 << 10
HEAD_BYTES = 2 << 20
BUDGET = 64 << 20
WHOLE_BYTES = 8 << 20    # a file up to this size is read whole, once
MAX_EVENTS = 5000
MAX_HEAD_EVENTS = 400
TIMEOUT = 10.0
#: A lookup's layout line carries no id and comes before the first line that does; after a time-out of
#: the lookup (3 s) it stands this much earlier.
LEAD_SECONDS = 5.0
LEAD_BYTES = 64 << 10
_CLOCK_SLACK = 2.0       # seconds between the validator's clock and the node's that do no harm
_STARTUP_SLACK = 600.0   # an engine's start-up lines come within this time of the process' start
_QUIET = 4 << 20         # so many bytes without a line of the run end the search when its ids are found
_ROTATED = re.compile(r"^(?:\.\d{1,3}|[-.]\d{4}-?\d{2}-?\d{2}(?:[-T_.]?\d{2,10})?)(?:\.gz)?$")
_AT = re.compile(rb"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d{3}\] LMCache ")


class Want:
    """What to look for in a log, and how much of it may be read.

    `ids` are request ids as sent or as answered, `marker` is a string that every id of this run contains,
    `since` is when the run began (epoch seconds), `started_at` when the engine's process did.
    """

    def __init__(self, ids=(), marker=None, since=None, started_at=None, head_bytes=HEAD_BYTES,
                 budget=BUDGET, max_events=MAX_EVENTS, timeout=TIMEOUT):
        self.ids = list(dict.fromkeys(ids))
        self.marker = marker or None
        self.since = since
        self.started_at = started_at
        self.head_bytes = head_bytes
        self.budget = budget
        self.max_events = max_events
        self.timeout = timeout
        needles = [marker] if marker else []
        needles += [item for item in self.ids if not marker or marker not in item]
        self.needles = [needle.encode() for needle in needles]


def document(source, found_by=None, state="unknown", detail=None, want=None):
    """A LOG document with nothing read yet."""
    ids = list(want.ids) if want else []
    return {"schema": SCHEMA, "source": source, "found_by": found_by, "state": state, "detail": detail,
            "size": None, "mtime": None, "bytes_read": 0, "whole": False,
            "ids_wanted": ids, "ids_found": [], "ids_missing": ids,
            "head": [], "events": [], "levels": {"INFO": 0, "WARNING": 0, "ERROR": 0}, "truncated": False}


def read(source, want, found_by="variable", path=None):
    """Read the log that `source` names and return its LOG document; never raises for what it finds there.

    `source` is `{"file": path}`, `{"unit": name}` or `{"command": [argv]}`; `path` is where the file is
    really opened, when a container's root stands before it.
    """
    log = document(source, found_by, want=want)
    try:
        if "file" in source:
            _read_file(log, path or source["file"], want)
        elif "unit" in source:
            _read_unit(log, source["unit"], want)
        else:
            _read_command(log, source["command"], want)
    except OSError as error:
        log["state"], log["detail"] = _state_of(error), "{}: {}".format(
            error.filename or "the log", error.strerror or error)
    _settle_ids(log, want)
    return log


def _state_of(error):
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return "absent"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "unreadable"
    if error.errno == errno.EISDIR:
        return "not-a-file"
    return "failed"


def _settle_ids(log, want):
    logged = {event["id"] for event in log["events"] if event.get("id")}
    found = [item for item in want.ids if any(lines.same_request(item, other) for other in logged)]
    log["ids_found"] = found
    log["ids_missing"] = [item for item in want.ids if item not in found]


# ---------------------------------------------------------------- files

class _File:
    """One open log file: its size when it was opened, and how many bytes were read from it."""

    def __init__(self, handle, size):
        self.handle, self.size, self.bytes_read = handle, size, 0

    def at(self, offset, count):
        self.handle.seek(offset)
        data = self.handle.read(count)
        self.bytes_read += len(data)
        return data

    def lines(self, start, end):
        """(offset, line) from `start`, itself the beginning of a line, to `end`; overlong lines are cut."""
        rest, rest_at, position = b"", start, start
        while position < end:
            block = self.at(position, min(BLOCK, end - position))
            if not block:
                break
            position += len(block)
            pieces = (rest + block).split(b"\n")
            rest = pieces.pop()
            for piece in pieces:
                yield rest_at, piece[:MAX_LINE]
                rest_at += len(piece) + 1
            if len(rest) > BLOCK:
                yield rest_at, rest[:MAX_LINE]
                rest_at, rest = position, b""
        if rest:
            yield rest_at, rest[:MAX_LINE]


def _open_regular(path):
    """Open `path` for reading if it is a regular file; a pipe or a device would block or never end."""
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory, not a log file", path)
    if not stat.S_ISREG(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is not a regular file", path)
    return open(path, "rb"), status


def _read_file(log, path, want):
    handle, status = _open_regular(path)
    with handle:
        log["size"], log["mtime"] = status.st_size, status.st_mtime
        if not status.st_size:
            log["state"], log["detail"] = "empty", "the file has 0 bytes"
            return
        log["state"] = "ok"
        source = _File(handle, status.st_size)
        clock = _Clock(want, source, status.st_mtime)
        reader = _Collector(log, want, clock)
        if source.size <= min(WHOLE_BYTES, want.budget):
            log["whole"] = True
            for offset, raw in source.lines(0, source.size):
                reader.feed(raw, offset)
            at_start = clock.begins_after_run(source, 0)
        else:
            start, engine_start = _find_run(source, want, clock)
            at_start = start == 0
            _read_head(reader, source, want, clock, engine_start, start)
            for offset, raw in source.lines(start, source.size):
                reader.feed(raw, offset)
            if reader.run_at is None:
                log["detail"] = ("no line of this run in the last {} of {} bytes".format(
                    source.size - start, source.size))
        reader.finish()
        log["bytes_read"] = source.bytes_read
    if at_start or not log["head"]:
        _read_rotated(log, path, want, reader, at_start)


def _read_head(reader, source, want, clock, engine_start, run_start):
    """Start-up facts: from the engine's last start where the search met it, else from the file's head."""
    start = engine_start or 0
    end = min(start + want.head_bytes, run_start)
    for offset, raw in source.lines(start, end):
        reader.feed_head(raw, offset)
    reader.drop_older_start(clock)


def _find_run(source, want, clock):
    """Where to begin reading for this run, and where the engine's last start was seen (None: not seen).

    Reads backwards in blocks, at most `want.budget` bytes, and stops early when the lines are older than
    the run, or when everything wanted was found and a quiet stretch follows.
    """
    overlap = max([len(needle) for needle in want.needles + list(lines.START_ANCHORS)] + [1]) - 1
    floor = max(0, source.size - want.budget)
    first = engine_start = None
    missing = set(want.needles)
    position, quiet, tail = source.size, 0, b""
    while position > floor:
        count = min(BLOCK, position - floor)
        position -= count
        block = source.at(position, count) + tail[:overlap]
        hits = [at for at in (block.find(needle) for needle in want.needles) if at >= 0]
        missing -= {needle for needle in missing if needle in block}
        quiet = 0 if hits else quiet + count
        if hits:
            first = position + min(hits)
        if engine_start is None:
            starts = [at for at in (block.rfind(anchor) for anchor in lines.START_ANCHORS) if at >= 0]
            engine_start = position + max(starts) if starts else None
        if clock.before_run(block) or (first is not None and quiet >= _QUIET and not missing):
            break
        tail = block
    if first is None:
        first = position if want.since is not None and want.needles else source.size - min(BLOCK, source.size)
    start = _line_start(source, max(floor, first - LEAD_BYTES), floor)
    if engine_start is not None:
        engine_start = _line_start(source, max(0, engine_start - LEAD_BYTES), 0)
    return start, engine_start


def _line_start(source, offset, floor):
    """The beginning of the first whole line at or after `offset`."""
    if offset <= floor and offset == 0:
        return 0
    newline = source.at(offset, MAX_LINE).find(b"\n")
    return offset + newline + 1 if newline >= 0 else offset


class _Clock:
    """Compares the log's local time stamps with epoch seconds.

    The engine's time zone may be another than this process'.  The file's last line is about as old as its
    mtime, which gives the difference, rounded to a quarter of an hour.
    """

    def __init__(self, want, source=None, mtime=None):
        self.want = want
        self.shift = 0.0
        if source is not None and mtime is not None:
            tail = source.at(max(0, source.size - MAX_LINE), MAX_LINE)
            stamps = _AT.findall(tail)
            last = _epoch(stamps[-1].decode()) if stamps else None
            if last is not None:
                self.shift = round((mtime - last) / 900.0) * 900.0
                if abs(self.shift) > 15 * 3600:  # no time zone: an old log that was only touched
                    self.shift = 0.0

    def epoch(self, at):
        """Epoch seconds of an event's `at`, None where there is none."""
        value = _epoch(at[:19]) if at else None
        return None if value is None else value + self.shift

    def before_run(self, block):
        """Whether the first time stamp in a block of bytes lies before the run (False: not known)."""
        if self.want.since is None:
            return False
        found = _AT.search(block)
        at = self.epoch(found.group(1).decode()) if found else None
        return at is not None and at < self.want.since - LEAD_SECONDS - _CLOCK_SLACK

    def begins_after_run(self, source, offset):
        """Whether the lines at `offset` are younger than the run's begin: then a rotated file has the rest."""
        if self.want.since is None:
            return True
        return not self.before_run(source.at(offset, BLOCK))


def _epoch(text):
    try:
        return time.mktime(time.strptime(text, "%Y-%m-%d %H:%M:%S"))
    except (ValueError, OverflowError):
        return None


class _Collector:
    """Sorts events into the LOG's `head` and `events` as lines are fed in order."""

    def __init__(self, log, want, clock):
        self.log, self.want, self.clock = log, want, clock
        self.scanner = lines.Scanner()
        self.head_scanner = lines.Scanner()
        self.run_at = None      # offset of the run's first line
        self.lead = []          # events before it that may belong to it

    def feed_head(self, raw, offset):
        event = self.head_scanner.feed(raw, offset)
        if event is not None and event["kind"] in lines.STARTUP:
            self._keep_head(event)

    def feed(self, raw, offset):
        if self.run_at is None and any(needle in raw for needle in self.want.needles):
            self.run_at = offset
        event = self.scanner.feed(raw, offset)
        if event is None:
            return
        if self.run_at is None:
            self.lead.append(event)
            if event["kind"] in lines.STARTUP:
                self._keep_head(event)
            elif len(self.lead) > self.want.max_events:
                del self.lead[:len(self.lead) // 2]
        else:
            self._keep(event)

    def _keep_head(self, event):
        head = self.log["head"]
        if event["kind"] == "engine_started":
            del head[:]
        known = {item["offset"] for item in head[-50:]}
        if event["offset"] not in known and len(head) < MAX_HEAD_EVENTS:
            head.append(event)

    def _keep(self, event):
        if len(self.log["events"]) < self.want.max_events:
            self.log["events"].append(event)
        else:
            self.log["truncated"] = True

    def drop_older_start(self, clock):
        """Forget start-up facts of an earlier start of the engine, which the head of an appended log has."""
        stamps = [clock.epoch(event["at"]) for event in self.log["head"] if event["at"]]
        if self.want.started_at is None or not stamps or stamps[-1] is None:
            return
        if stamps[-1] < self.want.started_at - _CLOCK_SLACK:
            del self.log["head"][:]
            self.log["detail"] = "the log's head is of an earlier start of the engine"

    def finish(self):
        """Put the events that lead up to the run in front, and publish the level counts."""
        lead = [event for event in self.lead if self._leads(event)]
        self.log["events"][:0] = lead
        if len(self.log["events"]) > self.want.max_events:
            del self.log["events"][self.want.max_events:]
            self.log["truncated"] = True
        for level, count in self.scanner.levels.items():
            self.log["levels"][level] = self.log["levels"].get(level, 0) + count
        for level, count in self.head_scanner.levels.items():
            self.log["levels"][level] = self.log["levels"].get(level, 0) + count
        self.lead = []

    def _leads(self, event):
        if event["kind"] in lines.STARTUP:
            return False
        if self.want.since is not None:
            at = self.clock.epoch(event["at"])
            return at is not None and at >= self.want.since - _CLOCK_SLACK
        first = next((item["at"] for item in self.log["events"] if item["at"]), None)
        if first is None or not event["at"]:
            return False
        return _epoch(first[:19]) - _epoch(event["at"][:19]) <= LEAD_SECONDS


# ---------------------------------------------------------------- rotated files

def rotated(path):
    """Rotated siblings of a log file, newest first: `log.1`, `log-20250101`, either with `.gz`."""
    folder, name = os.path.split(os.path.abspath(path))
    found = []
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return []
    for entry in entries:
        if entry.name.startswith(name) and _ROTATED.match(entry.name[len(name):]):
            try:
                found.append((entry.stat().st_mtime, entry.path))
            except OSError:
                continue
    return [item for _mtime, item in sorted(found, reverse=True)[:8]]


def _read_rotated(log, path, want, reader, wants_run):
    """Look for the run's beginning, and for start-up facts, in the files rotated away most recently."""
    for sibling in rotated(path):
        left = want.budget - log["bytes_read"]
        wants_head = not log["head"]
        if left <= 0 or not (wants_run or wants_head):
            return
        try:
            mtime = os.stat(sibling).st_mtime
            tail_wanted = wants_run and (want.since is None or mtime >= want.since - _CLOCK_SLACK)
            if not (tail_wanted or wants_head):
                continue
            found = _read_sibling(sibling, want, reader.clock, min(left, want.budget // 2))
        except (OSError, EOFError) as error:
            log["detail"] = "{} could not be read: {}".format(sibling, error)
            return
        log["bytes_read"] += found["bytes_read"]
        if wants_head and found["head"]:
            log["head"] = found["head"]
        if tail_wanted:
            room = want.max_events - len(log["events"])
            log["events"][:0] = found["events"][-room:] if room else []
            log["truncated"] = log["truncated"] or len(found["events"]) > room
        wants_run = wants_run and tail_wanted and found["goes_on"]


def _read_sibling(path, want, clock, budget):
    """Head and run of one rotated file; `goes_on` says that the run may begin in a still older one."""
    name = os.path.basename(path)
    log = {"head": [], "events": [], "levels": {}, "detail": None, "truncated": False}
    reader = _Collector(log, want, clock)
    handle, status = _open_regular(path)
    size = status.st_size
    if path.endswith(".gz"):
        handle.close()
        handle, size = gzip.open(path, "rb"), budget
    with handle:
        source = _File(handle, size)
        start = 0
        if not path.endswith(".gz") and size > budget:
            start, engine_start = _find_run(source, want, clock)
            _read_head(reader, source, want, clock, engine_start, start)
        for offset, raw in source.lines(start, size):
            reader.feed(raw, offset)
        reader.finish()
        bytes_read = source.bytes_read
    for event in log["head"] + log["events"]:
        event["file"] = name
    stamps = [clock.epoch(event["at"]) for event in log["events"] if event["at"]]
    begins_inside = reader.run_at is not None and want.since is not None and stamps \
        and stamps[0] > want.since + LEAD_SECONDS
    return {"head": log["head"], "events": log["events"], "bytes_read": bytes_read,
            "goes_on": bool(begins_inside) or (want.since is not None and reader.run_at is None)}


# ---------------------------------------------------------------- units and commands

def _read_unit(log, unit, want):
    """A systemd unit's journal: the time around the engine's start for `head`, the run's for the rest."""
    base = ["journalctl", "--no-pager", "-q", "-o", "cat", "-u", unit]
    if want.started_at is not None:
        around = ["--since=@{:.0f}".format(want.started_at - 5),
                  "--until=@{:.0f}".format(want.started_at + _STARTUP_SLACK)]
        _stream(log, base + around, want, head_only=True)
    if log["state"] in ("unknown", "ok"):
        since = want.since - LEAD_SECONDS if want.since is not None else time.time() - 3600
        _stream(log, [*base, "--since=@{:.0f}".format(since)], want)
    if log["state"] == "ok" and not log["bytes_read"]:
        log["state"] = "empty"
        log["detail"] = ("journalctl shows nothing for this unit: wrong name, no lines, or the user may not "
                         "read the system journal")


def _read_command(log, argv, want):
    """A command's output, stderr included.  `{since}` in it becomes epoch seconds, `{since_time}` RFC 3339."""
    since = want.since - LEAD_SECONDS if want.since is not None else 0
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since))
    words = [word.replace("{since}", "{:.0f}".format(since)).replace("{since_time}", stamp) for word in argv]
    _stream(log, words, want)
    if log["state"] == "ok" and not log["bytes_read"]:
        log["state"], log["detail"] = "empty", "the command printed nothing"


def _stream(log, argv, want, head_only=False):
    """Run `argv` without a shell and collect events from its output, within the byte and time budget."""
    limit = want.head_bytes if head_only else want.budget
    try:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, env=dict(os.environ, LC_ALL="C"))
    except OSError as error:
        log["state"] = "failed"
        log["detail"] = "{} could not be started: {}".format(argv[0], error.strerror)
        return
    timed_out = threading.Event()

    def stop():
        timed_out.set()
        process.kill()

    timer = threading.Timer(want.timeout, stop)
    timer.start()
    collector = _Collector(log, want, _Clock(want))
    offset, last, cut = 0, b"", False
    try:
        for raw in iter(lambda: process.stdout.readline(MAX_LINE), b""):
            (collector.feed_head if head_only else collector.feed)(raw, offset)
            offset += len(raw)
            last = raw
            if offset >= limit:
                cut = True
                process.kill()
                break
        process.wait()
    finally:
        timer.cancel()
        process.stdout.close()
    collector.finish()
    log["bytes_read"] += offset
    log["state"] = "ok"
    log["whole"] = not (cut or timed_out.is_set() or head_only)
    if timed_out.is_set():
        log["state"], log["detail"] = "failed", "{} did not end within {} s".format(argv[0], want.timeout)
    elif cut and not head_only:
        log["detail"] = "the output was cut after {} bytes; ask the command for less".format(limit)
    elif process.returncode and not cut:
        log["state"] = "failed"
        log["detail"] = "{} ended with code {}: {}".format(
            argv[0], process.returncode, lines.clean(last).strip()[:200])
