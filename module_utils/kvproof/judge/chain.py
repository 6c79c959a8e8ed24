# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The chain of proof: thirteen links, each holds, holds (inferred), broken, unknown or not needed.

Outcomes decide, conditions explain.  Evidence of this very request that lies downstream entails what lies
upstream; the witnesses of 8 and 9 locate a break and never create one.
"""

from __future__ import annotations

from .apart import why_not_counted
from .attempt import Attempt
from .case import Case
from .dialects import dialect_of
from .interval import interval_text
from .limits import UNDECIDED, checked
from .link import BROKEN, HOLDS, INFERRED, NOT_NEEDED, UNKNOWN, Link, tokens
from .output import case_output, unread_controls
from .timing import case_speed


def build(case: Case, attempts: list[Attempt], broken_links: dict[int, str], invalid: str | None) -> list[Link]:
    """The chain of a pair.

    broken_links: link number → text, from the findings that the judge holds to be causes or failures.
    invalid: text of the first finding that makes the experiment invalid, None when it is valid.
    """
    dialect = dialect_of(case)
    proven = [a for a in attempts if a.outcome == "proven"]
    by_peer = [a for a in proven if not a.way]
    example = (
        (by_peer or proven)[0] if proven else next((a for a in attempts if a.outcome not in ("error", "unsent")), None)
    )
    links = [
        _reachable(case),
        _engine(case),
        dialect.cache_layer(case, by_peer),
        dialect.alike(case, proven),
        dialect.registered(case, by_peer),
        _valid(case, attempts, invalid),
    ]
    nothing = [Link(n, UNKNOWN, "nothing was sent") for n in range(7, 12)]
    links += _outcomes(case, example, attempts) if example else nothing
    links += [_right(case, attempts), _worth(case, attempts)]
    if proven and not by_peer:
        _by_any_way(case, links, proven[0])
    return _with_breaks(links, broken_links, by_peer)


def _by_any_way(case: Case, links: list[Link], attempt: Attempt) -> None:
    """What KV of the holder at the receiver tells where nobody saw it come from the peer."""
    for link in links:
        if link.number == 7 and link.state != HOLDS:
            link.state, link.text = INFERRED, f"{case.receiver} loaded what {case.holder} alone had computed"
        elif link.number in (3, 5, 8, 9) and link.state != HOLDS:
            link.state, link.text = NOT_NEEDED, "KV may come from anywhere (kv_reuse_source: any)"
        elif link.number == 10 and link.state != HOLDS:
            link.state, link.text = INFERRED, f"it reached {case.receiver}: {attempt.way}"


def _with_breaks(links: list[Link], broken: dict[int, str], proven: list) -> list[Link]:
    """Marks what the findings broke, infers upstream from a reuse proven to be the peer's, and drops what was never
    reached."""
    for link in links:
        if link.number in broken:
            link.state, link.text = BROKEN, broken[link.number]
        elif link.number in (7, 8, 9) and proven and link.state not in (HOLDS, NOT_NEEDED):
            link.state, link.text = INFERRED, "the receiver loaded this prompt's KV from the peer"
    first = next((link.number for link in links if link.state == BROKEN), None)
    if first is None:
        return links
    for link in links:
        if link.number > first and link.number != 6 and link.state == UNKNOWN:
            link.state = NOT_NEEDED
    return links


def _reachable(case: Case) -> Link:
    down = [side.name for side in case.sides if side.engine and side.engine.get("reachable") is False]
    if down:
        return Link(1, UNKNOWN, "no HTTP answer from " + " and ".join(down))
    shut = [side.name for side in case.sides if side.engine.get("reachable") is None and side.engine.get("error")]
    if shut:
        return Link(1, UNKNOWN, "no SSH tunnel to " + " and ".join(shut))
    if not all(side.engine for side in case.sides):
        return Link(1, UNKNOWN, "not tried")
    ssh = {side.node.get("ssh") for side in case.sides}
    note = {True: "HTTP and SSH answer", False: "HTTP answers"}[ssh == {"ok"}]
    unreachable = [side.name for side in case.sides if side.node.get("ssh") == "unreachable"]
    unread = [side.name for side in case.sides if side.node.get("ssh") == "failed"]
    note += f"; no SSH to {' and '.join(unreachable)}" if unreachable else ""
    note += f"; could not read {' and '.join(unread)}" if unread else ""
    return Link(1, HOLDS, note)


def _engine(case: Case) -> Link:
    engines = [side.engine for side in case.sides]
    if all((e.get("health") or {}).get("status") == 200 and e.get("model") for e in engines):
        return Link(2, HOLDS, f"/health 200, {engines[0]['model']} served on both")
    if all(e.get("model") for e in engines):
        return Link(2, HOLDS, f"{engines[0]['model']} served on both")
    return Link(2, UNKNOWN, "not seen on both engines")


def _valid(case: Case, attempts: list[Attempt], invalid: str | None) -> Link:
    if invalid:
        return Link(6, BROKEN, invalid)
    if not attempts:
        return Link(6, UNKNOWN, "no trial")
    never = dialect_of(case).never_seen_hit(case)
    missed = sum(1 for a in attempts if a.control_hits.get("knockout") == 0)
    if unread_controls(case, attempts, never) or not (never == 0 or missed):
        return Link(6, UNKNOWN, "controls could not be read")
    parts = [f"{missed} knock-outs"] * bool(missed) + ["the never-seen control"] * (never == 0)
    common = case.trials[0].get("prefix_tokens")
    shorter = f" ({case.prompt['shortened']})" if case.prompt.get("shortened") else ""
    text = f"{' and '.join(parts)} show no hit; {tokens(common)} in common{shorter}, new to both"
    if any(a.way for a in attempts):
        witness = "the receiver's log" if why_not_counted(case) else "prompt tokens counted"
        text += f"; the seeds went to {case.holder} alone by {witness}"
    return Link(6, HOLDS, text)


def _outcomes(case: Case, attempt: Attempt, attempts: list[Attempt]) -> list[Link]:
    return [
        dialect_of(case).stored(case, attempt),
        dialect_of(case).announced(case, attempt),
        dialect_of(case).found(case, attempt),
        _transferred(case, attempt),
        _loaded(attempt, attempts),
    ]


def _transferred(case: Case, attempt: Attempt) -> Link:
    if attempt.from_peer and attempt.loaded:
        by_holder = f"{case.holder} was asked for this id"
        witness = by_holder if attempt.asked else f"{case.receiver} got {attempt.responded} tokens from the peer"
        return Link(10, HOLDS, attempt.transfer_witness or witness)
    if attempt.peer_error:
        return Link(10, UNKNOWN, f"the peer answered {attempt.peer_error}")
    return Link(10, UNKNOWN, "no transfer seen for this id" if attempt.asked is False or attempt.logged else "not seen")


def _loaded(attempt: Attempt, attempts: list[Attempt]) -> Link:
    if attempt.loaded is None:
        return Link(11, UNKNOWN, "whether tokens were reused is unknown")
    share = f"{sum(1 for a in attempts if a.outcome == 'proven')} of {len(attempts)} fresh prompts proven"
    amount = f"{attempt.loaded} of {tokens(attempt.expected)}"
    if not attempt.loaded:
        return Link(11, UNKNOWN, f"{amount}; {share}")
    by = "by the response's cached_tokens" if attempt.cached is not None else "by its counters around this request"
    by = "of this request" if attempt.logged else by
    return Link(11, HOLDS, f"{amount} loaded, {by}; {share}")


def _right(case: Case, attempts: list[Attempt]) -> Link:
    verdict = case_output(case, attempts)
    state = {"equal": HOLDS, "differs": BROKEN}.get(verdict.state, UNKNOWN)
    return Link(12, state, verdict.text)


def _worth(case: Case, attempts: list[Attempt]) -> Link:
    speed = case_speed(case, attempts)
    if speed is None:
        return Link(13, UNKNOWN, "no pair of reused and recomputed requests to compare")
    reused, recomputed = speed["reused_s"] * 1000, speed["recomputed_s"] * 1000
    sure = f", 95 %: {interval_text(speed['interval'])}x" if speed["interval"] else ""
    text = f"TTFT {reused:.0f} ms reused, {recomputed:.0f} ms recomputed ({speed['speedup']:.2f}x{sure})"
    if speed["speedup"] <= 1:
        return Link(13, UNKNOWN, text + ": not faster at this length")
    undecided = [limit.name for limit in checked(case, attempts) if limit.state == UNDECIDED]
    if undecided:
        return Link(13, UNKNOWN, f"{text}: not enough to decide on {' and '.join(undecided)}")
    return Link(13, HOLDS, text)
