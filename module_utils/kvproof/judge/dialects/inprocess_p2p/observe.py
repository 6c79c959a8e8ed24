# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""In-process P2P: what each trial's log lines, responses and controller answers say about the chain.

LMCache 0.3.7 to 0.5.x.  Log lines are in stack/lines; here they become the neutral Attempt that the chain reads.
A line that is missing tells something only where the log shows the request and was read to its end.
"""

from __future__ import annotations

from dataclasses import dataclass

from ....stack.lines import same_request
from ... import counters, ranks
from ...attempt import Attempt
from ...case import Case
from ...side import Side
from . import waiting

LOOKUP = ("looked_up", "below_min_retrieve")


@dataclass(frozen=True)
class _Scene:
    """What holds for all trials of a case.

    alone: all lookups in the receiver's log between this run's first and last are its own.
    disturbed: one of its requests ran into the time-out.  lying: counters contradict cached_tokens.
    """

    case: Case
    alone: bool
    disturbed: bool
    lying: bool


def observe(case: Case) -> list[Attempt]:
    """One Attempt per fresh prompt, in the order they were sent."""
    scene = _Scene(case, _alone(case), waiting.disturbed(case), counters.contradicts_cached_tokens(case, case.receiver))
    return [_attempt(scene, trial) for trial in case.trials]


def never_seen_hit(case: Case) -> int | None:
    """Tokens that the never-seen control hit; None: it was not sent or could not be read."""
    return _control_hit(case, case.probe.get("never_seen"))


def unseen_by_receiver(case: Case, trial: dict) -> bool:
    """The holder's log has the seed and the receiver's has the reuse, both are whole, and no lookup there can be the
    seed's: none has its id, and no other client's prompt is as long."""
    seed, reuse = trial.get("seed") or {}, trial.get("reuse") or {}
    holder, receiver, run = case.holder, case.receiver, case.probe.get("run_id")
    whole = all(side.log_readable and side.log.get("truncated") is False for side in case.sides)
    if not whole or not run or seed.get("prompt_tokens") is None:
        return False
    here = holder.events_of(case.ids(seed), "stored", *LOOKUP) and receiver.events_of(case.ids(reuse), *LOOKUP)
    astray = receiver.events_of(case.ids(seed)) or holder.events_of(case.ids(reuse), "stored", *LOOKUP)
    others = [e for e in receiver.events if e.get("kind") in LOOKUP and run not in (e.get("id") or "")]
    return bool(here) and not astray and all(e.get("total") not in (None, seed["prompt_tokens"]) for e in others)


def _attempt(scene: _Scene, trial: dict) -> Attempt:
    case = scene.case
    seed, reuse = trial.get("seed") or {}, trial.get("reuse")
    visible = trial.get("visible") or {}
    attempt = Attempt(
        index=trial.get("index") or 0,
        expected=case.expected_hit(trial),
        seed_error=seed.get("error"),
        reuse_error=(reuse or {}).get("error"),
        sent=reuse is not None,
        stored=_stored(case.holder, case.ids(seed)),
        announced=visible.get("reached") if visible.get("how") == "key_count" else None,
        disturbed=scene.disturbed,
    )
    if reuse is not None:
        _receiver(scene, attempt, trial, reuse)
        _holder(case, attempt, case.ids(seed), case.ids(reuse))
        attempt.lost_answer = _answer_lost(scene, attempt, trial)
    if trial.get("knockout_how") != "none":  # a prompt_logprobs recompute is no control: it may look up and hit
        attempt.control_hits = {"knockout": _control_hit(case, trial.get("knockout"))}
    return attempt


def _stored(holder: Side, ids: tuple[str, ...]) -> int | None:
    """Tokens of the seed by the holder's log, summed: chunked prefill stores in steps, and every rank says so."""
    if not _covers(holder, ids):
        return None
    stored = [e.get("tokens") or 0 for e in holder.events_of(ids, "stored")]
    if not stored and any(e.get("kind") == "stored" and not e.get("id") for e in holder.events):
        return None  # up to 0.3.15 these lines carry no id
    return sum(stored) // min(ranks.count(holder), len(stored) or 1)


def _receiver(scene: _Scene, attempt: Attempt, trial: dict, reuse: dict) -> None:
    """What the receiver's log, its response and its counters say of the reuse."""
    case, receiver, ids = scene.case, scene.case.receiver, scene.case.ids(reuse)
    attempt.cached = None if scene.lying else reuse.get("cached_tokens")
    attempt.counted = counters.none_hit(case, receiver) if attempt.cached is None else None
    timed_out = bool(receiver.events_of(ids, "lookup_timed_out"))
    attempt.timed_out = timed_out or None
    errors = receiver.events_of(ids, "peer_error")
    attempt.peer_error = next((e.get("code") or e.get("line") or e["kind"] for e in errors), None)
    attempt.peer_lost = bool(receiver.events_of(ids, "retry_exhausted", "ensure_peer_failed", "peer_get_failed"))
    lookup = receiver.events_of(ids, *LOOKUP)
    if not lookup:
        if attempt.cached and not waiting.sooner(case, reuse):
            attempt.cached = None
        if not timed_out and attempt.loaded == 0:
            attempt.timed_out, attempt.slow = waiting.timed_out_or_slow(case, trial)
        return
    last = lookup[-1]
    attempt.logged, attempt.timed_out = True, timed_out
    attempt.hit, attempt.need, attempt.computed = last.get("hit"), last.get("need"), last.get("computed")
    attempt.below_min = last.get("kind") == "below_min_retrieve"
    attempt.retrieved = _retrieved(receiver, ids, last)
    responded = receiver.events_of(ids, "responded")
    attempt.responded = responded[-1].get("length") if responded else None
    attempt.layouts = layouts_of(scene, reuse)
    if attempt.layouts is not None and not any(e.get("kind") == "lookup_timed_out" for e in receiver.events):
        attempt.named = any(e.get("chunks") and _is_holder(case, e) for e in attempt.layouts)


