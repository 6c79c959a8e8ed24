# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..pasted import HINT, PROOF, UNSET, Sign
from . import MISSES, Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="side-channel-host",
    link=10,
    kind="cause",
    title="The NIXL handshake reached another engine than the one meant, or none",
    meaning=(
        "The engine that answered is not the one whose id was expected. With the side channel's host left at "
        "localhost, its default, every decode engine asks its own node."
    ),
    evidence=(
        "Where a prefill engine's answers say that its KV is; NIXL's `engine ID mismatch` or a failed handshake, and "
        "VLLM_NIXL_SIDE_CHANNEL_HOST."
    ),
    remedy="Set VLLM_NIXL_SIDE_CHANNEL_HOST on every engine to its own address, as its peers reach it.",
    source="vLLM 0.32 envs.py (default localhost), nixl/base_worker.py; vllm#27083",
    rank=10,
    explains=MISSES | {"engine-down"},
    covers=("nixl-transfer-failed", "pd-recomputed", "reuse-absent", "engine-errors", "experiment-incomplete"),
    cause_class="BIND_HOST",
    cannot=(
        "Without the value of VLLM_NIXL_SIDE_CHANNEL_HOST: whether it is that, a port shared by two engines, or "
        "an engine that was restarted."
    ),
)

NAME = "VLLM_NIXL_SIDE_CHANNEL_HOST"
NOT_REACHED = ("localhost", "127.0.0.1", "::1", "0.0.0.0", UNSET)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    if case.architecture != "nixl_pd":
        return
    if case.holder.hosts & case.receiver.hosts and any(attempt.outcome == "proven" for attempt in attempts):
        return  # on one machine localhost may do
    told = [((trial.get("seed") or {}).get("kv_transfer") or {}).get("remote_host") for trial in case.trials]
    local = [host for host in told if host in NOT_REACHED]
    if local:
        yield Sighting(
            case.holder.name,
            f"an address of {case.holder} that {case.receiver} can reach",
            f"its answers send {case.receiver} to {local[0]}",
            f"{NAME} is not set to its own address",
        )


def pasted(material):
    host = material.env(NAME)
    local = host is not None and (host in NOT_REACHED or host.startswith("127."))
    # the other side was reached where its metadata came
    sure = local and not any(material.lines("nixl_metadata", "nixl_backend_failed"))
    for role, line in material.lines("agent_mismatch", *["nixl_handshake_failed"] * local):
        yield Sign(role, f"{line}; {NAME}: {host or 'not told'}", PROOF if sure else HINT)
