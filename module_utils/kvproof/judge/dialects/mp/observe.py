# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Multiprocess mode: what each trial's responses, the servers' lines and their counters say about the chain.

A response and vLLM's metrics do not tell a hit of the node's own server (L1) from one of another (L2).  The receiver's
server does: in its line of this request, which it writes where there is a hit, and by its counters, where this request
was the only lookup in their window.
"""

from __future__ import annotations

from ....stack import mp
from ... import counters
from ...attempt import Attempt
from ...case import Case

LOCAL, LMCACHE, EXTRA = "num_vllm_cached_tokens", "num_lmcache_cached_tokens", "num_lmcache_extra_cached_tokens"

BY_SOURCE = "vllm:prompt_tokens_by_source_total"
FROM_OUTSIDE = BY_SOURCE + "{source=external_kv_transfer}"


def observe(case: Case) -> list[Attempt]:
    """One Attempt per fresh prompt, in the order they were sent."""
    return [_attempt(case, trial) for trial in case.trials]


def never_seen_hit(case: Case) -> int | None:
    """Tokens that the never-seen control hit; None: it was not sent or could not be read."""
    return hit_of(case.probe.get("never_seen"))


def hit_of(request: dict | None) -> int | None:
    """Tokens of a request that came from any cache: by its own statistics, else its cached_tokens."""
    if not request or request.get("error"):
        return None
    stats = request.get("kv_transfer") or {}
    known = [stats.get(LOCAL), stats.get(LMCACHE), request.get("cached_tokens")]
    return max((int(tokens) for tokens in known if tokens is not None), default=None)


def window_of(trial: dict, name: str, lookups: int) -> dict | None:
    """The rises of a server's counters over one request; None where they were not read, or others asked meanwhile."""
    window = (trial.get("window") or {}).get(name)
    return window if window and (window.get(mp.LOOKUPS) or 0) == lookups else None


def _attempt(case: Case, trial: dict) -> Attempt:
    seed, reuse = trial.get("seed") or {}, trial.get("reuse")
    attempt = Attempt(
        index=trial.get("index") or 0,
        expected=case.expected_hit(trial),
        seed_error=seed.get("error"),
        reuse_error=(reuse or {}).get("error"),
        sent=reuse is not None,
        stored=_stored(case, trial),
        announced=_announced(case, trial),
        layouts=[],
    )
    if reuse is not None:
        _reused(case, attempt, trial, reuse)
        attempt.control_hits = {"knockout": hit_of(trial.get("knockout"))}
    return attempt


def _stored(case: Case, trial: dict) -> int | None:
    """Tokens of the seed that the holder's server wrote, while it served this lookup alone."""
    window, chunk = window_of(trial, "holder_server", 1), case.holder.count("chunk_size")
    ranks = case.holder.ranks
    if window is None or not chunk or not ranks:
        return None
    return int(window.get(mp.WRITTEN) or 0) // ranks * chunk


def _announced(case: Case, trial: dict) -> bool | None:
    """Whether the coordinator's directory names the holder's server for every chunk of the seed."""
    directory = trial.get("directory")
    if not directory or not directory.get("chunks") or not case.holder.instance_id:
        return None
    return (directory.get("holders") or {}).get(case.holder.instance_id, 0) >= directory["chunks"]


def _reused(case: Case, attempt: Attempt, trial: dict, reuse: dict) -> None:
    stats = reuse.get("kv_transfer") or {}
    attempt.cached = reuse.get("cached_tokens")
    loaded = _loaded(trial, reuse, stats.get(EXTRA) if stats.get(EXTRA) is not None else attempt.cached)
    if stats.get(LOCAL) and not stats.get(EXTRA):  # vLLM had it, whatever the server's lookup found
        attempt.logged, attempt.computed, attempt.need, attempt.retrieved = True, int(stats[LOCAL]), 0, 0
        return
    lines = case.receiver.served(case.ids(reuse), "prefetched")
    window = window_of(trial, "receiver_server", 1)
    if lines:
        keys = sum(event.get("l1") or 0 for event in lines), sum(event.get("l2") or 0 for event in lines)
        asked = sum(event.get("asked") or 0 for event in lines)
        witness = (
            f"{case.receiver}'s server on this id: {keys[1]} of {asked} keys from a peer (L2), {keys[0]} its own (L1)"
        )
    elif window is not None:
        keys = int(window.get(mp.HIT_L1) or 0), int(window.get(mp.HIT_L2) or 0)
        witness = (
            f"{case.receiver}'s server while it served this alone: {keys[1]} tokens from a peer (L2), {keys[0]} its own"
        )
    else:
        return
    attempt.logged = loaded is not None
    attempt.retrieved = int(loaded) if loaded is not None else None
    attempt.hit, attempt.need = (keys[0] + keys[1], attempt.expected) if lines or window else (None, None)
    peers, given = by_peers(case, window), (trial.get("window") or {}).get("holder_server_at_reuse")
    if given and given.get(mp.READ):
        witness += f"; {case.holder}'s server read {int(given[mp.READ])} meanwhile"
    if not keys[1] or peers is False:
        attempt.asked = False  # its own, or a shared store's
    elif keys[0] or peers is None or (given is not None and not given.get(mp.READ)):
        attempt.asked, attempt.layouts = None, None  # some may be its own, a shared store's, or another peer's
    else:
        attempt.asked, attempt.transfer_witness = True, witness


def _loaded(trial: dict, reuse: dict, said: int | None) -> int | None:
    """Tokens that were loaded: no more than vLLM, where it served this alone, took from outside.  What a request says
    of itself was counted at the lookup."""
    series = any(name.startswith(BY_SOURCE) for name in (trial.get("window") or {}).get("receiver") or {})
    taken = counters.idle_delta(trial, "receiver", reuse, FROM_OUTSIDE) if series else None
    return said if said is None or taken is None else min(int(said), int(taken))


def by_peers(case: Case, window: dict | None) -> bool | None:
    """Whether peers gave what the receiver's server did not have itself: by the adapters that loaded meanwhile, else by
    the adapters that there are.  None: it has several kinds."""
    loads = {name == mp.LOADED_BY_P2P for name, rise in (window or {}).items() if name.startswith(mp.LOADED) and rise}
    kinds = loads or {kind == mp.P2P_ADAPTER for kind in case.receiver.server.get("l2_adapters") or []}
    return kinds.pop() if len(kinds) == 1 else None
