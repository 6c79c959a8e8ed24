"""What the judge makes of a document, and small changes to the logs in one, for tests."""

from __future__ import annotations

from documents import event, layout, logged_id
from kvproof.judge.verdict import judge

DECISIVE = ("failure", "cause", "validity")
CHUNKS_OF_OTHERS = 7


def told(document: dict) -> tuple[str, list[str]]:
    """(verdict, slugs that decided it)."""
    verdict = judge(document)
    assert verdict["check_errors"] == []
    return verdict["verdict"], [f["slug"] for f in verdict["findings"] if f["role"] in DECISIVE]


def warnings(document: dict) -> list[str]:
    return [f["slug"] for f in judge(document)["findings"] if f["role"] == "warning"]


def events(document: dict, role: str) -> list[dict]:
    return document["nodes"][role]["log"]["events"]


def insert(document: dict, label: str, lines: list[dict]) -> None:
    """Puts lines before the first line of this request in the receiver's log."""
    log = events(document, "receiver")
    at = next(n for n, one in enumerate(log) if one.get("id") == logged_id(label))
    log[at:at] = lines


def foreign_lookup(hit: int = 0) -> list[dict]:
    """Another client's request in the receiver's log."""
    seen = event("looked_up", None, id="cmpl-other-0-11111111", hit=hit, need=hit, computed=0)
    return [layout(CHUNKS_OF_OTHERS), seen]
