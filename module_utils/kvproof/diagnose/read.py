# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From texts to facts: what each node's material tells, and what all of it tells together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from ..judge.pasted import UNSET, is_given, number, quoted
from ..probe import metrics
from ..stack import flatyaml, lines, settings
from ..stack.lines import pasted
from ..stack.settings import as_bool
from .stated import Stated

ROLES = ("prefill", "decode", "engine", "controller")
MAX_TEXT = 64 << 20
MAX_LINE = 4000  # characters of a line that findings look at; a configuration is read from the whole
_ERROR = re.compile(
    r"\b(?:ERROR|CRITICAL|FATAL)\b|Traceback|\b\w*(?:Error|Exception)\b|\bcrash|\bhangs?\b|Segmentation fault"
    r"|core dumped|\bOOM\b|out of memory|[Tt]imed? ?out|\b[Ff]ail(?:s|ed|ure)\b"
)
_SEVERAL = re.compile(
    r"\b(?:2|two|several|multiple)\s+(?:vllm\s+|lmcache\s+)?(?:engines|instances|nodes|servers|processes)\b|\b\d+P\d+D\b|\bxPyD\b"
    r"|\bP/D\b|\bPD\b.{0,12}disagg|disaggregated",
    re.I,
)


@dataclass(frozen=True)
class Lookup:
    """One line of a lookup: tokens of the prompt, computed by vLLM, found by LMCache, to be loaded."""

    line: str
    hit: int
    total: int | None = None
    computed: int | None = None
    need: int | None = None


class Node:
    """What one node's material tells.  ``file``: its whole LMCache YAML, where one was given."""

    def __init__(self, role: str):
        self.role = role
        self.stated = Stated()
        self.lines: list[str] = []
        self.events: list[dict] = []
        self.first: dict[str, int] = {}  # kind → number of the first line that has its words
        self.lookups: list[Lookup] = []
        self.file: dict | None = None
        self.file_other_keys: list[str] = []
        self.page: dict | None = None
        self.problems: list[str] = []

    def log(self, text: str) -> None:
        """A log, or a text in which anything may stand."""
        scanner, rest, offset = lines.Scanner(), [], 0
        for raw in text.encode("utf-8", "replace").splitlines(keepends=True):
            line = lines.clean(raw)
            event = scanner.feed(raw, offset) or lines.headless(line, offset)
            offset += len(raw)
            line = line[:MAX_LINE]
            for kind in pasted.kinds(line):
                self.first.setdefault(kind, len(self.lines))
            self.lines.append(line)
            if event is not None:
                self.events.append(event)
            if event is None or event["kind"] != "config":
                rest.append(line)
            self._lookup(line)
        self.stated.take("\n".join(rest))

    def config(self, text: str) -> None:
        """An LMCache YAML as a whole: what it does not name has LMCache's default."""
        try:
            loaded = flatyaml.load(text)
        except flatyaml.NotReadable as error:
            self.problems.append(f"the {self.role} node's YAML cannot be read ({error}); only its lines were looked at")
            self.log(text)
            return
        self.file = settings.lmcache_config(loaded)
        self.file_other_keys = settings.other_keys(loaded)

    def metrics(self, text: str) -> None:
        try:
            self.page = metrics.read_page(text.encode())
        except ValueError as error:
            self.problems.append(f"the {self.role} node's metrics: the file {error}")

    def _lookup(self, line: str) -> None:
        match = next(filter(None, (pattern.search(line) for pattern in pasted.LOOKUPS)), None)
        if match:
            numbers = {name: int(value) for name, value in match.groupdict().items() if value is not None}
            self.lookups.append(Lookup(line=quoted(line), **numbers))

    def kinds(self, *kinds: str) -> list[dict]:
        return [event for event in self.events if event["kind"] in kinds]

    @cached_property
    def effective(self) -> dict:
        """The configuration that the engine itself logged when it last started."""
        logged = [event.get("values") for event in self.kinds("config")]
        return (logged and logged[-1]) or {}

    def values(self, key: str) -> list:
        """All values that this node's material gives a setting; only the one in force where the engine logged it."""
        if key in self.effective:
            return [self.effective[key]]
        if self.file is not None and key in self.file:
            return [self.file[key]]
        return self.stated.settings.get(key, [])

    @property
    def whole_configuration(self) -> bool:
        """Whether a key that is nowhere is really not set."""
        return bool(self.effective) or self.file is not None

    @property
    def is_empty(self) -> bool:
        return not (self.lines or self.file is not None or self.page)


