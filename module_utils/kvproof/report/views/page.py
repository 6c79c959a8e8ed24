# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""index.html: what broke, where, why and what to do, then every pair.  One file that asks for nothing from elsewhere.

Its script only filters, copies and opens; all is readable without.  The page allows no other script or style than its
own, by their hashes, so that text from an engine would stay inert even where it was not escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING

from ...judge.findings import all_findings
from ...judge.link import NAMES
from ...judge.verdict import FAIL, INCONCLUSIVE, PASS
from ...plan.pair import SkippedPair, key_of
from .. import document
from ..language import say, told
from ..parts import Cluster, Pair, Verdict
from ..translated import translated
from . import changes, drawings, remarks
from .pages import TEMPLATES, environment

if TYPE_CHECKING:
    from markupsafe import Markup

DRAWN = 600  # pairs shown with their chain; of more, those that pass take a line each
PICTURED = 250  # pairs with pictures; of more, so many that do not pass, and the others have figures and what differs
NAMED = 200  # pairs that were not tested are named up to here
SIGNS = {PASS: "✓", FAIL: "✗", INCONCLUSIVE: "?", None: "…"}


def render(doc: Verdict) -> str:
    doc = translated(doc)
    clusters = sorted(doc["clusters"], key=_trouble)
    pairs = sorted(document.all_pairs(doc), key=_trouble_of_pair)
    groups = document.groups(doc)
    decisive = [group for group in groups if group.kind == "decisive"]
    return (
        environment(autoescape=True)
        .get_template("index.html.j2")
        .render(
            doc=doc,
            clusters=clusters,
            pairs=pairs,
            number=drawings.numbers(pairs),
            groups=groups,
            first=next((group for group in decisive if not group.entry["waived"]), None),
            slugs=sorted({group.entry["slug"] for group in decisive}),
            architectures=_architectures_of(pairs),
            architectures_of=_architectures_of,
            about={finding.slug: finding for finding in all_findings()} if groups else {},
            counts=_counts(doc),
            sentence=_sentence(doc),
            untested=_untested(doc),
            remarks=remarks.lines(doc, skipped=False),
            since=changes.sentence(doc),
            changed=changes.told(doc, changes.ON_PAGE),
            pasts=changes.pasts(doc),
            draw=drawings,
            key_of=key_of,
            worst_pair=_worst_pair,
            counted=document.counts_line,
            slugs_of=_slugs_of,
            DRAWN=DRAWN,
            PICTURED=PICTURED,
            NAMED=NAMED,
            SIGNS=SIGNS,
            LINKS=[told(name) for name, _about in NAMES.values()],
            style=_own("index.css"),
            script=_own("index.js"),
        )
    )


@cache
def _own(name: str) -> tuple[Markup, str]:
    """A file of the page's own, and the hash by which the page allows it."""
    from markupsafe import Markup  # as jinja2

    text = (TEMPLATES / name).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Markup(text), f"'sha256-{digest}'"


def _trouble(cluster: Cluster) -> tuple[object, ...]:
    """Worst first, then as a person would order names."""
    return document.ORDER.index(cluster["verdict"]), document.natural(cluster["name"])


def _trouble_of_pair(pair: Pair) -> tuple[object, ...]:
    names = (document.natural(pair[key]) for key in ("cluster", "holder", "receiver"))
    return document.ORDER.index(pair["verdict"]), pair["waived"], *names


def _worst_pair(cluster: Cluster) -> Pair | None:
    """The pair that the cluster has its verdict from."""
    bad = [pair for pair in cluster["pairs"] if pair["verdict"] == cluster["verdict"] != PASS and not pair["waived"]]
    return min(bad, key=_trouble_of_pair, default=None)


def _slugs_of(pairs: list[Pair]) -> str:
    return " ".join(dict.fromkeys(entry["slug"] for pair in pairs for entry in document.decisive(pair)))


def _architectures_of(pairs: list[Pair]) -> list[str]:
    return sorted({pair["architecture"] for pair in pairs if "architecture" in pair})


def _counts(doc: Verdict) -> list[tuple[str, int, str]]:
    """(what, how many, class) of pairs."""
    counted = Counter[str]()
    for cluster in doc["clusters"]:
        counted.update({str(word): count for word, count in cluster["counts"].items()})
    words = (
        ("pass", say("passed")),
        ("fail", say("failed")),
        ("inconclusive", say("inconclusive")),
        ("waived", say("waived")),
    )
    found = [(label, counted[word], word) for word, label in words if counted[word]]
    found += [(say("not judged"), counted["not judged"], "inconclusive")] if counted["not judged"] else []
    return found + ([(say("not asked for"), len(doc["not_probed"]), "none")] if doc["not_probed"] else [])


def _sentence(doc: Verdict) -> str:
    """The verdict in one sentence."""
    pairs = document.all_pairs(doc)
    total = len(pairs) + sum(len(cluster["not_judged"]) for cluster in doc["clusters"])
    if doc["status"] != "complete":
        return say("The run has not ended, so nothing is proven.")
    if not total:
        return say("No pair was judged, so nothing is proven.")
    if doc["verdict"] == PASS:
        passed = sum(pair["verdict"] == PASS for pair in pairs)
        if passed < total:
            return say(
                "KV cache is reused in {passed} of 1 pair; what was found in the others is waived."
                if total == 1
                else "KV cache is reused in {passed} of {total} pairs; what was found in the others is waived.",
                passed=passed,
                total=total,
            )
        return say(
            "KV cache is reused in the pair that this run judged."
            if total == 1
            else "KV cache is reused in all {total} pairs that this run judged.",
            total=total,
        )
    bad = [cluster for cluster in sorted(doc["clusters"], key=_trouble) if cluster["verdict"] == doc["verdict"]]
    if not bad:
        return say("Nothing is proven, for the reasons below.")
    failed = doc["verdict"] == FAIL
    if len(bad) > 1:
        return say(
            "{count} of {total} clusters fail: {names}."
            if failed
            else "{count} of {total} clusters are inconclusive: {names}.",
            count=len(bad),
            total=len(doc["clusters"]),
            names=document.several([cluster["name"] for cluster in bad], 3),
        )
    worst = _worst_pair(bad[0])
    if failed and worst and worst["first_broken"]:
        return say(
            "Cluster {cluster} fails: the chain broke at link {link} ({name}).",
            cluster=bad[0]["name"],
            **worst["first_broken"],
        )
    return say(
        "Cluster {name} fails, so nothing is proven there."
        if failed
        else "Cluster {name} is inconclusive, so nothing is proven there.",
        name=bad[0]["name"],
    )


def _untested(doc: Verdict) -> list[tuple[str, str, list[SkippedPair]]]:
    """(what became of them, reason, pairs), pairs of one reason together."""
    found: dict[tuple[str, str], list[SkippedPair]] = {}
    lost = [pair for cluster in doc["clusters"] for pair in cluster["not_judged"]]
    for what, pairs in ((say("not judged"), lost), (say("not asked for"), doc["not_probed"])):
        for pair in pairs:
            found.setdefault((what, pair["reason"]), []).append(pair)
    return [(what, reason, pairs) for (what, reason), pairs in found.items()]
