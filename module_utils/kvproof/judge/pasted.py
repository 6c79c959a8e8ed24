# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a finding can ask of pasted text, and what it answers: Signs.

A witness says what is true of the software, whoever pasted the text; what one thread made of it is no rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..stack.redact import redact_line

# How much a sign says.  PROOF: it is so, whatever else is wrong.  SETTING: what is set cannot work, so it is the cause
# of a miss, but maybe not of the trouble that was pasted.  HINT: one explanation among others.
PROOF, SETTING, HINT = "proof", "setting", "hint"
# What a finding compares that may also be asked, by its look, about two nodes' pasted settings and start-up lines.
# KEYS: what chunk keys are made of, so KV that a node found at the other refutes it.  FORMAT: what may be wrong even
# then.  P2P: settings that are wrong only where P2P is meant; they tell what is set, and prove no miss.
KEYS, FORMAT, P2P = "keys", "format", "p2p"
UNSET = "(not set)"  # the value of what the text says is not set
ALONE = "Whether it is the only cause: no request was sent, so no later link was seen."


@dataclass(frozen=True)
class Sign:
    """One place where pasted text shows a finding: the node's role, and the words that show it."""

    role: str
    observed: str
    strength: str = PROOF
    remedy: str | None = None  # where the finding's own speaks of a run


class Node(Protocol):
    """What one node's material tells."""

    role: str
    lines: list[str]
    events: list[dict]  # of stack.lines, in their order
    lookups: list  # with .total, .computed, .hit, .need (tokens, or None) and .line
    page: dict | None  # of its metrics
    stated: Any  # .settings, .env, .options: name → values as they were stated, in their order

    def values(self, key: str) -> list: ...

    @property
    def whole_configuration(self) -> bool: ...


class Material(Protocol):
    """Everything that was pasted, of all nodes; diagnose.read makes it."""

    nodes: list

    @property
    def text(self) -> str: ...

    @property
    def versions(self) -> dict: ...

    def lines(self, *kinds: str) -> Iterator[tuple[str, str]]:
        """(role, line as a report may show it): the first line of these kinds of every node that has one."""

    def values(self, key: str) -> list: ...

    def value(self, key: str) -> Any: ...

    def is_on(self, key: str) -> bool: ...

    def is_off(self, key: str) -> bool: ...

    def env(self, name: str) -> str | None: ...

    def degree(self, name: str) -> int | None: ...

    def version_within(self, product: str, least: tuple, below: tuple) -> bool | None: ...

    @property
    def lookups(self) -> list: ...

    @property
    def misses(self) -> bool: ...

    @property
    def peers_found(self) -> bool: ...

    @property
    def is_shared(self) -> bool: ...


class Line:
    """The witness of causes that one line shows: its kinds (stack.lines), and those that must stand nowhere."""

    def __init__(self, *kinds: str, strength: str = PROOF, unless: Sequence[str] = ()):
        self._kinds, self._strength, self._unless = kinds, strength, unless

    def __call__(self, material: Material) -> Iterator[Sign]:
        if not any(material.lines(*self._unless)):
            for role, line in material.lines(*self._kinds):
                yield Sign(role, line, self._strength)


def is_given(values: list) -> bool:
    """Whether any of a setting's values sets it."""
    return any(value not in (None, UNSET) for value in values)


def number(value: Any) -> int | None:
    """A whole number, also of a text that begins with one; of ">1" the least that it can be."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        return int(value)
    match = re.match(r"(>?)\s*(\d{1,17})\b", str(value).strip())
    return int(match[2]) + bool(match[1]) if match else None


def quoted(line: str) -> str:
    """A line as a report may show it."""
    return redact_line(line.strip())
