# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..dialects.nixl_pd import FAILED
from . import MISSES, Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="nixl-transfer-failed",
    link=10,
    kind="cause",
    rank=30,
    title="The decode engine could not read the KV",
    meaning=(
        "The decode engine was told where a prompt's KV is and its read failed: the handshake, or the transfer. With "
        "kv_load_failure_policy fail, the default, the request ends with HTTP 500; with recompute it is computed again."
    ),
    evidence=(
        "vllm:nixl_num_failed_transfers_total of the decode engine rose, or its log says `NIXL transfer failure`, for "
        "this run's requests."
    ),
    remedy=(
        "Read the traceback behind `NIXL transfer failure` in the decode engine's log: a compatibility hash that "
        "differs means another model, dtype or vLLM; a time-out that VLLM_NIXL_SIDE_CHANNEL_HOST and _PORT of the "
        "prefill engine are not reached."
    ),
    source="vLLM 0.32 nixl/base_worker.py:1318, nixl/stats.py",
    architectures=("nixl_pd",),
    explains=MISSES | {"engine-down"},
    of_requests=True,
    covers=(
        "reuse-absent",
        "pd-recomputed",
        "engine-errors",
        "experiment-incomplete",
        "controls-unread",
        "load-failed",
    ),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    lines, counted = _logged(case), _counted(case, attempts)
    if not lines and not counted:
        return
    refused = [r["error"] for r in case.requests() if r.get("role") == "reuse" and r.get("error")]
    status = refused[0].get("status") if refused else None
    answered = f"the request ended with HTTP {status}" if status else "the request got no answer"
    then = answered if refused else "the prompt was computed again"
    seen = lines[0]["text"] if lines else f"{counted:.0f} reads failed"
    if any(event.get("kind") == "nixl_incompatible" for event in case.receiver.events):
        seen += ": NIXL compatibility hash mismatch"
    yield Sighting(case.receiver.name, f"KV read from {case.holder}", seen, f"its read failed, and {then}")


def _logged(case: Case) -> list[dict]:
    """Lines of the receiver's log on reads that failed, of this run's requests; each kind is kept once for a start."""
    ours = [r for r in case.requests() if r.get("engine") == "receiver" and r.get("role") in ("warmup", "reuse")]
    ids = tuple(request_id for request in ours for request_id in case.ids(request))
    return case.receiver.events_of(ids, "nixl_failed")


def _counted(case: Case, attempts: list[Attempt]) -> float:
    """Reads that failed while requests were served that did not get what was offered."""
    windows = [
        (trial.get("window") or {}).get("receiver") or {}
        for trial, attempt in zip(case.trials, attempts)
        if attempt.outcome in ("error", "missed")
    ]
    return sum(window.get(FAILED, 0.0) for window in windows)
