"""Documents to render: verdicts of recorded clusters (fixtures/verdicts), and what a live probe adds to them."""

from __future__ import annotations

import copy
import json
from pathlib import Path

from kvproof.report import history
from kvproof.report.run import Run

FIXTURES = Path(__file__).parents[1] / "fixtures" / "verdicts"
STARTED, FINISHED = "2026-11-24T02:24:29+00:00", "2026-11-24T02:24:41+00:00"


def verdict(name: str, **changes) -> dict:
    """The verdict of one pair: "healthy" (pass), "sync_loading" (fail) or "local_hit_decode" (inconclusive)."""
    return {**json.loads((FIXTURES / f"{name}.json").read_text()), **changes}


def live(name: str = "healthy", **changes) -> dict:
    """A verdict with the figures that a live probe measures and the recordings do not have."""
    found = verdict(name, **changes)
    found["performance"] = {
        "reused_s": 0.052,
        "recomputed_s": 0.187,
        "speedup": 3.596,
        "interval": {"low": 3.1, "high": 4.2},
        "trials": 3,
        "tokens": 1051,
    }
    found["timing"] = {
        **found["timing"],
        "itl_s": {"n": 63, "median": 0.004, "p95": 0.005, "max": 0.009},
        "tpot_s": {"n": 3, "median": 0.0041, "p95": None, "max": 0.0044},
        "visible_s": {"n": 3, "median": 0.061, "p95": None, "max": 0.08},
        "visible_how": "key_count",
        "moved": {
            "store_s": {"n": 3, "median": 0.004, "p95": None, "max": 0.005},
            "transfer_s": {"n": 3, "median": 0.009, "p95": None, "max": 0.011},
            "transfer_gb_s": {"n": 3, "median": 1.36, "p95": None, "max": 1.5},
            "load_s": {"n": 3, "median": 0.0021, "p95": None, "max": 0.003},
            "load_gb_s": {"n": 3, "median": 0.94, "p95": None, "max": 1.1},
            "histogram": {"state": "not flushed yet", "transfers": None, "mean_s": None, "mean_gb_s": None},
        },
        "lengths": [length(1024, 0.06, 0.05), length(4096, 0.08, 0.2), length(16384, skipped="too long")],
        "break_even": {"tokens": 1250, "text": "reuse is faster from about 1250 tokens on (between 1054 and 4126)"},
    }
    for trial in found["trials"]:
        trial.update(recomputed_ttft_s=0.187, itl_s={"n": 63, "mean": 0.004, "p50": 0.004, "max": 0.009}, tpot_s=0.0041)
    return found


def length(asked: int, reused_s: float | None = None, cold_s: float | None = None, skipped: str | None = None) -> dict:
    """One entry of timing.lengths."""
    return {
        "asked": asked,
        "tokens": asked + 30 if reused_s else None,
        "pairs": 3 if reused_s else 0,
        "reused_s": reused_s,
        "recomputed_s": cold_s,
        "speedup": round(cold_s / reused_s, 3) if reused_s else None,
        "interval": {"low": 0.5, "high": 3.0} if reused_s else None,
        "skipped": skipped,
    }


def waived(name: str = "sync_loading", reason: str = "this node joins next week", **changes) -> dict:
    found = verdict(name, waived=True, **changes)
    for finding in found["findings"]:
        if finding["role"] in ("cause", "failure", "validity"):
            finding["waived"] = reason
    return found


def run(*pairs: dict, missing: int = 0, skipped: list | None = None, **plan) -> Run:
    """A run in which these pairs were planned and judged, and ``missing`` others only planned."""
    lost = [{"cluster": "demo", "holder": f"p{n}", "receiver": f"d{n}"} for n in range(missing)]
    found = Run(STARTED)
    found.plan(
        {
            "mode": "inventory",
            "run_id": "k3f9a1c2",
            "pairs": [{key: pair[key] for key in ("cluster", "holder", "receiver")} for pair in pairs] + lost,
            "skipped": skipped or [],
            "notes": [],
            "reports_dir": "reports",
            "inconclusive": "fail",
            **plan,
        }
    )
    found.verdicts(copy.deepcopy(list(pairs)))
    return found


def document(*pairs: dict, exit_code: int | None = None, **more) -> dict:
    """``kvproof.verdict/1`` of a run that has ended."""
    return run(*pairs, **more).document("complete", FINISHED, exit_code)


def compared(doc: dict, *earlier: dict) -> dict:
    """The document, with what changed since earlier runs, the latest of which comes first."""
    told = history.Earlier(doc)
    for run_before in earlier:
        kept, trouble = history.read(json.loads(history.text_of(run_before)))
        assert kept, trouble
        told.add(kept)
    return {**doc, "history": told.part()}


def named(name: str, count: int) -> list[dict]:
    """The same verdict for many pairs of one cluster."""
    return [verdict(name, cluster="fleet", holder=f"{name}-p{n}", receiver=f"{name}-d{n}") for n in range(count)]
