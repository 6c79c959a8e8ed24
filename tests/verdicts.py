"""Documents to render: verdicts of recorded clusters (fixtures/verdicts), and what a live probe adds to them."""

from __future__ import annotations

import copy
import json
from pathlib import Path

from kvproof.run import Run

FIXTURES = Path(__file__).parent / "fixtures" / "verdicts"
STARTED, FINISHED = "2026-11-24T02:24:29+00:00", "2026-11-24T02:24:41+00:00"


def verdict(name: str, **changes) -> dict:
    """The verdict of one pair: "healthy" (pass), "sync_loading" (fail) or "local_hit_decode" (inconclusive)."""
    return {**json.loads((FIXTURES / f"{name}.json").read_text()), **changes}


def live(name: str = "healthy", **changes) -> dict:
    """A verdict with the figures that a live probe measures and the recordings do not have."""
    found = verdict(name, **changes)
    found["performance"] = {"reused_s": 0.052, "recomputed_s": 0.187, "speedup": 3.596, "trials": 3, "tokens": 1051}
    for trial in found["trials"]:
        trial.update(recomputed_ttft_s=0.187, itl_s={"n": 63, "mean": 0.004, "p50": 0.004, "max": 0.009}, tpot_s=0.0041)
    return found


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


def named(name: str, count: int) -> list[dict]:
    """The same verdict for many pairs of one cluster."""
    return [verdict(name, cluster="fleet", holder=f"{name}-p{n}", receiver=f"{name}-d{n}") for n in range(count)]
