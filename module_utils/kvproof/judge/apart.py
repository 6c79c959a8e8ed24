# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what was reused had been made on another engine, where KV may come from anywhere (kv_reuse_source: any).

Nobody has to have seen the way: KV that the holder computed and the receiver never had cannot have come but from the
holder's side.  So two things are proven instead: that two engines answered, and that no seed ever reached the receiver.
Either both engines' counters show it to the token, or the receiver's log does by request ids.  All else is no proof.
"""

from __future__ import annotations

from ..stack.mp import P2P_ADAPTER
from .attempt import Attempt
from .case import Case
from .counters import EXTERNAL_HITS, PROMPTS, STARTED, page_rise, page_value
from .side import Side

ANY = "any"
PAGES = ("before", "seeded", "after")
#: Configuration keys of LMCache that name a store that other nodes may fill.
STORES = ("remote_url", "local_disk")
#: Findings of a way that KV need not take where a store is there for it.
OF_P2P = frozenset(
    """
    p2p-disabled p2p-backend-missing p2p-settings-incomplete p2p-bind-failed p2p-host-not-ours p2p-port-unreachable
    not-registered registered-elsewhere worker-reaped controller-down controller-unreachable-from-node
    controller-bound-to-localhost not-announced announced-late address-not-ours tensor-parallel-p2p peer-error
    peer-silent legacy-p2p local-cpu-off lookup-empty
    """.split()
)


def shared_store(side: Side) -> str | None:
    """A store that other nodes may fill: one of STORES, or a cache server's L2 adapter.  None without one, or where the
    configuration was not seen."""
    adapters = [kind for kind in side.server.get("l2_adapters") or [] if kind and kind != P2P_ADAPTER]
    keys = (key for key in STORES if (setting := side.setting(key)) and setting.value)
    return next(iter((*adapters, *keys)), None)


def bypasses_p2p(case: Case) -> bool:
    """Whether KV may come from anywhere, and both engines have a store for it."""
    return case.source == ANY and all(shared_store(side) for side in case.sides)


def credit(case: Case, attempts: list[Attempt], logs: list[bool]) -> None:
    """Says in ``Attempt.way`` how far the way is known, for reuses that are proof although no peer was seen to send.

    logs: for each attempt, whether the receiver's log shows that no seed reached it (Dialect.unseen_by_receiver).
    Of a trial whose knock-out went first only where another trial shows that a knock-out leaves nothing to hit.
    """
    if case.source != ANY or one_process(case):
        return
    counted = why_not_counted(case) is None
    last = False
    for order in ("reuse-first", "knockout-first"):
        for trial, attempt, logged in zip(case.trials, attempts, logs):
            mine = trial.get("order") == order and (order == "reuse-first" or last)
            reused = attempt.outcome in ("local", "unattributed") and attempt.control_hits.get("knockout") == 0
            if mine and reused and (logged or (counted and _by_connector(case, attempts, trial, attempt))):
                attempt.way = _way(case, attempt)
        last = any(attempt.way for attempt in attempts)


def _by_connector(case: Case, attempts: list[Attempt], trial: dict, attempt: Attempt) -> bool:
    """Whether the seed was among those that were counted, and the tokens came through the connector: not through vLLM's
    own prefix cache, which cached_tokens counts as well."""
    if not _early(case, trial):
        return False
    if attempt.logged:
        return True
    rise = page_rise(case.receiver, EXTERNAL_HITS, "seeded", "after")
    return rise is not None and rise >= sum(a.loaded or 0 for a in attempts)


def _way(case: Case, attempt: Attempt) -> str:
    store = shared_store(case.receiver)
    if attempt.from_peer is False:
        return f"{case.holder} was not asked" + (f"; {store} is set" if store else "; nothing read names the store")
    return "which way is not seen" + (f"; {store} is set" if store else "")


def one_process(case: Case) -> str | None:
    """In words, why both URLs are held to lead to one engine; None where nothing says so."""
    starts = [page_value(side, "after", STARTED) for side in case.sides]
    if starts[0] is not None and starts[0] == starts[1]:
        return f"both metrics pages are of a process that started at {starts[0]:.2f}"
    processes = [side.node.get("engine") or {} for side in case.sides]
    marks = [
        (side.node.get("hostname"), process.get("pid"), process.get("started_at"))
        for side, process in zip(case.sides, processes)
    ]
    engines = all(process.get("options") for process in processes)  # a proxy has none of vLLM's, and several behind it
    if engines and None not in marks[0] and marks[0] == marks[1]:
        return f"both nodes show process {marks[0][1]} of {marks[0][0]}"
    seeds = _tokens(trial.get("seed") for trial in case.trials if _early(case, trial))
    rises = [page_rise(side, PROMPTS, "before", "seeded") for side in case.sides]
    values = [page_value(side, "seeded", PROMPTS) for side in case.sides]
    if seeds and rises[0] == rises[1] == seeds and values[0] == values[1]:
        return f"both metrics pages count the {seeds} tokens of the seeds"
    return _one_count(case)


def _one_count(case: Case) -> str | None:
    """In words, that each engine's page counts what was sent to both, and maybe others' requests besides; None where it
    does not."""
    sent = _tokens(
        request for request in case.requests() if request.get("role") != "warmup" and not request.get("error")
    )
    rise, other = (page_rise(side, PROMPTS, "before", "after") for side in case.sides)
    values = [page_value(side, "after", PROMPTS) for side in case.sides]
    if sent and rise is not None and rise >= sent and rise == other and values[0] == values[1]:
        return f"both metrics pages count all {sent} prompt tokens that were sent to either"
    return None


def why_unproven(case: Case, attempts: list[Attempt]) -> str:
    """Why these reuses were not credited, in words."""
    if any(attempt.control_hits.get("knockout") != 0 for attempt in attempts):
        return "no knock-out was seen to miss"
    uncounted = why_not_counted(case) or "no counter shows tokens that a connector brought"
    return one_process(case) or f"{uncounted}, and no pair of whole logs shows it"


def why_not_counted(case: Case) -> str | None:
    """Why the counters do not prove that two engines answered and that the receiver never had a seed; None: they do.

    While the seeds were made the holder counted exactly their tokens and the receiver none; from then on each counted
    exactly what it was sent.
    """
    if any((side.engine.get("metrics") or {}).get("seeded") is None for side in case.sides):
        return "no metrics were read between the seeds and their reuse"
    for side in case.sides:
        if len({page_value(side, when, STARTED) for when in PAGES}) > 1:
            return f"the metrics pages of {side} are of several processes"
    sent = [request for request in case.requests() if request.get("role") != "warmup"]
    early = [trial.get("seed") for trial in case.trials if _early(case, trial)]
    if not early:
        return "no seed was sent before that page of metrics"
    for side, first in ((case.holder, early), (case.receiver, [])):
        rest = [request for request in sent if request.get("engine") == side.role and request not in first]
        for pages, requests in ((PAGES[:2], first), (PAGES[1:], rest)):
            rise, tokens = page_rise(side, PROMPTS, *pages), _tokens(requests)
            if rise is None or tokens is None:
                return f"the prompt tokens of {side} could not be counted"
            if rise != tokens:
                return f"{side} counted {rise:.0f} prompt tokens where the probe had sent it {tokens}"
    return None


def _early(case: Case, trial: dict) -> bool:
    """Whether a trial's seed was sent before the page of metrics that stands between seeds and reuses."""
    sent = (trial.get("seed") or {}).get("sent_at")
    pages = [(side.engine.get("metrics") or {}).get("seeded") or {} for side in case.sides]
    at = [page["at"] for page in pages if page.get("at") is not None]
    return sent is not None and len(at) == len(pages) and sent < min(at)


def _tokens(requests) -> int | None:
    """Prompt tokens of all of them; None where one has none: it failed, or its answer did not say."""
    total = 0
    for request in requests:
        tokens = (request or {}).get("prompt_tokens")
        if tokens is None:
            return None
        total += tokens
    return total
