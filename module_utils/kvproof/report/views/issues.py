# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The findings of a run one by one, as code quality and SARIF list them: each of a pair and host once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from ...judge.verdict import PASS
from .. import document
from ..parts import DECISIVE, Finding, Pair, Place, Verdict

BESIDE = "summary.md"  # what there is where not even the plan was made: the summary beside these files


@dataclass(frozen=True)
class Issue:
    """A finding of a pair.  What several places of one host showed of it stands in ``observed`` together."""

    pair: Pair
    finding: Finding
    observed: str
    accepted: str | None  # why it fails no run although it decided the verdict
    place: Place

    @property
    def decides(self) -> bool:
        return self.finding["role"] in DECISIVE

    @property
    def fingerprint(self) -> str:
        """The same in every run for this finding of this host in this pair."""
        return fingerprint(*_names(self.pair), self.finding["slug"], self.finding["host"])

    @property
    def text(self) -> str:
        """In one sentence: where, what, and why it is wrong."""
        finding = self.finding
        return (
            f"{finding['title']} ({finding['host']}, pair {document.pair_name(self.pair)} of {self.pair['cluster']}): "
            f"expected {finding['expected']}, observed {self.observed}"
        )


@dataclass(frozen=True)
class Unproven:
    """What keeps a run from being a pass and is no finding: ``kind`` is a name for it as a slug is."""

    kind: str
    text: str
    place: Place
    names: tuple[str, ...] = ()  # cluster, holder and receiver, where it belongs to a pair

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.kind, *(self.names or (self.text,)))


def issues(doc: Verdict) -> Iterator[Issue]:
    for pair in document.all_pairs(doc):
        seen: dict[tuple[str, str], list[Finding]] = {}
        for finding in pair["findings"]:
            seen.setdefault((finding["slug"], finding["host"]), []).append(finding)
        for (_slug, host), same in seen.items():
            observed = "; ".join(dict.fromkeys(finding["observed"] for finding in same))
            yield Issue(pair, same[0], observed, _accepted(doc, pair, same[0]), _place(doc, host))


def _accepted(doc: Verdict, pair: Pair, finding: Finding) -> str | None:
    if finding["role"] not in DECISIVE:
        return None
    if finding["waived"]:
        return finding["waived"]
    return None if document.pair_fails(pair, doc["inconclusive"]) else "kv_reuse_inconclusive: warn"


def unproven(doc: Verdict) -> Iterator[Unproven]:
    if doc["status"] != "complete":
        yield Unproven("run-incomplete", "The run has not ended, so nothing is proven", _place(doc, ""))
    for text in doc["problems"]:
        yield Unproven("run-problem", text, _place(doc, ""))
    for cluster in doc["clusters"]:
        for pair in cluster["pairs"]:
            if pair["verdict"] != PASS and not document.decisive(pair):
                text = document.headline(pair)
                yield Unproven("proof-incomplete", text, _place(doc, pair["receiver"]), _names(pair))
        for missing in cluster["not_judged"]:
            text = f"{missing['cluster']}: {document.pair_name(missing)} was not judged: {missing['reason']}"
            names = (missing["cluster"], missing["holder"], missing["receiver"])
            yield Unproven("not-judged", text, _place(doc, missing["receiver"]), names)


def fingerprint(*names: str) -> str:
    return hashlib.sha256("\0".join(names).encode()).hexdigest()


def _names(pair: Pair) -> tuple[str, str, str]:
    return pair["cluster"], pair["holder"], pair["receiver"]


def _place(doc: Verdict, host: str) -> Place:
    """Where the project names a host; the run's summary where it does not."""
    places = doc.get("places")
    if places is None:
        return {"path": BESIDE, "line": 1}
    return places["hosts"].get(host) or {"path": places["otherwise"], "line": 1}
