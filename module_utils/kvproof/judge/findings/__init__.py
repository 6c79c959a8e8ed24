# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be wrong, one file each.  ``all_findings()`` reads them; a new one needs no registration.

A finding file says first what the finding means, ``FINDING = Finding(slug=…, …)``, and then how it is seen:
``look(case, attempts)`` yields Sightings in the evidence of a run, ``pasted(material)`` yields Signs in what a user
pastes.  Either may be missing: some causes only a run shows, some only a text.  Both only read.  Whether a sighting is
the cause of a failure, a warning or a note is decided by verdict.py from the finding's kind and from what the trials
did; what pasted signs allow to conclude is decided by diagnose.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import ModuleType

from ..attempt import Attempt
from ..case import Case
from ..pasted import ALONE, HINT, Material, Sign

MISSES = frozenset({"missed", "timed-out", "slow", "load-failed"})
# How sure a sighting of a cause is.  CERTAIN: it is so.  LIKELY: it may not be what is in force, so it explains
# a plain miss, but not a time-out, which LMCache as shipped has on healthy clusters.  HINT: it explains nothing.
CERTAIN, LIKELY = "certain", "likely"
CHECK_FAILED = "check-failed"  # looked at last: it tells of the others
LOST_LATE = frozenset({"timed-out", "slow"})


@dataclass(frozen=True)
class Sighting:
    """One place where a finding was seen.  ``host`` is the inventory name it is about."""

    host: str
    expected: str
    observed: str
    reason: str
    remedy: str | None = None  # where the finding's own needs the particulars
    strength: str = CERTAIN

    def explained(self, explains: frozenset) -> frozenset:
        """The outcomes that this sighting explains, of those that its finding can."""
        return {CERTAIN: explains, LIKELY: explains - LOST_LATE, HINT: frozenset()}[self.strength]


#: What a finding's look yields.
Sightings = Iterable[Sighting]


def strength(*settings) -> str:
    """How sure a conclusion from these settings is."""
    return CERTAIN if all(s.certain for s in settings) else LIKELY


@dataclass(frozen=True)
class Finding:
    """A fault or circumstance that kvproof can name.

    kind: "cause" explains why an outcome is absent (a warning when reuse was proven all the same);
          "failure" is a failure by itself; "validity" keeps the experiment from proving anything;
          "note" is for the reader, and tells what could not be seen.
    explains: trial outcomes (attempt.py) that this cause leads to.
    of_requests: seen in single requests, so one that was reused does not refute it for the others.
    voids: a validity that makes the misses of the experiment say nothing either.
    covers: slugs that follow from this one, and are not shown beside it as causes of their own.
    architectures: where it can happen, empty for everywhere.
    rank: order among findings of one link, lower first: the more specific the evidence, the lower.

    Of what pasted text can show:
    cause_class: a key of diagnose.classes.CLASSES.
    cannot: what pasted text leaves open.
    compares: look may also be asked of two nodes' pasted settings; KEYS, FORMAT or P2P (pasted.py) says when.

    The witnesses, the file's functions of these names; pasted may also be a Line.
    """

    slug: str
    link: int
    kind: str
    title: str
    meaning: str
    evidence: str
    remedy: str
    source: str
    explains: frozenset = MISSES
    of_requests: bool = False
    voids: bool = False
    covers: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    rank: int = 50
    cause_class: str | None = None
    cannot: str = ALONE
    compares: str | None = None
    look: Callable[[Case, list[Attempt]], Sightings] | None = None
    pasted: Callable[[Material], Iterable[Sign]] | None = None


@cache
def all_findings() -> tuple[Finding, ...]:
    """Every finding with its file's witnesses, ordered by link, rank and slug."""
    names = sorted(p.stem for p in Path(__file__).parent.glob("*.py") if not p.stem.startswith("_"))
    findings = [_read(importlib.import_module(f".{name}", __package__)) for name in names]
    return tuple(sorted(findings, key=lambda f: (f.link, f.rank, f.slug)))


def _read(module: ModuleType) -> Finding:
    return replace(module.FINDING, **{name: vars(module)[name] for name in ("look", "pasted") if name in vars(module)})
