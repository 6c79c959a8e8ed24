# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""vLLM's NixlConnector: the decode engine reads a prompt's KV from the prefill engine.

Nothing in logs or responses names a request (usage.cached_tokens is 0 although everything came over), so the witness
is the decode engine's own counters around a request that it served alone.  What it looked up and found counts a read
that failed, too (external_prefix_cache_hits, prompt_tokens_cached_by_source{p2p}), so only what it did not compute
counts, and only where no read failed.  Whether the blocks were still this prompt's, link 12 alone can tell.
"""

from __future__ import annotations

from .. import apart, counters
from ..attempt import Attempt
from ..case import Case
from ..link import HOLDS, INFERRED, NOT_NEEDED, UNKNOWN, Link, tokens
from . import Dialect

BY_SOURCE = "vllm:prompt_tokens_by_source_total"
FROM_PEER = BY_SOURCE + "{source=external_kv_transfer}"
COMPUTED = BY_SOURCE + "{source=local_compute}"
READS = "vllm:nixl_xfer_time_seconds_count"
FAILED = "vllm:nixl_num_failed_transfers_total"
#: On the prefill engine: blocks that were read after it had given them up.
LATE = "vllm:nixl_num_notifications_after_expiry_total"
#: What both engines say of themselves on their command lines and must have in common.
SAME = ("dtype", "kv-cache-dtype", "block-size", "tensor-parallel-size")


def observe(case: Case) -> list[Attempt]:
    """One Attempt per fresh prompt, expected: all of it but the last token, whose logits may have to be computed."""
    attempts = [_attempt(case, trial) for trial in case.trials]
    taken = [attempt for attempt in attempts if attempt.loaded]
    reads = counters.counter_delta(case.receiver, READS)
    # tokens that nobody is seen to have moved, or that an engine may have read from itself
    if reads is None or reads < len(taken) or apart.one_process(case):
        for attempt in taken:
            attempt.asked = None
    return attempts


def _attempt(case: Case, trial: dict) -> Attempt:
    seed, reuse = trial.get("seed") or {}, trial.get("reuse")
    kept, length = seed.get("kv_transfer") or {}, (reuse or {}).get("prompt_tokens") or trial.get("prefix_tokens")
    attempt = Attempt(
        index=trial.get("index") or 0,
        expected=length - 1 if length else None,
        seed_error=seed.get("error"),
        reuse_error=(reuse or {}).get("error"),
        sent=reuse is not None,
        stored=kept.get("remote_num_tokens"),
        announced=bool(kept.get("remote_host")) or None,
    )
    window = trial.get("window") or {}
    if "knockout" in window:
        attempt.control_hits = {"knockout": _read(trial, "knockout", trial.get("knockout"))}
    came = _read(trial, "receiver", reuse)
    if came is None or attempt.expected is None:
        return attempt
    computed = counters.idle_delta(trial, "receiver", reuse or {}, COMPUTED) or 0
    attempt.counted, attempt.asked = min(came, attempt.expected), False
    if came and (came < attempt.expected or computed > 1):
        attempt.asked, attempt.peer_error = None, f"{came} of {tokens(length)}, and {computed:.0f} were computed"
    elif came:
        attempt.asked = True
        attempt.transfer_witness = (
            f"{tokens(came)} by external_kv_transfer, no read failed, while {case.receiver} served this alone"
        )
    return attempt


def _read(trial: dict, role: str, request: dict | None) -> int | None:
    """Tokens of a request that were read from the other engine, by the counters around it; None where these were not
    read, or are of several requests."""
    rises = (trial.get("window") or {}).get(role) or {}
    if not request or request.get("error") or not any(name.startswith(BY_SOURCE) for name in rises):
        return None
    came = counters.idle_delta(trial, role, request, FROM_PEER)
    failed = counters.idle_delta(trial, role, request, FAILED)
    return None if came is None else 0 if failed else int(came)


def never_seen_hit(case: Case) -> int | None:
    """Tokens read for the never-seen control, by the counters around it; else what was read in the whole run beyond the
    reuse requests."""
    if not case.probe.get("never_seen"):
        return None
    if case.probe.get("window"):
        return _read(case.probe, "never_seen", case.probe["never_seen"])
    total = counters.counter_delta(case.receiver, FROM_PEER)
    if total is None:
        return None
    came = [_read(trial, "receiver", trial.get("reuse")) or 0 for trial in case.trials]
    return max(0, int(total) - sum(came))


def cache_layer(case: Case, proven: list[Attempt]) -> Link:
    """The connector runs in both engines, by the series that it brings."""
    without = [side.name for side in case.sides if counters.page_value(side, "after", READS) is None]
    if not without:
        return Link(3, HOLDS, "NixlConnector up on both")
    return Link(3, INFERRED if proven else UNKNOWN, f"no NIXL series on the metrics of {' and '.join(without)}")


def alike(case: Case, proven: list[Attempt]) -> Link:
    """The engines compare themselves at first contact, so what was read shows that they fit."""
    options = [(side.node.get("engine") or {}).get("options") or {} for side in case.sides]
    both = {key: [engine.get(key) for engine in options] for key in SAME}
    same = ", ".join(f"{key} {left}" for key, (left, right) in both.items() if left is not None and left == right)
    if proven:
        return Link(4, INFERRED, "they let each other read" + (f"; seen alike: {same}" if same else ""))
    return Link(4, UNKNOWN, f"seen alike: {same}" if same else "not seen on both")


def registered(case: Case, proven: list[Attempt]) -> Link:
    return Link(5, NOT_NEEDED, "there is no registry: each request says whom to read from")


def stored(case: Case, attempt: Attempt) -> Link:
    if attempt.stored is None:
        return Link(7, UNKNOWN, f"{case.holder} did not answer that it keeps the prompt's blocks")
    return Link(
        7, HOLDS if attempt.stored else UNKNOWN, f"{case.holder} keeps {tokens(attempt.stored)}, as it answered"
    )


def announced(case: Case, attempt: Attempt) -> Link:
    trial = next((trial for trial in case.trials if trial.get("index") == attempt.index), {})
    kept = (trial.get("seed") or {}).get("kv_transfer") or {}
    if not attempt.announced:
        return Link(8, UNKNOWN, f"{case.holder} did not answer where they are")
    return Link(8, HOLDS, f"its answer says where: {kept.get('remote_host')}:{kept.get('remote_port')}")


def found(case: Case, attempt: Attempt) -> Link:
    return Link(9, NOT_NEEDED, f"nothing is looked up: {case.receiver} is told")


DIALECT = Dialect(
    observe=observe,
    never_seen_hit=never_seen_hit,
    cache_layer=cache_layer,
    alike=alike,
    registered=registered,
    announced=announced,
    found=found,
    stored=stored,
)
