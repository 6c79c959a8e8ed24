# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sightings
from ._disagg import COVERS, EXPLAINS, sightings

FINDING = Finding(
    slug="pd-backend-failed",
    link=3,
    kind="cause",
    rank=5,
    title="LMCache runs without its PD backend",
    meaning=(
        "The PD backend failed to start, and the engine serves without LMCache: it recomputes every prompt and "
        "answers 200."
    ),
    evidence="`marked as init failed` or degraded mode in the engine's log, or /backends without PDBackend.",
    remedy=(
        "Read the first LMCache ERROR of its log. A sender needs pd_proxy_host and pd_proxy_port, also with "
        "pd_skip_proxy_notification where pd_backend_mode is async; a receiver needs pd_peer_host, "
        "pd_peer_init_port and pd_peer_alloc_port; both need pd_buffer_size and pd_buffer_device."
    ),
    source="LMCache 0.5.6 v1/storage_backend/pd_backend_async.py:250",
    architectures=("lmcache_pd",),
    explains=EXPLAINS,
    covers=(*COVERS, "lmcache-degraded"),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    yield from sightings(case, ("backend",), "this engine's LMCache neither sends nor receives")
