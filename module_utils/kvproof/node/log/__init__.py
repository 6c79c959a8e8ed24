# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An engine's log as evidence, `kvproof.log/1`: from a file, a systemd unit or a command's output."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import time

from ...stack import lines
from .events import LEAD_SECONDS, Collector, Want, document
from .files import MAX_LINE, read_file

__all__ = ["Want", "bad_source", "document", "read"]

_GRACE_SECONDS = 2.0  # for a command that has closed its output
_STARTUP_SECONDS = 900.0  # an engine's start-up lines come within this time of its process' start


def bad_source(source: object) -> str | None:
    """One sentence on what is wrong with a log source given by a user (None: nothing is, or none is given)."""
    if source is None:
        return None
    if not isinstance(source, dict) or len([key for key in source if source[key]]) != 1:
        return "log: give exactly one of file, unit and command, for example {file: /var/log/vllm.log}"
    ((key, value),) = [item for item in source.items() if item[1]]
    if key == "command":
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            return "log.command: give a list of words, for example [docker, logs, vllm]"
    elif key not in ("file", "unit") or not isinstance(value, str):
        return "log: give exactly one of file, unit and command, for example {file: /var/log/vllm.log}"
    elif key == "unit" and value.startswith("-"):
        return "log.unit: give the name of a systemd unit, for example vllm.service"
    return None


def read(source: dict, want: Want, found_by: str = "variable", path: str | None = None) -> dict:
    """Read the log that `source` names and return its LOG document; never raises for what it finds there.

    `source` is `{"file": path}`, `{"unit": name}` or `{"command": [argv]}`; `path` is where the file is
    really opened, when a container's root stands before it.
    """
    source = {key: value for key, value in source.items() if value}
    log = document(source, found_by, ids=want.ids)
    try:
        if source.get("file"):
            read_file(log, path or source["file"], want)
        elif source.get("unit"):
            _read_unit(log, source["unit"], want)
        else:
            _read_command(log, source["command"], want)
    except OSError as error:
        log["state"] = _state_of(error)
        log["detail"] = "{}: {}".format(error.filename or "the log", error.strerror or error)
    logged = {event["id"] for event in log["events"] if event.get("id")}
    log["ids_found"] = [item for item in want.ids if any(lines.same_request(item, other) for other in logged)]
    log["ids_missing"] = [item for item in want.ids if item not in log["ids_found"]]
    return log


def _state_of(error):
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return "absent"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "unreadable"
    return "not-a-file" if error.errno == errno.EISDIR else "failed"


def _read_unit(log, unit, want):
    """A systemd unit's journal: the time around the engine's start for `head`, the run's for the rest."""
    base = ["journalctl", "--no-pager", "-q", "-o", "cat", "-u", unit]
    if want.started_at is not None:
        around = [f"--since=@{want.started_at - 5:.0f}", f"--until=@{want.started_at + _STARTUP_SECONDS:.0f}"]
        _stream(log, base + around, want, head_only=True)
    if log["state"] in ("unknown", "ok"):
        since = time.time() - 3600 if want.since is None else want.since - LEAD_SECONDS
        _stream(log, [*base, f"--since=@{since:.0f}"], want)
    log["whole"] = False
    if log["state"] == "ok" and not log["bytes_read"]:
        log["state"] = "empty"
        log["detail"] = (
            "journalctl shows nothing for this unit: a wrong name, no lines, or a user who may "
            "not read the system journal"
        )


def _read_command(log, argv, want):
    """A command's output, stderr included.  `{since}` becomes epoch seconds, `{since_time}` RFC 3339."""
    since = 0 if want.since is None else want.since - LEAD_SECONDS
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since))
    words = [word.replace("{since_time}", stamp).replace("{since}", f"{since:.0f}") for word in argv]
    _stream(log, words, want)
    if words != argv:
        log["whole"] = False
    if log["state"] == "ok" and not log["bytes_read"]:
        log["state"], log["detail"] = "empty", "the command printed nothing"


def _stream(log, argv, want, head_only=False):
    """Run `argv` without a shell and collect events from its output, within the byte and time budget."""
    limit = want.head_bytes if head_only else want.budget
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(os.environ, LC_ALL="C"),
            start_new_session=True,  # so that what it starts ends with it
        )
    except OSError as error:
        log["state"] = "failed"
        log["detail"] = f"{argv[0]} could not be started: {error.strerror}"
        return
    timed_out = False
    collector = Collector(log, want)
    sink = collector.feed_head if head_only else collector.feed
    offset, last = 0, b""
    try:
        for raw in _lines_until(process.stdout.fileno(), time.monotonic() + want.timeout):
            sink(raw, offset)
            offset += len(raw)
            last = raw
            if offset >= limit:
                break
    except TimeoutError:
        timed_out = True
    finally:
        if timed_out or offset >= limit:
            _end(process)
        process.stdout.close()
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:  # it closed its output and stays
        timed_out = True
        _end(process)
    collector.finish()
    cut = offset >= limit
    log["bytes_read"] += offset
    log["state"] = "ok"
    log["whole"] = not cut
    if timed_out:
        log["state"] = "failed"
        log["detail"] = f"{argv[0]} did not end within {want.timeout:g} s"
    elif cut and not head_only:
        log["truncated"] = True
        log["detail"] = f"only the first {limit} bytes of the output were read; ask the command for less"
    elif process.returncode and not cut:
        log["state"] = "failed"
        log["detail"] = f"{argv[0]} ended with code {process.returncode}: {lines.clean(last).strip()[:200]}"


def _lines_until(descriptor, end):
    """Lines of a pipe, overlong ones in pieces; raises TimeoutError where it is still open at `end` (monotonic).

    Whoever holds the pipe open, the child or what that started, is not waited for any longer.
    """
    rest = b""
    while True:
        if not select.select([descriptor], [], [], max(0.0, end - time.monotonic()))[0]:
            raise TimeoutError
        piece = os.read(descriptor, MAX_LINE)
        if not piece:
            break
        rest += piece
        *whole, rest = rest.split(b"\n")
        for line in whole:
            yield line + b"\n"
        if len(rest) > MAX_LINE:
            yield rest
            rest = b""
        if time.monotonic() > end:
            raise TimeoutError
    if rest:
        yield rest


def _end(process):
    """Kills a command and what it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(_GRACE_SECONDS)
    except (OSError, subprocess.TimeoutExpired):  # it has ended, or is another user's
        pass
