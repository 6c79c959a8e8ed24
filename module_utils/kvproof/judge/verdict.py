# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From evidence to verdict.  Pure: no I/O, no clock, the same document always gives the same verdict.

PASS: in a valid experiment links 7 to 12 hold.  FAIL: an outcome is absent in a valid experiment, or the output is
damaged, or the engines cannot be used.  INCONCLUSIVE: everything else; "no data" is never a pass.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from ..evidence import document as evidence
from ..stack.architectures import ARCHITECTURES
from . import apart, chain, counters, routed, settings
from .attempt import REUSED, Attempt
from .case import Case
from .dialects import dialect_of
from .findings import CHECK_FAILED, Finding, Sighting, all_findings
from .link import NAMES
from .output import case_output
from .timing import case_speed, timing

PASS: Final = "pass"
FAIL: Final = "fail"
INCONCLUSIVE: Final = "inconclusive"
# A cause or failure stands for the reader before a circumstance, a circumstance before a note.
ROLES = ("failure", "cause", "validity", "warning", "note")


def doc_page(finding: Finding) -> str:
    """The finding's page, from the project's folder."""
    return f"docs/findings/{finding.slug}.md"


@dataclass
class _Occurrence:
    finding: Finding
    sighting: Sighting
    role: str = "note"


def judge(document: dict, waivers: dict[str, str] | None = None) -> dict:
    """Verdict of one pair (``kvproof.verdict/1``, the "pairs" entry) from ``kvproof.evidence/1``.

    Never raises for what stands in the document: parts that are not what docs/evidence.md promises count as not
    seen, and ``check_errors`` says so.  waivers: finding slug → reason, already checked for reason and date.
    """
    waivers = waivers or {}
    fresh, errors = evidence.read(document)
    case = Case(fresh)
    if case.architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        case.trouble.append(f"kvproof cannot judge the architecture {case.architecture!r}; it knows {known}")
    dialect = dialect_of(case)
    attempts = dialect.observe(case)
    apart.credit(case, attempts, [dialect.unseen_by_receiver(case, trial) for trial in case.trials])
    occurrences = _look(case, attempts)
    outcomes = {a.outcome for a in attempts}
    if any(item.finding.slug in ("engine-unreachable", "engine-errors") for item in occurrences):
        outcomes.add("engine-down")
    if case.probe.get("withheld"):
        outcomes.add("withheld")
    enough = _proven_enough(attempts)
    for item in occurrences:
        item.role = _role(item, outcomes, attempts, enough)
        if item.finding.slug in apart.OF_P2P and apart.bypasses_p2p(case):
            item.role = "note"
    shown = _uncovered(occurrences)
    verdict = _verdict(shown, enough)
    broken: dict[int, str] = {}
    for item in shown:
        if verdict == FAIL and item.role in ("failure", "cause"):
            broken.setdefault(item.finding.link, item.finding.title)
    invalid = next((s.finding.title for s in shown if s.role == "validity" and s.finding.link == 6), None)
    links = chain.build(case, attempts, broken, invalid)
    return {
        "cluster": fresh.get("cluster") or "unknown",
        "holder": case.holder.name,
        "receiver": case.receiver.name,
        "architecture": case.architecture,
        "verdict": verdict,
        "waived": _waived(verdict, shown, waivers),
        "first_broken": next(({"link": n, "name": NAMES[n][0]} for n in sorted(broken)), None),
        "links": [{"link": x.number, "name": x.name, "kind": x.kind, "state": x.state, "text": x.text} for x in links],
        "findings": [_entry(item, waivers) for item in shown],
        "trials": [_trial(trial, attempt) for trial, attempt in zip(case.trials, attempts)],
        "counts": {"fresh_prompts": len(attempts), **dict(sorted(Counter(a.outcome for a in attempts).items()))},
        "performance": case_speed(case, attempts),
        "timing": timing(case, attempts),
        "output": _output(case, attempts),
        "answer": _answer(case),
        "settings": settings.side_by_side(case),
        "counters": counters.operator_counters(case),
        **_tunnels(case),
        **_router(case),
        "check_errors": errors + case.trouble,
    }


def _look(case: Case, attempts: list[Attempt]) -> list[_Occurrence]:
    """Runs every finding's look; one that raises is named in case.trouble and does not stop the others."""
    occurrences = []
    for finding in sorted(all_findings(), key=lambda f: f.slug == CHECK_FAILED):
        if finding.look is None or (finding.architectures and case.architecture not in finding.architectures):
            continue
        try:
            occurrences += [_Occurrence(finding, sighting) for sighting in finding.look(case, attempts)]
        except Exception as error:  # a check must not take the verdict down, nor make it green
            case.trouble.append(f"{finding.slug}: {type(error).__name__}: {error}")
    return occurrences


def _proven_enough(attempts: list[Attempt]) -> bool:
    """At least half of the fresh prompts proven, and the rest lost by lookup time-out alone."""
    proven = sum(1 for a in attempts if a.outcome == "proven")
    lost = sum(1 for a in attempts if a.outcome == "timed-out")
    return proven > 0 and proven * 2 >= len(attempts) and proven + lost == len(attempts)


