# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Finding, Sighting


def look(case, attempts):
    if not case.probe:
        yield Sighting(case.receiver.name, "a probe", "none was sent", "the pair was not probed")
    elif case.probe.get("skipped"):
        yield Sighting(
            case.receiver.name, "a probe", f"nothing was sent: {case.probe['skipped']}", "check mode sends nothing"
        )
    elif not any(a.outcome != "error" for a in attempts):
        errors = [e for e in case.probe.get("errors") or [] if e] + [
            r["error"] for r in case.requests() if r.get("error")
        ]
        text = errors[0].get("text") if errors else "no trial was run"
        yield Sighting(case.receiver.name, "at least one complete trial", str(text), "no trial was completed")


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
    look=look,
)
