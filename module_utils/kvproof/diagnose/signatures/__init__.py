# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What pasted material can show, one file each.  ``all_signatures()`` reads them; a new one needs no registration.

A file defines ``SIGNATURE = Signature(slug=…, …)``.  Most need only a ``pattern``; where settings have to be put
together a ``look(material)`` yields Signs.  A signature says what is true of the software, whoever pasted it.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..read import Material, quoted

# How much a sign says.  PROOF: it is so, whatever else is wrong.  SETTING: what is set cannot work, so it is the cause
# of a miss, but maybe not of the trouble that was pasted.  HINT: one explanation among others.
PROOF, SETTING, HINT = "proof", "setting", "hint"


@dataclass(frozen=True)
class Sign:
    """One place where a signature was seen: the role of the node, and the words that show it."""

    role: str
    observed: str
    strength: str = PROOF


@dataclass(frozen=True)
class Signature:
    """A cause, or a hint at one, that pasted material can show.

    cause_class: a key of classes.CLASSES.  pattern: a regular expression on single lines; not_with: one that must be
    nowhere in the material.  strength: that of the signs of a pattern.
    """

    slug: str
    cause_class: str
    title: str
    proves: str
    cannot: str
    remedy: str
    source: str
    pattern: str | None = None
    not_with: str | None = None
    strength: str = PROOF
    look: Callable[[Material], Iterable[Sign]] | None = None

    def signs(self, material: Material) -> list[Sign]:
        return list(self.look(material) if self.look else self._of_pattern(material))

    def _of_pattern(self, material: Material) -> Iterator[Sign]:
        if not (self.not_with and re.search(self.not_with, material.text)):
            for role, line in matching(material, self.pattern or ""):
                yield Sign(role, line, self.strength)


def matching(material: Material, pattern: str) -> Iterator[tuple[str, str]]:
    """(role, first line that fits) of every node whose lines fit a pattern."""
    wanted = re.compile(pattern)
    for told in material.told:
        line = next((line for line in told.lines if wanted.search(line)), None)
        if line is not None:
            yield told.role, quoted(line)


@cache
def all_signatures() -> tuple[Signature, ...]:
    """Every signature, by name."""
    names = sorted(p.stem for p in Path(__file__).parent.glob("*.py") if not p.stem.startswith("_"))
    return tuple(importlib.import_module(f".{name}", __package__).SIGNATURE for name in names)
