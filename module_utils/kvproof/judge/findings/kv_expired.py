# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from .. import counters
from ..dialects.nixl_pd import LATE
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="kv-expired",
    link=10,
    kind="failure",
    rank=5,
    title="KV was read after the prefill engine had given it up",
    meaning=(
        "A prefill engine keeps a prompt's blocks for kv_lease_duration seconds. Blocks that are read later may be "
        "another prompt's: the decode engine counts a perfect transfer, and answers 200 and something else."
    ),
    evidence="nixl_num_notifications_after_expiry_total of the prefill engine rose while it served this run alone.",
    remedy=(
        "Raise kv_lease_duration in kv_connector_extra_config above the longest wait between prefill and decode, the "
        "decode engine's queue included."
    ),
    source="vLLM 0.32 nixl/pull_worker.py:667",
    architectures=("nixl_pd",),
    covers=("output-differs", "output-unclear", "answer-not-sensible"),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    late = counters.counter_delta(case.holder, LATE)
    if late and counters.idle(case, case.holder):
        yield Sighting(case.holder.name, "blocks read within their lease", f"{late:.0f} read after it", "too late")
