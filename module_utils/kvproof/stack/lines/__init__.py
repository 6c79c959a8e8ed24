# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Log lines of LMCache's in-process P2P: text in, events out.  The only place that knows their wording.

Source of the wordings: the logger calls of lmcache 0.5.6 (v1/cache_engine.py, v1/manager.py, v1/config*.py,
v1/token_database.py, v1/storage_backend/*.py, v1/cache_controller/worker.py, v1/lookup_client/*.py,
integration/vllm/*.py), recordings of a real cluster, and the older forms noted at each pattern.
The kinds and their fields are listed in docs/evidence.md.  Standard library only, Python 3.8 and later.
"""

from __future__ import annotations

import ast
import json
import re
from collections import namedtuple

from .. import allowlist

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

Pattern = namedtuple("Pattern", "kind needle regex")
_INTEGERS = frozenset(
    [
        "total",
        "computed",
        "hit",
        "need",
        "tokens",
        "required",
        "length",
        "seconds",
        "chunks",
        "n",
        "worker",
    ]
)


_FLOATS = frozenset(["cost_ms", "gb_s"])


def _pattern(kind, needle, regex):
    return Pattern(kind, needle, re.compile(regex, re.DOTALL))


_ID = r"(?P<id>[^\s,\]]+)"
_COST = r"(?:.*? cost (?P<cost_ms>\d+(?:\.\d+)?) ms, throughput: (?P<gb_s>\d+(?:\.\d+)?) GB/s)?"
#: Lines that LMCache's own logger writes; the first that fits wins.
_LMCACHE = [
    # 0.5.6; before 0.4.1 without the "Inference Engine" part
    _pattern(
        "below_min_retrieve",
        "but need to load:",
        r"Reqid: " + _ID + r", Total tokens (?P<total>\d+)(?:, Inference Engine computed tokens: "
        r"(?P<computed>\d+))?, LMCache hit tokens: (?P<hit>\d+), but need to load: (?P<need>-?\d+)",
    ),
    _pattern(
        "looked_up",
        "LMCache hit tokens:",
        r"Reqid: " + _ID + r", Total tokens (?P<total>\d+)(?:, Inference Engine computed tokens: "
        r"(?P<computed>\d+))?, LMCache hit tokens: (?P<hit>\d+), need to load: (?P<need>-?\d+)",
    ),
    # up to 0.3.15 without req_id
    _pattern(
        "stored",
        "Stored ",
        r"^(?:\[req_id=" + _ID + r"\] )?Stored (?P<tokens>\d+) out of total (?P<total>\d+) tokens" + _COST,
    ),
    # 0.5.6; layer-wise and 0.3.5: "Retrieved a out of b out of total c"
    _pattern(
        "retrieved",
        "Retrieved ",
        r"^(?:\[req_id=" + _ID + r"\] )?Retrieved (?P<tokens>\d+) out of (?:total )?(?P<required>\d+)"
        r"(?: required tokens \(from| out of total) (?P<total>\d+)" + _COST,
    ),
    _pattern(
        "responded",
        "Responding to scheduler for lookup id",
        r"lookup id " + _ID + r" with retrieved length (?P<length>\d+)",
    ),
    _pattern("peer_asked", "Received P2P batched lookup and get msg", r"lookup_id: " + _ID),
    _pattern(
        "peer_error", "P2P error for lookup_id", r"lookup_id " + _ID + r", error code: (?:P2PErrorCode\.)?(?P<code>\w+)"
    ),
    _pattern(
        "peer_get_failed", "Error during P2P batched lookup and get operation", r"lookup_id " + _ID + r": (?P<text>.*)"
    ),
    _pattern("peer_get_failed", "Error during P2P get operation", r"lookup_id " + _ID + r": (?P<text>.*)"),
    _pattern("peer_socket_error", "ZMQ error occurred for lookup_id", r"lookup_id " + _ID + r"\. Error: (?P<text>.*)"),
    _pattern("retry_exhausted", "Max retry count reached", r"lookup_id " + _ID),
    _pattern("ensure_peer_failed", "Failed to ensure peer connection", r"lookup_id " + _ID + r": (?P<text>.*)"),
    _pattern("handler_crashed", "Peer request handler crashed", r"crashed: (?P<text>.*)"),
    _pattern("receiver_unknown", "does not exist in transfer channel", r"(?P<text>Receiver .*)"),
    _pattern(
        "lookup_timed_out",
        "is still waiting for async lookup",
        r"Request " + _ID + r" is still waiting for async lookup after (?P<seconds>\d+) second",
    ),
    _pattern(
        "layout",
        "Got layout info from controller:",
        r"\('(?P<instance>[^']*)', '(?P<location>[^']*)', (?P<chunks>\d+), '(?P<peer>[^']*)'\)",
    ),
    _pattern("controller_lookup_failed", "Controller returned error for batched P2P lookup", r"lookup: (?P<text>.*)"),
    _pattern(
        "peer_connected",
        "Established connection to peer_init_url",
        r"peer_init_url:? ?(?P<init>[^\s,]+?)[,.]? .*?peer_lookup_url:? ?(?P<lookup>\S+)",
    ),
    _pattern("transfer_finished", "P2P transfer finished for request", r"request (?P<n>\d+)"),
    _pattern("unhealthy", "LMCache is unhealthy, skipping", r"skipping (?P<operation>\S+)"),
    _pattern("lookup_server_error", "Error processing request from scheduler", r"scheduler: ?(?P<text>.*)"),
    _pattern("memory_pressure", "ocal cpu memory", r"(?P<text>.*ocal cpu memory (?:is )?under pressure.*)"),
    _pattern("none_hash", "NONE_HASH=", r"NONE_HASH=(?P<value>-?\w+)"),
    _pattern("hash_algorithm", "Using hash algorithm:", r"algorithm: (?P<name>\S+)"),
    _pattern("config", "Creating LMCacheEngine with config:", r"config: (?P<values>.*)"),
    _pattern("config", "LMCache Configuration:", r"Configuration: (?P<values>.*)"),
    _pattern("config_file", "Loading LMCache config file", r"config file:? (?P<path>.*)"),
    _pattern("config_key_unknown", "Unknown configuration key:", r"key: (?P<key>\S+)"),
    _pattern("backend_created", "reated backend:", r"backend: (?P<name>[^\s(]+)"),
    _pattern("registering", "Registering lmcache instance-worker:", r"\('(?P<instance>[^']*)', (?P<worker>\d+)\)"),
    _pattern("register_failed", "Failed to register with controller", r"controller:? ?(?P<text>.*)"),
    _pattern("controller_timed_out", "imeout occurred, recreating socket", r"(?P<text>.*)"),
    _pattern("worker_failed", "Instance ", r"^Instance (?P<instance>.+), worker (?P<worker>\d+) error: (?P<text>.*)"),
    _pattern("init_failed", "marked as init failed", r"init failed:? ?(?P<text>.*)"),
    _pattern("degraded", "Failed during post_init", r"post_init: ?(?P<text>.*)"),
    _pattern("degraded", "Failed to initialize LMCacheManager components", r"components: ?(?P<text>.*)"),
    _pattern("degraded", "operate in degraded mode", r"(?P<text>.*)"),
    _pattern(
        "initialized",
        "LMCache initialized for role",
        r"role (?:KVConnectorRole\.)?(?P<role>\w+)(?: with version (?P<lmcache>[^\s,]+), vllm version "
        r"(?P<vllm>[^\s,]+))?(?:, lmcache cache_engine metadata: (?P<meta>.*))?",
    ),
    _pattern("p2p_listening", "Starting P2P backend batched get handler", r"handler at (?P<address>\S+)"),
]
#: Lines that come from Python, vLLM or NIXL: tracebacks, mostly, and so often several times over.
_OTHERS = [
    _pattern("engine_started", "non-default args: ", r"non-default args: "),
    _pattern("pd_p2p_conflict", "PD only supports enable_p2p=False", r"(?P<text>PD only supports enable_p2p=False)"),
    _pattern(
        "config_refused", "when enable_controller=True", r"(?P<text>\w+ is required .*when enable_controller=True)"
    ),
    _pattern("config_refused", "AssertionError", r"(?:^|\s)(?P<text>AssertionError)$"),
    _pattern("unsupported_channel", "Unsupported channel type", r"(?P<text>Unsupported channel type.*)"),
    _pattern("bind_failed", "Cannot assign requested address", r"(?P<text>Cannot assign requested address.*)"),
    _pattern("bind_failed", "Address already in use", r"(?P<text>Address already in use.*)"),
    _pattern("bind_failed", "address already in use", r"(?P<text>address already in use.*)"),
    _pattern(
        "agent_mismatch", "Remote NIXL agent engine ID mismatch", r"(?P<text>Remote NIXL agent engine ID mismatch.*)"
    ),
]

#: Kinds that tell how the engine came up; they stand at the head of a log, whoever asks.
STARTUP = frozenset(
    [
        "engine_started",
        "none_hash",
        "hash_algorithm",
        "config",
        "config_file",
        "config_key_unknown",
        "backend_created",
        "registering",
        "register_failed",
        "worker_failed",
        "degraded",
        "init_failed",
        "bind_failed",
        "unsupported_channel",
        "pd_p2p_conflict",
        "config_refused",
        "handler_crashed",
        "initialized",
        "p2p_listening",
    ]
)

#: Start-up kinds that a failing engine says ten times a second; once is enough.
REPEATED = frozenset(["handler_crashed", "p2p_listening"])

#: A line without any of these is no event and need not be decoded.
ANCHORS = tuple(dict.fromkeys([b"LMCache", *(pattern.needle.encode() for pattern in _OTHERS)]))
#: A line without any of these is no start-up event.
STARTUP_ANCHORS = tuple(
    dict.fromkeys(pattern.needle.encode() for pattern in _LMCACHE + _OTHERS if pattern.kind in STARTUP)
)
#: Where an engine's start is seen in a log, for a search backwards.
START_ANCHORS = (b"non-default args: ", b"Creating LMCacheEngine with config:")


def clean(raw):
    """One raw line (bytes) as text: decoded, colours and the line end removed.

    Lines of a container runtime's JSON file (`{"log": "...", "stream": ...}`) are unwrapped.
    """
    text = raw.decode("utf-8", "replace").rstrip("\r\n")
    if text.startswith('{"log":'):
        try:
            text = str(json.loads(text)["log"]).rstrip("\r\n")
        except (ValueError, KeyError, TypeError):
            pass
    return _ANSI.sub("", text)


def same_request(sent, logged):
    """Whether `logged`, an id from the log, is the request that was sent (or answered) as `sent`.

    vLLM puts `cmpl-` or `chatcmpl-` in front where it is not there, and appends the prompt's index and,
    in newer versions, eight hexadecimal digits: `R` becomes `cmpl-R-0-1a2b3c4d`.
    """
    return re.match(r"(?:[a-z]+-)?" + re.escape(sent) + r"(?:-\d+)?(?:-[0-9a-f]{8})?$", logged) is not None


class Scanner:
    """Turns lines, fed in order, into events.

    `levels` counts LMCache's lines by level.  A traceback that follows an event is read on for its last
    line, which becomes the event's `text`.  What a traceback repeats is reported once per engine start.
    Where only some events are wanted, `anchors` are what their lines contain: the others' cost little.
    """

    def __init__(self, anchors=ANCHORS):
        self._anchors = anchors
        self._anchor = re.compile(b"|".join(map(re.escape, anchors)))
        self.levels = {"INFO": 0, "WARNING": 0, "ERROR": 0}
        self._seen = set()
        self._open = None  # the event whose traceback is being read
        self._follow = 0

    def feed(self, raw, offset):
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
        event = _match(_LMCACHE, message, at, offset) or _match(_OTHERS, message, at, offset)
        if event is None:
            return None
        if level in ("WARNING", "ERROR"):
            event["line"] = allowlist.redact_line(text)
        if event.get("text", "").startswith("Traceback"):
            self._open, self._follow = event, _CONTINUATION_LINES
        return event

    def passes_over(self, block):
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
        event = _match(_OTHERS, text, None, offset)
        if event is None:
            return None
        if event["kind"] == "engine_started":
            self._seen.clear()
            return event
        key = (event["kind"], event.get("text"))
        if key in self._seen:
            return None
        self._seen.add(key)
        event["line"] = allowlist.redact_line(text)
        return event

    def _continue(self, text):
        self._follow -= 1
        if self._follow <= 0 or _VLLM_HEAD.match(text) or text.startswith(". System will"):
            self._open = None
            return
        text = _CHILD.sub("", text)
        if _CAUSE.match(text):
            self._open["text"] = allowlist.redact_line(text)


def _without_origin(message):
    """A message without the place in the code at its end."""
    at = message.rfind("(")
    return message[:at].rstrip() if at >= 0 and _ORIGIN.match(message, at) else message


def headless(text, offset):
    """The event in a line (text) whose head was cut off, as in a line pasted without its time stamp; or None."""
    event = _match(_LMCACHE, text, None, offset)
    if event is not None:
        event["line"] = allowlist.redact_line(text)
    return event


def _match(patterns, message, at, offset):
    for kind, needle, regex in patterns:
        if needle not in message:
            continue
        found = regex.search(message)
        if found is None:
            continue
        event = {"kind": kind, "at": at, "offset": offset}
        event.update((name, _value(kind, name, value)) for name, value in found.groupdict().items())
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
        return int(value)
    if name in _FLOATS:
        return float(value)
    return allowlist.redact_line(value.strip())


_LITERAL = r"('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\[[^\[\]]*\]|\([^()]*\)|[^,})]+)"


def config_values(text):
    """The configuration LMCache prints at start, a dict's or a dataclass' repr, reduced to listed keys."""
    try:
        found = ast.literal_eval(re.sub(r": inf\b", ": None", text.strip()))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        found = _fields(text, allowlist.LMCACHE_KEYS)
    return allowlist.lmcache_config(found)


def _meta(text):
    return allowlist.lmcache_meta(_fields(text, allowlist.META_KEYS))


def _fields(text, names):
    """`'key': value` or `key=value` pairs of a repr that Python itself cannot read back."""
    found = {}
    for match in re.finditer(r"(?:'(\w+)': |\b(\w+)=)" + _LITERAL, text):
        key = match.group(1) or match.group(2)
        if key in names and key not in found:
            try:
                found[key] = ast.literal_eval(match.group(3).strip())
            except (ValueError, SyntaxError):
                found[key] = match.group(3).strip()
    return found
