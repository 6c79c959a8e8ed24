# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which ranks of an engine stored a prompt.  LMCache's lines do not name their rank, a coordinator's directory does.

With MLA all ranks hold the same KV, and one may store it for all: then there is nothing to tell apart.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..stack import mp
from .case import Case
from .side import Side


@dataclass(frozen=True)
class Ranks:
    """Of ``size`` ranks, how many did it (``busy``), and which did not, where that is known."""

    size: int
    busy: int
    idle: tuple[int, ...] = ()

    @property
    def is_partial(self) -> bool:
        """Some did, and some did not."""
        return 0 < self.busy < self.size

    def __str__(self) -> str:
        named = f": none of rank {', '.join(map(str, self.idle))}" if self.idle else ""
        return f"{self.busy} of {self.size} ranks{named}"


def count(side: Side) -> int:
    """Ranks of an engine that each have KV of their own; 1 where that is not known."""
    return 1 if side.meta("use_mla") else side.ranks or 1


def stored(case: Case, trial: dict) -> Ranks | None:
    """Which of the holder's ranks stored a seed; None where nobody tells or it has one rank alone."""
    size = count(case.holder)
    if size == 1:
        return None
    if case.architecture == "mp":
        return _by_directory(case, trial, size) or _by_counter(case, trial, size)
    return _by_lines(case.holder, case.ids(trial.get("seed")), size)


def _by_directory(case: Case, trial: dict, size: int) -> Ranks | None:
    """By a coordinator whose directory has all chunks of one rank at least: a part may be on its way there."""
    directory = trial.get("directory") or {}
    of_rank = (directory.get("ranks") or {}).get(case.holder.instance_id or "") or {}
    if len(of_rank) != size or not directory.get("chunks") or max(of_rank.values()) < directory["chunks"]:
        return None
    idle = tuple(sorted(int(rank) for rank, chunks in of_rank.items() if not chunks))
    return Ranks(size, size - len(idle), idle)


def _by_counter(case: Case, trial: dict, size: int) -> Ranks | None:
    """By the chunks that the holder's server wrote while it served the seed alone."""
    window, chunk = (trial.get("window") or {}).get("holder_server") or {}, case.holder.count("chunk_size")
    prompt = (trial.get("seed") or {}).get("prompt_tokens")
    if not chunk or not prompt or window.get(mp.LOOKUPS) != 1 or prompt < chunk:
        return None
    busy, rest = divmod(int(window.get(mp.WRITTEN) or 0), prompt // chunk)
    return Ranks(size, busy) if not rest and busy <= size else None


def _by_lines(holder: Side, ids: tuple[str, ...], size: int) -> Ranks | None:
    """By the lines of one request: every rank writes one, or several where it stores in steps."""
    lines = holder.events_of(ids, "stored")
    if not lines or not holder.log_readable or holder.log.get("truncated") is not False:
        return None
    return Ranks(size, min(size, len(lines)))
