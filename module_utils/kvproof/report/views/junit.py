# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""junit.xml: a suite per cluster and a case per pair, which has its chain as its output.

A pair that fails is one failure; one that is inconclusive is an error of that type, as the exit code has it.  The links
of its chain are no cases: what follows from the broken one would count as more failures, or as skipped.  A case's time
is that of the requests of its trials as far as they were measured, the whole's that of the run.

It has nothing but what Jenkins' schema for JUnit has: its xUnit plugin refuses a file with any other attribute.

The standard library writes it, so that no controller loses the report for want of a package.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from datetime import datetime

from ...judge.verdict import FAIL, PASS
from ...plan.pair import SkippedPair
from .. import document
from ..parts import Cluster, Finding, Link, Pair, Verdict
from .console import MARKS

SUITE = "kv_reuse"


def render(doc: Verdict) -> str:
    root = ET.Element("testsuites", name=SUITE)
    for cluster in doc["clusters"]:
        _cluster(root, doc, cluster)
    _skipped(root, doc, doc["not_probed"])
    _run(root, doc)
    for suite in root:
        _count(suite)
    _total(root, doc)
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _cluster(root: ET.Element, doc: Verdict, cluster: Cluster) -> None:
    suite = _suite(root, f"{SUITE}.{cluster['name']}", doc)
    for pair in cluster["pairs"]:
        _pair(suite, doc, pair)
    for missing in cluster["not_judged"]:
        case = _case(suite, cluster["name"], document.pair_name(missing))
        _outcome(case, "error", "not-judged", missing["reason"])


def _pair(suite: ET.Element, doc: Verdict, pair: Pair) -> None:
    case = _case(suite, pair["cluster"], document.pair_name(pair), _requests_s(pair))
    if pair["verdict"] != PASS:
        _no_pass(case, doc, pair)
    ET.SubElement(case, "system-out").text = "\n".join(_in_a_line(link) for link in pair["links"])


def _no_pass(case: ET.Element, doc: Verdict, pair: Pair) -> None:
    reason = document.where(pair).strip() + (": " if pair.get("first_broken") else "") + document.reason(pair)
    if pair["waived"]:
        reasons = "; ".join(dict.fromkeys(f["waived"] for f in document.decisive(pair) if f["waived"]))
        _outcome(case, "skipped", None, f"{pair['verdict']}, waived ({reasons}): {reason}")
    elif not document.pair_fails(pair, doc["inconclusive"]):
        _outcome(case, "skipped", None, f"{pair['verdict']}, accepted by kv_reuse_inconclusive: {reason}")
    else:
        kind = "failure" if pair["verdict"] == FAIL else "error"
        # GitLab shows the text and leaves out the message where there is one
        _outcome(case, kind, pair["verdict"], reason, "\n\n".join([reason, *map(_in_words, document.decisive(pair))]))


def _requests_s(pair: Pair) -> float:
    """Seconds that the requests of a pair's trials are known to have taken."""
    times = [
        (trial["seed_ttft_s"], trial["visible_s"], trial["reused_ttft_s"], trial["recomputed_ttft_s"])
        for trial in pair["trials"]
    ]
    return sum(seconds for measured in times for seconds in measured if seconds is not None)


def _in_a_line(link: Link) -> str:
    return f"{MARKS[link['state']]} {link['link']:2d} {link['name']}: {link['state']}: {link['text']}"


def _skipped(root: ET.Element, doc: Verdict, pairs: list[SkippedPair]) -> None:
    if not pairs:
        return
    suite = _suite(root, f"{SUITE}.not_probed", doc)
    for pair in pairs:
        _outcome(_case(suite, pair["cluster"], document.pair_name(pair)), "skipped", None, pair["reason"])


def _run(root: ET.Element, doc: Verdict) -> None:
    """What belongs to no pair: a run that has not ended, and why there was nothing to judge."""
    unended = ["the run has not ended, so nothing is proven"] if doc["status"] != "complete" else []
    if not unended and not doc["problems"]:
        return
    suite = _suite(root, f"{SUITE}.run", doc)
    for number, text in enumerate(unended + doc["problems"], start=1):
        _outcome(_case(suite, SUITE, f"run {number}"), "error", "incomplete" if unended else "not-judged", text)


def _in_words(finding: Finding) -> str:
    return (
        f"{finding['slug']} on {finding['host']}: {finding['title']}\nexpected: {finding['expected']}\n"
        f"observed: {finding['observed']}\nwhy: {finding['reason']}\ndo: {finding['remedy']}"
    )


def _suite(root: ET.Element, name: str, doc: Verdict) -> ET.Element:
    return ET.SubElement(root, "testsuite", name=name, timestamp=doc["started_at"].partition("+")[0].rstrip("Z"))


def _case(suite: ET.Element, classname: str, name: str, seconds: float = 0.0) -> ET.Element:
    return ET.SubElement(suite, "testcase", classname=classname, name=name, time=f"{seconds:.3f}")


def _outcome(case: ET.Element, kind: str, type_: str | None, message: str, text: str | None = None) -> None:
    element = ET.SubElement(case, kind, {"message": message, **({"type": type_} if type_ else {})})
    element.text = text


def _count(suite: ET.Element) -> None:
    suite.set("tests", str(len(suite.findall("testcase"))))
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("time", f"{sum(float(case.get('time', 0)) for case in suite):.3f}")


def _total(root: ET.Element, doc: Verdict) -> None:
    if doc["finished_at"]:
        took = datetime.fromisoformat(doc["finished_at"]) - datetime.fromisoformat(doc["started_at"])
        root.set("time", f"{took.total_seconds():.3f}")
    for attribute in ("tests", "failures", "errors"):
        root.set(attribute, str(sum(int(suite.get(attribute, "0")) for suite in root)))
