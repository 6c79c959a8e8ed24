# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The counters that engines export: their names and how far they rose.

A rise proves something of a request only where the engine served nothing else in that time (an idle window).
"""

from __future__ import annotations

from .case import Case
from .side import Side

PROMPTS = "vllm:prompt_tokens_total"
EXTERNAL_HITS = "vllm:external_prefix_cache_hits_total"  # tokens found by a connector at lookup
EXTERNAL_QUERIES = "vllm:external_prefix_cache_queries_total"
UNFINISHED = ("vllm:num_requests_running", "vllm:num_requests_waiting")
FINISHED = "vllm:request_success_total"
STARTED = "process_start_time_seconds"  # not on pages of several processes (PROMETHEUS_MULTIPROC_DIR)
#: Shown to the reader under these names; no counter decides a link.
KNOWN_TO_OPERATORS = {
    "num_hit_tokens": "lmcache:num_hit_tokens_total",
    "external_hits": EXTERNAL_HITS,
    "external_kv_transfer": "vllm:prompt_tokens_by_source_total{source=external_kv_transfer}",
}
HIT_RATE = "lmcache:retrieve_hit_rate"


def operator_counters(case: Case) -> dict[str, dict]:
    """Role of an engine → the rises over the probe that operators know, and its hit rate now."""
    counters = {}
    for side in case.sides:
        page = (side.engine.get("metrics") or {}).get("after") or {}
        rises = {short: counter_delta(side, name) for short, name in KNOWN_TO_OPERATORS.items()}
        counters[side.role] = {**rises, "retrieve_hit_rate": (page.get("values") or {}).get(HIT_RATE)}
    return counters


def counter_delta(side: Side, name: str) -> float | None:
    """Rise of a counter over the probe; None when a page lacks it, or it fell (the engine was restarted)."""
    return page_rise(side, name, "before", "after")


def page_rise(side: Side, name: str, earlier: str, later: str) -> float | None:
    """Rise of a counter from one metrics page to another, as counter_delta()."""
    first, last = page_value(side, earlier, name), page_value(side, later, name)
    if last is None or (first is None and _page(side, earlier).get("state") != "ok"):
        return None
    rise = last - (first or 0.0)
    return rise if rise >= 0 else None


def page_value(side: Side, when: str, name: str) -> float | None:
    """A series of the page "before", "seeded" or "after"; None where it has none."""
    return (_page(side, when).get("values") or {}).get(name)


def _page(side: Side, when: str) -> dict:
    return (side.engine.get("metrics") or {}).get(when) or {}


def foreign_requests(case: Case, side: Side) -> float | None:
    """Requests that the engine finished during the probe and that were not the probe's; None: unknown."""
    finished = counter_delta(side, FINISHED)
    if finished is None:
        return None
    # the first page is read after the warm-up
    ours = sum(
        1 for r in case.requests() if r.get("engine") == side.role and r.get("role") != "warmup" and not r.get("error")
    )
    return finished - ours


def response_hit(request: dict | None) -> int | None:
    """A response's cached_tokens; None where the request failed or the field is missing."""
    if not request or request.get("error"):
        return None
    return request.get("cached_tokens")


def idle_delta(trial: dict, role: str, request: dict, name: str) -> float | None:
    """Rise of a counter over one trial on one engine, only where nothing but this request ran there.

    ``trial["window"][role]`` holds the rises over the trial; the engine served this request alone when its
    prompt tokens rose by exactly this prompt's.  None: not measured, or not idle.
    """
    window = (trial.get("window") or {}).get(role) or {}
    if request.get("prompt_tokens") is None or window.get(PROMPTS) != request["prompt_tokens"]:
        return None
    return window.get(name, 0.0)


def none_hit(case: Case, side: Side) -> int | None:
    """0 where an engine's counters prove that none of this run's requests found external KV; else None.

    They do where the window is proven idle and the counters are alive: the connector was asked for at least the
    prompts of the reuse requests, and found nothing in all of them.
    """
    hits, queries = counter_delta(side, EXTERNAL_HITS), counter_delta(side, EXTERNAL_QUERIES)
    sent = [(trial.get("reuse") or {}).get("prompt_tokens") for trial in case.trials]
    prompts = [tokens for tokens in sent if tokens is not None]
    if hits != 0 or not queries or not prompts or len(prompts) < len(sent) or not idle(case, side):
        return None
    return 0 if queries >= sum(prompts) else None


def contradicts_cached_tokens(case: Case, side: Side) -> bool:
    """Whether an idle engine's counters show external hits while every response of this run has cached_tokens 0."""
    ours = [r for r in case.requests() if r.get("engine") == side.role and r.get("role") != "warmup"]
    reported = [r.get("cached_tokens") for r in ours if not r.get("error")]
    hits = counter_delta(side, EXTERNAL_HITS)
    return bool(hits and hits > 0 and reported and all(tokens == 0 for tokens in reported) and idle(case, side))


def idle(case: Case, side: Side) -> bool:
    """Whether the engine served this run's requests and no others between its two metrics pages, as they prove."""
    pages = side.engine.get("metrics") or {}
    left = [
        ((pages.get(when) or {}).get("values") or {}).get(name) for when in ("before", "after") for name in UNFINISHED
    ]
    return foreign_requests(case, side) == 0 and not any(left)