def _role(item: _Occurrence, outcomes: set[str], attempts: list, enough: bool) -> str:
    finding = item.finding
    if finding.kind == "cause":
        explains = not enough and outcomes & item.sighting.explained(finding.explains)
        return "cause" if explains and not _refuted(finding, attempts) else "warning"
    if finding.kind == "validity" and enough and finding.slug == "lookup-timed-out":
        return "warning"
    return finding.kind


def _refuted(finding: Finding, attempts: list[Attempt]) -> bool:
    """A condition that keeps KV from being reused is none where KV was.

    What was seen of single requests stands beside others that worked, as long as most did not.
    """
    used = sum(1 for a in attempts if a.outcome in REUSED or a.outcome == "masked")
    return used * 2 >= len(attempts) if finding.of_requests and used else used > 0


def _verdict(occurrences: list[_Occurrence], enough: bool) -> str:
    roles = {item.role for item in occurrences}
    if "failure" in roles:
        return FAIL
    if enough:
        return INCONCLUSIVE if "validity" in roles else PASS
    void = any(item.role == "validity" and item.finding.voids for item in occurrences)
    return FAIL if "cause" in roles and not void else INCONCLUSIVE


def _uncovered(occurrences: list[_Occurrence]) -> list[_Occurrence]:
    """Without what follows from something more specific, most important first."""
    active = [item for item in occurrences if item.role in ("failure", "cause", "validity")]
    covered = {slug for item in active for slug in item.finding.covers}
    if any(item.role == "cause" for item in active):
        covered.add("reuse-absent")
    left = [item for item in occurrences if item.finding.slug not in covered]
    return sorted(left, key=lambda s: (_group(s.role), s.finding.link, s.finding.rank, s.finding.slug))


def _group(role: str) -> int:
    """Failures and causes are ordered together, by their place in the chain."""
    return max(0, ROLES.index(role) - 1)


def _waived(verdict: str, shown: list[_Occurrence], waivers: dict[str, str]) -> bool:
    decisive = [item for item in shown if item.role in ("failure", "cause", "validity")]
    return verdict != PASS and bool(decisive) and all(item.finding.slug in waivers for item in decisive)


def _entry(item: _Occurrence, waivers: dict[str, str]) -> dict:
    finding, sighting = item.finding, item.sighting
    return {
        "slug": finding.slug,
        "role": item.role,
        "link": finding.link,
        "title": finding.title,
        "host": sighting.host,
        "expected": sighting.expected,
        "observed": sighting.observed,
        "reason": sighting.reason,
        "remedy": sighting.remedy or finding.remedy,
        "source": finding.source,
        "doc": doc_page(finding),
        "waiver": f"kv_reuse_waive: [{{finding: {finding.slug}, reason: …}}]",
        "waived": waivers.get(finding.slug),
    }


def _trial(trial: dict, attempt: Attempt) -> dict:
    visible, reuse, cold = trial.get("visible") or {}, trial.get("reuse") or {}, trial.get("knockout") or {}
    return {
        "outcome": attempt.outcome,
        "expected": attempt.expected,
        "stored": attempt.stored,
        "loaded": attempt.loaded,
        "request_id": reuse.get("request_id"),
        "visible_s": visible.get("waited_s") if visible.get("reached") else None,
        "seed_ttft_s": (trial.get("seed") or {}).get("ttft_s"),
        "reused_ttft_s": reuse.get("ttft_s"),
        "recomputed_ttft_s": cold.get("ttft_s"),
        "itl_s": {k: v for k, v in reuse["itl_s"].items() if k != "gaps"} if reuse.get("itl_s") else None,
        "tpot_s": reuse.get("tpot_s"),
    }


def _output(case: Case, attempts: list[Attempt]) -> dict:
    verdict = case_output(case, attempts)
    return {
        "state": verdict.state,
        "text": verdict.text,
        "difference": verdict.difference,
        "limit": verdict.limit,
        "noise": verdict.floor,
        "compared": sum(1 for a in attempts if a.outcome in REUSED),
    }


def _answer(case: Case) -> dict | None:
    if not case.trials or not case.trials[0].get("reuse"):
        return None
    reuse = case.trials[0]["reuse"]
    return {
        "text": reuse.get("text"),
        "finish_reason": reuse.get("finish_reason"),
        "completion_tokens": reuse.get("completion_tokens"),
    }


def _tunnels(case: Case) -> dict:
    """The SSH tunnels through which the times were measured; nothing where there was none."""
    tunnels = {side.role: side.engine["tunnel"] for side in case.sides if side.engine.get("tunnel")}
    return {"tunnels": tunnels} if tunnels else {}


def _router(case: Case) -> dict:
    """What the cluster's router made of prompts; nothing where nobody asked for one."""
    seen = routed.in_short(case)
    return {"router": seen} if seen else {}
