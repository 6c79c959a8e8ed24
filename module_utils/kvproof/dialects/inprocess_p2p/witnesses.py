# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""In-process P2P: what each trial's log lines, responses and controller answers say about the chain.

LMCache 0.3.7 to 0.5.x.  Log lines are in lines.py; here they become the neutral Attempt that the chain reads.
"""

from __future__ import annotations

from ...attempt import Attempt
from ...case import Case, Side, is_id

LOOKUP_TIMEOUT_S = 3.0  # lookup_timeout_ms, default of LMCache 0.5.6


def observe(case: Case) -> list[Attempt]:
    """One Attempt per fresh prompt, in the order they were sent."""
    return [_attempt(case, trial) for trial in case.trials]


def _attempt(case: Case, trial: dict) -> Attempt:
    holder, receiver = case.holder, case.receiver
    seed, reuse = trial.get("seed") or {}, trial.get("reuse") or {}
    reuse_id, seed_id = reuse.get("response_id"), seed.get("response_id")
    seen = Attempt(
        index=trial.get("index", 0),
        expected=case.expected_hit(trial),
        seed_error=seed.get("error"),
        reuse_error=reuse.get("error"),
        cached=reuse.get("cached_tokens"),
    )

    if holder.events_of(seed_id):
        seen.stored = sum(e.get("tokens", 0) for e in holder.events_of(seed_id, "stored"))
    visible = trial.get("visible") or {}
    if visible.get("how") == "key_count":
        seen.announced = bool(visible.get("reached"))

    lookup = receiver.events_of(reuse_id, "looked_up", "below_min_retrieve")
    if lookup:
        seen.logged = True
        seen.hit, seen.need = lookup[-1].get("hit"), lookup[-1].get("need")
        seen.computed = lookup[-1].get("computed")
        seen.below_min = lookup[-1].get("kind") == "below_min_retrieve"
        seen.retrieved = sum(e.get("tokens", 0) for e in receiver.events_of(reuse_id, "retrieved"))
        seen.timed_out = bool(receiver.events_of(reuse_id, "lookup_timed_out"))
        responded = receiver.events_of(reuse_id, "responded")
        seen.responded = responded[-1].get("length") if responded else None
        seen.layouts = layouts_of(receiver, reuse_id)
        seen.peer_error = next(
            (e.get("code") or e.get("line") for e in receiver.events_of(reuse_id, "peer_error")), None
        )
    elif not reuse.get("error"):
        seen.timed_out = _looks_timed_out(case, reuse)

    if _holder_log_covers(holder, seed_id):
        seen.asked = bool(holder.events_of(reuse_id, "peer_asked"))
        failed = holder.events_of(reuse_id, "peer_get_failed")
        if failed and not seen.peer_error:
            seen.peer_error = failed[-1].get("text")
    seen.lost_answer = _answer_lost(seen, receiver, trial)
    if trial.get("knockout_how") == "tag":  # a prompt_logprobs recompute is no control: it may look up and hit
        seen.control_hits = {"knockout": _control_hit(receiver, trial.get("knockout"))}
    return seen


def never_seen_hit(case: Case) -> int | None:
    """Tokens that the never-seen control hit; None: it was not sent or could not be read."""
    return _control_hit(case.receiver, case.probe.get("never_seen"))


def layouts_of(receiver: Side, response_id: str | None) -> list[dict]:
    """Controller answers that belong to this request, judged by their place: the line carries no id.

    They stand between the lookup line of the request before and this one's, or, when they came after the
    time-out, right before this id's "responded" line.
    """
    found, pending = [], []
    for event in receiver.events:
        kind = event.get("kind")
        if kind == "layout":
            pending.append(event)
        elif kind in ("looked_up", "below_min_retrieve", "responded"):
            if is_id(event.get("id"), response_id or "\0"):
                found += pending
            pending = []
    return found


def _holder_log_covers(holder: Side, seed_id: str | None) -> bool:
    """The holder's log shows this trial's seed request, so a missing line means that nothing happened."""
    return holder.log_readable and bool(holder.events_of(seed_id))


def _control_hit(receiver: Side, request: dict | None) -> int | None:
    if not request or request.get("error"):
        return None
    lookup = receiver.events_of(request.get("response_id"), "looked_up", "below_min_retrieve")
    if lookup:
        return max(lookup[-1].get("hit") or 0, lookup[-1].get("computed") or 0)
    return request.get("cached_tokens")


def _looks_timed_out(case: Case, reuse: dict) -> bool | None:
    """Without the log: an answer that came no sooner than the lookup time-out, with nothing reused."""
    setting = case.receiver.setting("lookup_timeout_ms")
    limit = float(setting.value) / 1000 if setting and setting.value else LOOKUP_TIMEOUT_S
    ttft = reuse.get("ttft_s")
    if ttft is None or reuse.get("cached_tokens"):
        return None
    return ttft >= 0.95 * limit


def _answer_lost(seen: Attempt, receiver: Side, trial: dict) -> bool:
    """The controller knew the chunks a moment later, but this lookup got the empty answer.

    Knock-out and repeat ask for the same hashes.  LMCache 0.5.6 takes replies off one socket without
    matching them to requests, so an answer can go to the wrong lookup (worker.py, async_put_and_wait_msg).
    """
    if seen.asked or not seen.layouts or any(e.get("chunks") for e in seen.layouts):
        return False
    others = [trial.get(role) or {} for role in ("knockout", "repeat")]
    return any(e.get("chunks") for other in others for e in layouts_of(receiver, other.get("response_id")))
