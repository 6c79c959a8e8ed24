# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What kept runs tell of the pairs of a later one.  No I/O, no Ansible: history_files.py reads and writes them.

A run is kept as ``kvproof.history/1``: of each verdict what is compared and drawn, a twentieth of verdict.json.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from statistics import median
from typing import Annotated, Any, Final, Literal, NotRequired, TypedDict

from .. import __version__
from ..evidence.shapes import Errors, Text, Time, shape_of
from ..judge.verdict import PASS
from ..plan.pair import Key, PairNames, key_of
from . import document
from .changes import ORDER, Gist, change, drift, gist_of
from .parts import Changed, History, Kind, Past, Point, Verdict, Word

SCHEMA: Final = "kvproof.history/1"
FAMILY = SCHEMA.rpartition("/")[0]
#: How a kept run begins, whichever kvproof wrote it.
BEGIN = f'{{"schema": "{FAMILY}/'
POINTS = 19  # earlier runs of a pair that are shown beside this one
DRAWN = 250  # pairs whose earlier runs are shown
_NAME = re.compile(r"kv_reuse-(\d{8}T\d{6}Z)-[0-9A-Za-z]{1,32}\.json")


class Row(TypedDict):
    setting: str
    holder: str | None
    receiver: str | None


class KeptPair(PairNames):
    architecture: NotRequired[str]
    verdict: Word
    waived: bool
    headline: str
    ttft_s: dict[Kind, list[float]]
    # Numbers of rows, most of which all pairs have in common: a text, as reading lists of them takes twice as long.
    settings: Annotated[str, Text(pattern=r"^([0-9]{1,6}( [0-9]{1,6})*)?$")]


class Kept(TypedDict):
    schema: Literal["kvproof.history/1"]
    tool: str
    run_id: str | None
    finished_at: Time
    settings: list[Row]
    pairs: list[KeptPair]


def name_of(doc: Verdict) -> str:
    """The name of a kept run, by which runs sort as they ended."""
    return f"kv_reuse-{_stamp(doc)}-{re.sub('[^0-9A-Za-z]', '', doc['run_id'] or '')[:32] or '0'}.json"


def is_name(name: str) -> bool:
    return bool(_NAME.fullmatch(name))


def ended_later(name: str, doc: Verdict) -> bool:
    """Whether a kept run ended after this one, by its name: then one of two clocks is wrong."""
    found = _NAME.fullmatch(name)
    return bool(found and found[1] > _stamp(doc))


def _stamp(doc: Verdict) -> str:
    return datetime.fromisoformat(doc["finished_at"] or doc["started_at"]).astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def is_worth_keeping(doc: Verdict) -> bool:
    """Whether there is anything in a run that a later one can be compared with."""
    return doc["status"] == "complete" and bool(document.all_pairs(doc))


def text_of(doc: Verdict) -> str:
    """The file of a run that has ended."""
    rows: dict[tuple[str, str | None, str | None], int] = {}
    pairs: list[KeptPair] = []
    for pair in document.all_pairs(doc):
        gist = gist_of(pair)
        numbers = [rows.setdefault((name, *both), len(rows)) for name, both in gist["settings"].items()]  # type: ignore[arg-type]
        pairs.append({**gist, "settings": " ".join(map(str, numbers))})  # type: ignore[typeddict-item]
    kept: Kept = {
        "schema": SCHEMA,
        "tool": __version__,
        "run_id": doc["run_id"],
        "finished_at": doc["finished_at"] or doc["started_at"],
        "settings": [{"setting": name, "holder": holder, "receiver": receiver} for name, holder, receiver in rows],
        "pairs": pairs,
    }
    return json.dumps(kept) + "\n"


def read(value: Any) -> tuple[Kept | None, str | None]:
    """A kept run, or in a few words why this is none."""
    schema = value.get("schema") if isinstance(value, dict) else None
    if not isinstance(schema, str) or not schema.startswith(f"{FAMILY}/"):
        return None, "it is no run that kvproof kept"
    if schema != SCHEMA:
        return None, f"it is {schema.encode('unicode_escape').decode():.60}, and this kvproof reads {SCHEMA}"
    errors = Errors(strict=True)
    kept: Kept | None = shape_of(Kept).read(value, None, errors)
    if kept is None or errors:
        return None, f"it is damaged ({next(iter(errors), 'nothing in it')})"
    if any(number >= len(kept["settings"]) for pair in kept["pairs"] for number in _numbers(pair)):
        return None, "it is damaged (a pair has settings that are not there)"
    return kept, None


