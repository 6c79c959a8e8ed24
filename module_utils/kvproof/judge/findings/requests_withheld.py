# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ...stack.architectures import MP
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="requests-withheld",
    link=6,
    kind="validity",
    rank=5,
    voids=True,
    title="No prompt was sent, since none was known to be right for these engines",
    meaning=(
        "What the nodes run was read before anything was sent. kvproof has no experiment for it, or the requests of "
        "its experiments could end an engine, so the engines were greeted and nothing else."
    ),
    evidence="vLLM's --kv-transfer-config and LMCache's settings, from the process, its log or the internal API.",
    remedy=(
        "Set kv_reuse_architecture where the engines were taken for what they are not; otherwise this pair cannot be "
        "proven by this version."
    ),
    source="LMCache 0.5.6 pd_backend_async.py:1068",
    covers=("experiment-incomplete", "outcome-unread", "controls-unread"),
)

UNKNOWN_SERVER = (
    "Set kv_reuse_mp_url to the HTTP API of the engine's lmcache server (with kv_reuse_transport: ssh where that "
    "listens on 127.0.0.1 alone), or let the node be read (kv_reuse_become)."
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    if case.probe.get("withheld"):
        yield Sighting(
            case.receiver.name,
            "engines that the experiment is made for",
            case.probe["withheld"],
            "such a request could end an engine, and would prove nothing",
            UNKNOWN_SERVER if case.architecture == MP else None,
        )
