# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="experiment-incomplete",
    link=6,
    kind="validity",
    rank=60,
    title="The experiment did not come to its end",
    meaning="Too little was sent or answered to prove anything.",
    evidence="The probe's own account of what it sent.",
    remedy="Read the error, raise kv_reuse_deadline if it was the deadline, and run again.",
    source="kvproof",
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    probe, host = case.probe, case.receiver.name
    if not probe:
        yield Sighting(host, "a probe", "none was sent", "the pair was not probed")
        return
    if probe.get("skipped"):
        yield Sighting(host, "a probe", f"nothing was sent: {probe['skipped']}", "check mode sends nothing")
        return
    planned = (probe.get("settings") or {}).get("trials")
    begun = {
        trial.get("index") for trial in case.trials if trial.get("reuse") or (trial.get("seed") or {}).get("error")
    }
    if not any(a.outcome not in ("error", "unsent") for a in attempts):
        yield Sighting(
            host, "at least one complete trial", _error(case) or "no trial was run", "no trial was completed"
        )
    elif planned is None or len(begun) < planned or any(a.outcome == "unsent" for a in attempts):
        yield Sighting(
            host,
            "the trials asked for" if planned is None else f"{planned} trials asked for",
            f"{len(begun)} were sent" + (f": {_error(case)}" if _error(case) else ""),
            "the probe was cut off",
        )


def _error(case) -> str | None:
    """The probe's last word on what stopped it."""
    errors = [e for e in case.probe.get("errors") or [] if e] + [r["error"] for r in case.requests() if r.get("error")]
    return str(errors[0].get("text")) if errors else None
