# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""junit.xml: a suite per cluster; a case per pair and a case per link of its chain.

The standard library writes it, so that no controller loses the report for want of a package.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

from ...judge.verdict import FAIL, PASS
from ...plan.pair import SkippedPair
from .. import document
from ..parts import Cluster, Finding, Link, Pair, Verdict

SUITE = "kv_reuse"


def render(doc: Verdict) -> str:
    root = ET.Element("testsuites", name=SUITE)
    for cluster in doc["clusters"]:
        _cluster(root, doc, cluster)
    _skipped(root, doc["not_probed"])
    _run(root, doc)
    for suite in root:
        _count(suite)
    _total(root)
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _cluster(root: ET.Element, doc: Verdict, cluster: Cluster) -> None:
    suite = _suite(root, f"{SUITE}.{cluster['name']}", doc)
    for pair in cluster["pairs"]:
        _pair(suite, doc, pair)
        for link in pair["links"]:
            _link(suite, doc, pair, link)
    for missing in cluster["not_judged"]:
        case = _case(suite, cluster["name"], document.pair_name(missing))
        _outcome(case, "error", "not-judged", missing["reason"])


def _pair(suite: ET.Element, doc: Verdict, pair: Pair) -> None:
    case = _case(suite, pair["cluster"], document.pair_name(pair))
    if pair["verdict"] == PASS:
        return
    reason = document.where(pair).strip() + (": " if pair.get("first_broken") else "") + document.reason(pair)
    if pair["waived"]:
        reasons = "; ".join(dict.fromkeys(f["waived"] for f in document.decisive(pair) if f["waived"]))
        _outcome(case, "skipped", None, f"{pair['verdict']}, waived ({reasons}): {reason}")
    elif not document.pair_fails(pair, doc["inconclusive"]):
        _outcome(case, "skipped", None, f"{pair['verdict']}, accepted by kv_reuse_inconclusive: {reason}")
    else:
        _outcome(case, _kind(pair), pair["verdict"], reason, "\n\n".join(_in_words(f) for f in document.decisive(pair)))


def _kind(pair: Pair) -> str:
    return "failure" if pair["verdict"] == FAIL else "error"


def _link(suite: ET.Element, doc: Verdict, pair: Pair, link: Link) -> None:
    """Only a broken link of a pair that fails the run is bad; what could not be seen is skipped, never passed."""
    case = _case(suite, f"{pair['cluster']}.{document.pair_name(pair)}", f"{link['link']:02d} {link['name']}")
    if link["state"].startswith("holds"):
        ET.SubElement(case, "system-out").text = f"{link['state']}: {link['text']}"
    elif link["state"] == "broken" and document.pair_fails(pair, doc["inconclusive"]):
        _outcome(case, _kind(pair), pair["verdict"], link["text"])
    else:
        _outcome(case, "skipped", None, f"{link['state']}: {link['text']}")


def _skipped(root: ET.Element, pairs: list[SkippedPair]) -> None:
    if not pairs:
        return
    suite = ET.SubElement(root, "testsuite", name=f"{SUITE}.not_probed")
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


def _case(suite: ET.Element, classname: str, name: str) -> ET.Element:
    return ET.SubElement(suite, "testcase", classname=classname, name=name, time="0")


def _outcome(case: ET.Element, kind: str, type_: str | None, message: str, text: str | None = None) -> None:
    element = ET.SubElement(case, kind, {"message": message, **({"type": type_} if type_ else {})})
    element.text = text


def _count(suite: ET.Element) -> None:
    suite.set("tests", str(len(suite.findall("testcase"))))
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("time", "0")


def _total(root: ET.Element) -> None:
    for attribute in ("tests", "failures", "errors"):
        root.set(attribute, str(sum(int(suite.get(attribute, "0")) for suite in root)))
