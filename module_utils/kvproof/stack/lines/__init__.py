# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Log lines of LMCache and of the engine around it: text in, events out.  The only door to their wordings.

Each architecture's wordings are a file here, which lists them and does nothing; what it has none of, it leaves out.
The kinds and their fields are told in docs/evidence.md.
"""

from __future__ import annotations

import ast
import json
import re
from collections import namedtuple
from collections.abc import Iterable

from .. import numbers, redact, settings
from . import inprocess_p2p, lmcache_pd, mp, nixl_pd, vllm

WORDINGS = (vllm, inprocess_p2p, lmcache_pd, mp, nixl_pd)

_CONTINUATION_LINES = 200  # a traceback is followed this far for its last line, the cause

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_HEAD = re.compile(
    r"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3})\] LMCache "
    r"(DEBUG|INFO|WARNING|ERROR|CRITICAL): ?(.*)",
    re.DOTALL,
)
_LEVEL = re.compile(rb",\d{3}\] LMCache (DEBUG|INFO|WARNING|ERROR|CRITICAL):")
_ORIGIN = re.compile(r"\([\w./<>-]+:\d+:[\w.]+\)\s*$")
_CHILD = re.compile(r"^\([^()]*pid=\d+\) ?")
_VLLM_HEAD = re.compile(r"^(?:\([^()]*pid=\d+\) )?(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)[: ]")
_CAUSE = re.compile(r"^[A-Za-z_][\w.]*(?:: .*)?$")


class Pattern(namedtuple("Pattern", "kind needle regex")):
    """One wording of a kind of line: a text that is in each such line, and the regular expression of its fields."""

    __slots__ = ()

    def search(self, text: str) -> re.Match | None:
        """Compiled when it is first needed, and kept by `re`: a node that has few of them need not pay for all."""
        return re.search(self.regex, text) if self.needle in text else None


def _patterns(name):
    return [
        Pattern(kind, needle, "(?s)" + regex)
        for wordings in WORDINGS
        for kind, needle, regex in getattr(wordings, name, ())
    ]


def _union(name):
    return frozenset(value for wordings in WORDINGS for value in getattr(wordings, name, ()))


#: Lines of LMCache's own logger, and those that anything else in its process writes; the first that fits wins.
LMCACHE, OTHERS = _patterns("LMCACHE"), _patterns("OTHERS")
#: Kinds that tell how the engine came up, and those of them that are kept once.
STARTUP, REPEATED = _union("STARTUP"), _union("REPEATED")
_INTEGERS, _FLOATS = _union("INTEGERS"), _union("FLOATS")

#: A line without any of these is no event and need not be decoded.
ANCHORS = tuple(dict.fromkeys([b"LMCache", *(pattern.needle.encode() for pattern in OTHERS)]))
#: A line without any of these is no start-up event.
STARTUP_ANCHORS = tuple(
    dict.fromkeys(pattern.needle.encode() for pattern in LMCACHE + OTHERS if pattern.kind in STARTUP)
)
#: Where an engine's start is seen in a log, for a search backwards.
START_ANCHORS = (b"non-default args: ", b"Creating LMCacheEngine with config:")


def clean(raw: bytes) -> str:
    """One raw line (bytes) as text: decoded, colours and the line end removed.

    Lines of a container runtime's JSON file (`{"log": "...", "stream": ...}`) are unwrapped.
    """
    text = raw.decode("utf-8", "replace").rstrip("\r\n")
    if text.startswith('{"log":'):
        try:
            text = str(json.loads(text)["log"]).rstrip("\r\n")
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
    return _ANSI.sub("", text)


# no expression for each id: compiling one takes longer than all else that is done here
_ID_HEAD = re.compile(r"[a-z]{1,16}-")
_ID_TAIL = re.compile(r"(?:-\d+)?(?:-[0-9a-f]{8})?")


def same_request(sent: str | None, logged: str | None) -> bool:
    """Whether `logged`, an id from the log, is the request that was sent (or answered) as `sent`; either may be None.

    vLLM puts `cmpl-` or `chatcmpl-` in front where it is not there, and appends the prompt's index and, in newer
    versions, eight hexadecimal digits: `R` becomes `cmpl-R-0-1a2b3c4d`.
    """
    if not sent or not logged or sent not in logged:
        return False
    head = _ID_HEAD.match(logged)
    starts = {0, head.end()} if head else {0}
    return any(logged.startswith(sent, at) and _ID_TAIL.fullmatch(logged, at + len(sent)) for at in starts)


class Scanner:
    """Turns lines, fed in order, into events.

    `levels` counts LMCache's lines by level.  A traceback that follows an event is read on for its last
    line, which becomes the event's `text`.  What a traceback repeats is reported once per engine start.
    Where only some events are wanted, `anchors` are what their lines contain: the others' cost little.
    """

    def __init__(self, anchors: Iterable[bytes] = ANCHORS):
        self._anchors = anchors
        self._anchor = re.compile(b"|".join(map(re.escape, anchors)))
        self.levels = {"INFO": 0, "WARNING": 0, "ERROR": 0}
        self._seen: set = set()
        self._open = None  # the event whose traceback is being read
        self._follow = 0

    def feed(self, raw: bytes, offset: int) -> dict | None:
        """The event in one line (bytes), or None.  `offset` is where the line begins, in bytes."""
        if self._open is None and self._anchor.search(raw) is None:
            self._count_all(raw)
            return None
        text = clean(raw)
        head = _HEAD.search(text)
        if head is None:
            return self._foreign(text, offset)
        self._open = None
        at, level, message = head.groups()
        self._count(level)
        message = _without_origin(message)
        event = _match(LMCACHE, message, at, offset) or _match(OTHERS, message, at, offset)
        if event is None:
            return None
        if level in ("WARNING", "ERROR"):
            event["line"] = redact.redact_line(text)
        if event.get("text", "").startswith("Traceback"):
            self._open, self._follow = event, _CONTINUATION_LINES
        return event

    def passes_over(self, block: bytes) -> bool:
        """Whether a block of whole lines has no event for sure, so that it need not be fed."""
        if self._open is not None or any(map(block.__contains__, self._anchors)):
            return False
        self._count_all(block)
        return True

    def _count_all(self, raw):
        for level in _LEVEL.findall(raw):
            self._count(level.decode())

    def _count(self, level):
        level = "ERROR" if level == "CRITICAL" else level
        self.levels[level] = self.levels.get(level, 0) + 1

    def _foreign(self, text, offset):
        if self._open is not None:
            self._continue(text)
        event = _match(OTHERS, text, None, offset)
        if event is None:
            return None
        if event["kind"] == "engine_started":
            self._seen.clear()
            return event
        key = (event["kind"], event.get("text"))
        if key in self._seen:
            return None
        self._seen.add(key)
        event["line"] = redact.redact_line(text)
        return event

    def _continue(self, text):
        self._follow -= 1
        if self._follow <= 0 or _VLLM_HEAD.match(text) or text.startswith(". System will"):
            self._open = None
            return
        text = _CHILD.sub("", text)
        if _CAUSE.match(text):
            self._open["text"] = redact.redact_line(text)


def _without_origin(message):
    """A message without the place in the code at its end."""
    at = message.rfind("(")
    return message[:at].rstrip() if at >= 0 and _ORIGIN.match(message, at) else message


def headless(text: str, offset: int) -> dict | None:
    """The event in a line (text) whose head was cut off, as in a line pasted without its time stamp; or None."""
    event = _match(LMCACHE, text, None, offset)
    if event is not None:
        event["line"] = redact.redact_line(text)
    return event


def _match(patterns, message, at, offset):
    for pattern in patterns:
        match = pattern.search(message)
        if match is not None:
            event = {"kind": pattern.kind, "at": at, "offset": offset}
            event.update((name, _value(pattern.kind, name, value)) for name, value in match.groupdict().items())
            return event
    return None


def _value(kind, name, value):
    if value is None:
        return None
    if kind == "config" and name == "values":
        return config_values(value)
    if kind == "initialized":
        if name == "meta":
            return _meta(value)
        return value.lower() if name == "role" else value
    if name in _INTEGERS:
        return numbers.of_digits(value)
    if name in _FLOATS:
        return float(value[:20])
    return redact.redact_line(value.strip())


#: what ast.literal_eval() raises besides: a dict as the key of another is a TypeError
NOT_A_LITERAL = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)
_LITERAL = r"('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\[[^\[\]]*\]|\([^()]*\)|[^,})]+)"


def config_values(text: str) -> dict:
    """The configuration LMCache prints at start, a dict's or a dataclass' repr, reduced to listed keys."""
    try:
        printed = ast.literal_eval(re.sub(r": inf\b", ": None", text.strip()))
    except NOT_A_LITERAL:
        printed = _fields(text, settings.LMCACHE_KEYS)
    return settings.lmcache_config(printed)


def _meta(text):
    return settings.lmcache_meta(_fields(text, settings.META_KEYS))


def _fields(text, names):
    """`'key': value` or `key=value` pairs of a repr that Python itself cannot read back."""
    fields = {}
    for match in re.finditer(r"(?:'(\w+)': |\b(\w+)=)" + _LITERAL, text):
        key = match.group(1) or match.group(2)
        if key in names and key not in fields:
            try:
                fields[key] = ast.literal_eval(match.group(3).strip())
            except NOT_A_LITERAL:
                fields[key] = match.group(3).strip()
    return fields