class Earlier:
    """Kept runs as far as they tell of the pairs that a run was asked for, handed in from the latest on.

    Pairs of other inventories, shards and limits may be in the same runs, and are passed over.
    """

    def __init__(self, doc: Verdict):
        self._now = {key_of(pair): gist_of(pair) for pair in document.all_pairs(doc)}
        missing = [key_of(pair) for cluster in doc["clusters"] for pair in cluster["not_judged"]]
        self._points: dict[Key, list[Point]] = {key: [] for key in dict.fromkeys([*self._now, *missing])}
        self._last: dict[Key, tuple[str, Gist]] = {}

    @property
    def wants_more(self) -> bool:
        return any(len(points) < POINTS for points in self._points.values())

    def add(self, kept: Kept) -> None:
        at = kept["finished_at"]
        for pair in kept["pairs"]:
            key = key_of(pair)
            points = self._points.get(key)
            if points is None or len(points) == POINTS:
                continue
            points.append(_point(at, pair))
            if key not in self._last:
                self._last[key] = at, _gist(pair, kept["settings"])

    def part(self) -> History:
        """The part of the run's document."""
        changes = sorted(filter(None, map(self._changed, self._points)), key=_order)
        ended = sorted((at for at, _kept in self._last.values()), key=datetime.fromisoformat)
        return {
            "first": ended[0] if ended else None,
            "last": ended[-1] if ended else None,
            "changes": changes,
            "pairs": _first_drawn(self._pasts(), changes, self._now.values()),
        }

    def _changed(self, key: Key) -> Changed | None:
        """None where the pair is as before, or no run ever judged it."""
        after, (at, before) = self._now.get(key), self._last.get(key, (None, None))
        if not after and not before:
            return None
        ttft = drift(before, after) if before and after and before["verdict"] == after["verdict"] == PASS else {}
        found = change(before, after)
        if found["what"] == "as before" and not ttft:
            return None
        was, now = (gist["verdict"] if gist else None for gist in (before, after))
        return {**found, "ttft": ttft, "was": was, "now": now, "since": at}

    def _pasts(self) -> list[Past]:
        return [
            {"cluster": key[0], "holder": key[1], "receiver": key[2], "earlier": points[::-1]}
            for key, points in self._points.items()
            if points
        ]


def together(parts: Iterable[tuple[History, set[Key]]]) -> History | None:
    """The part of several runs' document: of each what it says of its pairs that count there."""
    found: list[History] = []
    for part, keys in parts:
        pairs = [past for past in part["pairs"] if key_of(past) in keys]
        found.append({**part, "changes": [c for c in part["changes"] if key_of(c) in keys], "pairs": pairs})
    if not found:
        return None
    first = [at for part in found if (at := part["first"])]
    last = [at for part in found if (at := part["last"])]
    changes = sorted((change for part in found for change in part["changes"]), key=_order)
    return {
        "first": min(first, key=datetime.fromisoformat) if first else None,
        "last": max(last, key=datetime.fromisoformat) if last else None,
        "changes": changes,
        "pairs": _first_drawn([past for part in found for past in part["pairs"]], changes, ()),
    }


def _order(changed: Changed) -> tuple[object, ...]:
    names = (document.natural(name) for name in key_of(changed))
    return ORDER.index(changed["what"]), *names


def _first_drawn(pasts: list[Past], changes: list[Changed], gists: Iterable[Gist]) -> list[Past]:
    """As many pairs as are drawn: those that changed, then those that do not pass, then the others."""
    changed = {key_of(one) for one in changes}
    bad = {key_of(gist) for gist in gists if gist["verdict"] != PASS}
    return sorted(pasts, key=lambda past: (key_of(past) not in changed, key_of(past) not in bad))[:DRAWN]


def _point(at: str, pair: KeptPair) -> Point:
    times = pair["ttft_s"].get("reused") if pair["verdict"] == PASS else None
    return {
        "at": at,
        "verdict": pair["verdict"],
        "waived": pair["waived"],
        "reused_ttft_s": median(times) if times else None,
    }


def _gist(pair: KeptPair, rows: list[Row]) -> Gist:
    mine = (rows[number] for number in _numbers(pair))
    settings = {row["setting"]: [row["holder"], row["receiver"]] for row in mine}
    return {**pair, "settings": settings}  # type: ignore[typeddict-item]


def _numbers(pair: KeptPair) -> Iterable[int]:
    return map(int, pair["settings"].split())