class Material:
    """Everything that was given."""

    def __init__(self, nodes: list[Node]):
        self.nodes = [node for node in nodes if not node.is_empty]

    def of(self, role: str) -> Node | None:
        return next((node for node in self.nodes if node.role == role), None)

    def lines(self, *kinds: str) -> Iterator[tuple[str, str]]:
        """(role, line as quoted): the first line of these kinds of every node that has one."""
        for node in self.nodes:
            numbers = [node.first[kind] for kind in kinds if kind in node.first]
            if numbers:
                yield node.role, quoted(node.lines[min(numbers)])

    def values(self, key: str) -> list:
        return _distinct(value for node in self.nodes for value in node.values(key))

    def value(self, key: str):
        """The one value that all of the material gives a setting; None where it gives none, or several."""
        values = self.values(key)
        return values[0] if len(values) == 1 and values[0] != UNSET else None

    def is_on(self, key: str) -> bool:
        """Whether a boolean setting is true wherever it is given, and given somewhere."""
        values = self.values(key)
        return bool(values) and all(value != UNSET and as_bool(value) for value in values)

    def is_off(self, key: str) -> bool:
        """Whether a boolean setting is given, and never as true."""
        values = self.values(key)
        return bool(values) and not any(value != UNSET and as_bool(value) for value in values)

    def env(self, name: str) -> str | None:
        values = _distinct(value for node in self.nodes for value in node.stated.env.get(name, []))
        return values[0] if len(values) == 1 else None

    def option(self, name: str):
        values = _distinct(value for node in self.nodes for value in node.stated.options.get(name, []))
        return values[0] if len(values) == 1 else None

    def degree(self, name: str) -> int | None:
        """A parallel size as a number; None where it is not known, or differs.  ">1" is at least 2."""
        values = _distinct(number(value) for node in self.nodes for value in node.stated.options.get(name, []))
        return values[0] if len(values) == 1 else None

    @cached_property
    def versions(self) -> dict[str, set[tuple[tuple, tuple]]]:
        releases: dict[str, set[tuple[tuple, tuple]]] = {}
        for node in self.nodes:
            for name, versions in node.stated.versions.items():
                releases.setdefault(name, set()).update(versions)
            for event in node.kinds("initialized"):
                for name in ("lmcache", "vllm"):
                    numbers = re.match(r"\d+(?:\.\d+)+", event.get(name) or "")
                    if numbers:
                        release = tuple(int(part) for part in numbers[0].split("."))
                        releases.setdefault(name, set()).add((release, release))
        return releases

    def version_within(self, product: str, least: tuple, below: tuple) -> bool | None:
        """Whether the versions given of a product lie in a range: all, none (False), or not known (None)."""
        releases = self.versions.get(product) or ()
        if releases and all(least <= first and last < below for first, last in releases):
            return True
        return False if releases and all(last < least or below <= first for first, last in releases) else None

    @cached_property
    def text(self) -> str:
        return "\n".join(line for node in self.nodes for line in node.lines)

    @property
    def lookups(self) -> list[Lookup]:
        return [lookup for node in self.nodes for lookup in node.lookups]

    @cached_property
    def misses(self) -> bool:
        """Whether a lookup that found nothing was seen."""
        return any(lookup.hit == 0 for lookup in self.lookups) or any(self.lines("lookup_empty"))

    @cached_property
    def peers_found(self) -> bool:
        """Whether KV was seen to be found at, or asked of, a peer: so both make the same keys."""
        return any(
            event["kind"] == "peer_asked" or (event["kind"] == "layout" and event.get("chunks"))
            for node in self.nodes
            for event in node.events
        )

    @property
    def peers_gave(self) -> bool:
        """Whether KV was loaded besides.  It may have been the node's own."""
        return self.peers_found and any(event.get("tokens") for node in self.nodes for event in node.kinds("retrieved"))

    @cached_property
    def troubles(self) -> list[str]:
        """Lines that tell of trouble of any kind, understood or not, as quoted."""
        return [quoted(line) for node in self.nodes for line in node.lines if _ERROR.search(line)]

    @property
    def is_shared(self) -> bool:
        """Whether KV is meant to be used by another process than the one that made it."""
        given = {node.role for node in self.nodes}
        return (
            {"prefill", "decode"} <= given
            or self.is_on("enable_p2p")
            or self.is_on("enable_pd")
            or is_given(self.values("remote_url"))
            or bool(_SEVERAL.search(self.text))
        )


def _distinct(values) -> list:
    distinct: list = []
    for value in values:
        if not any(value == other and type(value) is type(other) for other in distinct):
            distinct.append(value)
    return distinct
