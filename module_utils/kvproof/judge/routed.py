# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of the prompts that went through the cluster's own router, by the counters of all its engines.

They tell of a prompt only where each engine finished at most one request around it and had none running or waiting
before and after.  What a router did with a prompt is no link of the chain: the pair's own experiment went past it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from .case import Case
from .counters import FINISHED, PROMPTS
from .dialects.nixl_pd import BY_SOURCE, COMPUTED, FROM_PEER
from .link import tokens

MADE = "vllm:generation_tokens_total"
OWN = BY_SOURCE + "{source=local_cache_hit}"
ENOUGH = 2  # prompts that have to show the same
#: Errors that say that a way in is closed; others may be the operator's key or model, or a slow engine's.
CLOSED = frozenset({"connect", "dns", "tls", "stream"})


@dataclass(frozen=True)
class Share:
    """What one engine did for a prompt, in tokens of it; None: its counters do not say."""

    name: str
    prompt: int
    computed: int | None
    brought: int | None  # by its connector
    had: int | None  # in its own prefix cache
    made: int  # new tokens

    @property
    def computed_all(self) -> bool:
        return bool(self.prompt) and self.computed == self.prompt and self.brought == 0

    def told(self, whole: str) -> str:
        """In words.  whole: what a count of all the prompt's tokens is called."""
        if self.computed is None:
            return f"{self.name} served {whole}"
        counts = (("computed", self.computed), ("loaded", self.brought), ("had", self.had))
        parts = [f"{verb} {whole if count == self.prompt else tokens(count)}" for verb, count in counts if count]
        return f"{self.name} {' and '.join(parts) or 'computed nothing'}"


@dataclass(frozen=True)
class Routed:
    """One prompt through the router."""

    again: bool  # it has the beginning of the first one
    rendered: int | None  # its tokens, as the probe counted them
    error: dict | None
    doubt: str | None  # why counters tell nothing of it
    shares: tuple[Share, ...]  # empty also where there is an error or a doubt
    request: dict
    recompute: dict | None  # the same prompt, asked of a decode engine itself

    @property
    def told(self) -> bool:
        return not (self.error or self.doubt)

    @property
    def handed_over(self) -> bool:
        """An engine loaded what another had computed."""
        return any(share.brought for share in self.shares) and any(share.computed_all for share in self.shares)

    @property
    def alone(self) -> Share | None:
        """The only engine that had a part in it."""
        return self.shares[0] if len(self.shares) == 1 else None

    def __str__(self) -> str:
        if self.error:
            return str(self.error.get("text") or self.error.get("kind") or "an error")
        if self.doubt:
            return self.doubt
        lengths = {share.prompt for share in self.shares}
        same = len(lengths) == 1 and self.rendered in (None, *lengths)
        parts = [share.told("the prompt" if same else f"all of its {tokens(share.prompt)}") for share in self.shares]
        return ", ".join(parts) or "no engine of the inventory served it"


def routed(case: Case) -> list[Routed]:
    """In the order in which they were sent."""
    router = case.probe.get("router") or {}
    return [_routed(item, router.get("engines")) for item in router.get("requests") or []]


def told(case: Case) -> list[Routed]:
    """The fresh ones of which it is known who served them."""
    return [item for item in routed(case) if item.told and not item.again]


def where(case: Case) -> str:
    """The router as findings name it."""
    url = (case.probe.get("router") or {}).get("url") or ""
    return f"router {url.partition('://')[2].partition('/')[0] or 'of the cluster'}"


def closed(case: Case) -> str | None:
    """In words, what every request to the router met where it lets nothing through; None where it may."""
    errors = [item.error or {} for item in routed(case)]
    shut = [error for error in errors if error.get("kind") in CLOSED or (error.get("status") or 0) >= 500]
    return str(shut[0].get("text") or shut[0].get("kind")) if shut and len(shut) == len(errors) else None


def seen(case: Case) -> Iterator[str]:
    """What became of the prompts, in words, each with how many of them."""
    sent = routed(case)
    counted = Counter(str(item) for item in sent if not item.again)
    for text, count in counted.items():
        yield f"{count} of {counted.total()}: {text}"
    yield from (f"the first one's beginning again: {item}" for item in sent if item.again)


def in_short(case: Case) -> dict | None:
    """The verdict's "router"; None where nobody asked for one."""
    router = case.probe.get("router")
    if not router:
        return None
    sent = routed(case)
    text = router.get("withheld") or "; ".join(seen(case)) or "nothing was sent"
    return {
        "url": router.get("url") or "",
        "sent": len(sent),
        "answered": sum(1 for item in sent if not item.error),
        "text": f"nothing was sent: {text}" if router.get("withheld") else text,
    }


def _routed(item: dict, of: int | None) -> Routed:
    """of: how many engines the cluster has."""
    request, engines = item.get("request") or {}, item.get("engines") or {}
    error = request.get("error") if request.get("sent_at") else request.get("error") or {"text": "it was not sent"}
    doubt = None if error else _doubt(engines, of is not None and len(engines) + (item.get("still") or 0) == of)
    parts = [] if error or doubt else [_share(name, its["window"]) for name, its in engines.items()]
    shares = tuple(share for share in parts if share)
    new, made = request.get("completion_tokens"), sum(share.made for share in shares)
    if shares and new is None:
        doubt = "the answer does not say how many tokens it has"
    elif shares and new is not None and made < new:  # an engine whose page is an old one, and stands still, had a part
        doubt = f"of {tokens(new)} in the answer the engines that were read made {made}"
    return Routed(
        again=bool(item.get("again")),
        rendered=item.get("rendered"),
        error=error,
        doubt=doubt,
        shares=() if doubt else shares,
        request=request,
        recompute=item.get("recompute"),
    )


def _doubt(engines: dict, is_all: bool) -> str | None:
    if not is_all:
        return "not every engine's counters were read around it"
    for name, its in engines.items():
        window = (its or {}).get("window") or {}
        if window.get(FINISHED) is None or window.get(PROMPTS) is None:
            return f"the counters of {name} could not be read around it"
        if its.get("unfinished") is None:
            return f"{name} does not tell whether it was idle"
        if its["unfinished"] or window[FINISHED] > 1:
            return f"{name} served others meanwhile"
    return None


def _share(name: str, window: dict) -> Share | None:
    if not window[FINISHED] and not window[PROMPTS]:
        return None
    known = any(series.startswith(BY_SOURCE) for series in window)
    computed, brought, had = (int(window.get(series) or 0) if known else None for series in (COMPUTED, FROM_PEER, OWN))
    return Share(name, int(window[PROMPTS]), computed, brought, had, made=int(window.get(MADE) or 0))