def _retrieved(receiver: Side, ids: tuple[str, ...], lookup: dict) -> int | None:
    """Tokens loaded.  Every rank has a line of its own and needs all of them, so the least counts; unknown where a
    rank's line is missing, or of how many there are is not known.  With MLA one rank may load for all.

    Without a line, 0 where the lookup found nothing to load; else unknown: the line may not have been read.
    """
    lines = receiver.events_of(ids, "retrieved") or _unnamed_after(receiver, lookup)
    if lines and not receiver.meta("use_mla") and (receiver.ranks is None or len(lines) < receiver.ranks):
        return None
    if lines:
        tokens = [e["tokens"] for e in lines if e.get("tokens") is not None]
        return min(tokens) if len(tokens) == len(lines) else None
    need = lookup.get("need")
    nothing = lookup.get("hit") == 0 or lookup.get("kind") == "below_min_retrieve" or (need is not None and need <= 0)
    return 0 if nothing else None


def _unnamed_after(receiver: Side, lookup: dict) -> list[dict]:
    """Load lines without an id, as older versions write them, between this lookup and the next."""
    lines = []
    for event in receiver.events[receiver.events.index(lookup) + 1 :]:
        if event.get("kind") in LOOKUP:
            break
        if event.get("kind") == "retrieved" and not event.get("id"):
            lines.append(event)
    return lines


def _holder(case: Case, attempt: Attempt, seed_ids: tuple[str, ...], ids: tuple[str, ...]) -> None:
    """Whether the holder was asked for this id, and could serve it."""
    if case.holder.events_of(ids, "peer_asked"):
        attempt.asked = True
    elif _covers(case.holder, seed_ids):
        attempt.asked = False
    failed = case.holder.events_of(ids, "peer_get_failed")
    if failed and not attempt.peer_error:
        attempt.peer_error = failed[-1].get("text") or failed[-1].get("line") or "peer_get_failed"


def _covers(holder: Side, seed_ids: tuple[str, ...]) -> bool:
    """The holder's log shows this trial's seed at INFO and goes on to its end: a missing line tells something."""
    whole = holder.log_readable and holder.log.get("truncated") is False
    return whole and bool(holder.events_of(seed_ids, "stored", *LOOKUP))


def layouts_of(scene: _Scene, request: dict | None) -> list[dict] | None:
    """Controller answers that belong to this request, judged by their place: the line carries no id.

    They stand between the lookup line of the request before and this one's, or, when they came after the
    time-out, right before this id's "responded" line.  None where others' lookups stand between: then the place
    tells nothing.
    """
    if not scene.alone:
        return None
    answers, pending, ids = [], [], scene.case.ids(request)
    for event in scene.case.receiver.events:
        kind = event.get("kind")
        if kind == "layout":
            pending.append(event)
        elif kind in (*LOOKUP, "responded"):
            if any(same_request(request_id, event.get("id")) for request_id in ids):
                answers += pending
            pending = []
    return answers


def _alone(case: Case) -> bool:
    receiver, run = case.receiver, case.probe.get("run_id")
    if not receiver.log_readable or receiver.log.get("truncated") is not False:
        return False
    known = {id(e) for request in case.requests() for e in receiver.events_of(case.ids(request))}
    lookups = [e for e in receiver.events if e.get("kind") in (*LOOKUP, "responded")]
    ours = [id(e) in known or bool(run and run in (e.get("id") or "")) for e in lookups]
    if True not in ours:
        return False
    first, last = ours.index(True), len(ours) - ours[::-1].index(True)
    return all(ours[first:last])


def _is_holder(case: Case, layout: dict) -> bool:
    """Whether a controller's answer names this pair's holder, by its instance or by an address of its own."""
    if case.holder.instance_id:
        return layout.get("instance") == case.holder.instance_id
    host = (layout.get("peer") or "").rpartition(":")[0].strip("[]")
    return host in case.holder.hosts - case.receiver.hosts


def _control_hit(case: Case, request: dict | None) -> int | None:
    """Tokens that a control hit, by the receiver's log or its response, the more counting, else by idle counters."""
    if not request or request.get("error"):
        return None
    hits = [request.get("cached_tokens")]
    for lookup in case.receiver.events_of(case.ids(request), *LOOKUP)[-1:]:
        hits += [lookup.get("hit"), lookup.get("computed") if lookup.get("hit") is not None else None]
    known = [tokens for tokens in hits if tokens is not None]
    return int(max(known)) if known else counters.none_hit(case, case.receiver)


def _answer_lost(scene: _Scene, attempt: Attempt, trial: dict) -> bool:
    """The controller knew the holder's chunks a moment later, but this lookup got the empty answer.

    Knock-out and repeat ask for the same hashes.  LMCache 0.5.6 takes replies off one socket without
    matching them to requests, so an answer can go to the wrong lookup (worker.py, async_put_and_wait_msg).
    """
    if attempt.asked or not attempt.layouts or any(e.get("chunks") for e in attempt.layouts):
        return False
    later = [e for role in ("knockout", "repeat") for e in layouts_of(scene, trial.get(role)) or []]
    return any(e.get("chunks") and _is_holder(scene.case, e) for e in later)
