# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The chain of proof: thirteen links, each holds, holds (inferred), broken, unknown or not needed.

Outcomes decide, conditions explain.  Evidence of this very request that lies downstream entails what lies
upstream; the witnesses of 8 and 9 locate a break and never create one.
"""

from __future__ import annotations

from dataclasses import dataclass

from .dialects import never_seen_hit
from .interval import shown
from .limits import UNDECIDED, checked
from .outcomes import case_output, case_speed, unread_controls

HOLDS, INFERRED, BROKEN, UNKNOWN, NOT_NEEDED = "holds", "holds (inferred)", "broken", "unknown", "not needed"

NAMES = {
    1: ("reachable", "condition"),
    2: ("engine up", "condition"),
    3: ("cache layer up", "condition"),
    4: ("configured alike", "condition"),
    5: ("registered", "condition"),
    6: ("experiment valid", "validity"),
    7: ("stored", "outcome"),
    8: ("announced", "outcome"),
    9: ("found", "outcome"),
    10: ("transferred", "outcome"),
    11: ("loaded", "outcome"),
    12: ("right", "outcome"),
    13: ("worth it", "performance"),
}
SAME = ("chunk_size", "pre_caching_hash_algorithm")
ON = ("enable_p2p", "enable_async_loading")
SAME_MODEL = ("model_name", "kv_dtype", "world_size")


@dataclass
class Link:
    """One link: number, name, kind, state and one sentence of what was seen."""

    number: int
    state: str
    text: str

    @property
    def name(self) -> str:
        return NAMES[self.number][0]

    @property
    def kind(self) -> str:
        return NAMES[self.number][1]


def build(case, attempts, broken_links: dict[int, str], invalid: str | None) -> list[Link]:
    """The chain of a pair.

    broken_links: link number → text, from the findings that the judge holds to be causes or failures.
    invalid: text of the first finding that makes the experiment invalid, None when it is valid.
    """
    proven = [a for a in attempts if a.outcome == "proven"]
    shown = proven[0] if proven else next((a for a in attempts if a.outcome not in ("error", "unsent")), None)
    links = [
        _reachable(case),
        _engine(case),
        _cache_layer(case, proven),
        _alike(case, proven),
        _registered(case, proven),
        _valid(case, attempts, invalid),
    ]
    links += _outcomes(case, shown, attempts) if shown else [Link(n, UNKNOWN, "nothing was sent") for n in range(7, 12)]
    links += [_right(case, attempts), _worth(case, attempts)]
    return _with_breaks(links, broken_links, proven)


def _with_breaks(links: list[Link], broken: dict[int, str], proven: list) -> list[Link]:
    """Marks what the findings broke, infers upstream from a proven reuse, and drops what was never reached."""
    for link in links:
        if link.number in broken:
            link.state, link.text = BROKEN, broken[link.number]
        elif link.number in (7, 8, 9) and proven and link.state != HOLDS:
            link.state, link.text = INFERRED, "the receiver loaded this prompt's KV from the peer"
    first = next((link.number for link in links if link.state == BROKEN), None)
    if first is None:
        return links
    for link in links:
        if link.number > first and link.number != 6 and link.state == UNKNOWN:
            link.state = NOT_NEEDED
    return links


def _reachable(case) -> Link:
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
    for state, what in (("unreachable", "no SSH to"), ("failed", "could not read")):
        lost = [side.name for side in case.sides if side.node.get("ssh") == state]
        note += f"; {what} {' and '.join(lost)}" if lost else ""
    return Link(1, HOLDS, note)


def _engine(case) -> Link:
    engines = [side.engine for side in case.sides]
    if all((e.get("health") or {}).get("status") == 200 and e.get("model") for e in engines):
        return Link(2, HOLDS, f"/health 200, {engines[0]['model']} served on both")
    if all(e.get("model") for e in engines):
        return Link(2, HOLDS, f"{engines[0]['model']} served on both")
    return Link(2, UNKNOWN, "not seen on both engines")


def _cache_layer(case, proven) -> Link:
    if all("P2PBackend" in (side.backends or []) for side in case.sides):
        return Link(3, HOLDS, "LMCache up with a P2P backend on both")
    if proven:
        return Link(3, INFERRED, "a P2P reuse needs LMCache on both")
    unseen = [side.name for side in case.sides if side.backends is None]
    return Link(3, UNKNOWN, ("backends not seen on " + " and ".join(unseen)) if unseen else "no P2P backend seen")


def _alike(case, proven) -> Link:
    """Settings that both nodes must have alike; seen is what was read on both."""
    pairs = {"NONE_HASH": (case.holder.none_hash, case.receiver.none_hash)}
    for key in (*SAME, *ON):
        found = [side.flag(key) if key in ON else side.setting(key) for side in case.sides]
        pairs[key] = tuple(None if one is None else one.value for one in found)
    models = {key: tuple(side.meta(key) for side in case.sides) for key in SAME_MODEL}
    both = {key: values for key, values in {**pairs, **models}.items() if None not in values}
    alike = [key for key, (one, other) in both.items() if one == other and not (key in ON and not one)]
    shown = ", ".join(key if key in ("NONE_HASH", *SAME_MODEL) else f"{key} {both[key][0]}" for key in alike)
    if set(pairs) <= set(alike) and len(alike) == len(both):
        return Link(4, HOLDS, shown)
    if proven:
        rest = f"; seen alike: {shown}" if shown else ""
        return Link(4, INFERRED, "chunk keys match, or nothing would have been found" + rest)
    unseen = [key for key in pairs if key not in both]
    return Link(4, UNKNOWN, "not seen on both: " + ", ".join(unseen) if unseen else "seen, and not as it should be")


def _registered(case, proven) -> Link:
    known = [side.instance_id for side in case.sides]
    listed = {worker.get("instance_id") for worker in case.workers or []}
    if all(known) and known[0] != known[1] and set(known) <= listed:
        return Link(5, HOLDS, f"controller lists {known[0]} and {known[1]}")
    if proven:
        return Link(5, INFERRED, "the receiver was told of the holder")
    seen = "not matched with the controller's workers" if case.workers is not None else "no list of workers was seen"
    return Link(5, UNKNOWN, seen)


def _valid(case, attempts, invalid: str | None) -> Link:
    if invalid:
        return Link(6, BROKEN, invalid)
    if not attempts:
        return Link(6, UNKNOWN, "no trial")
    never = never_seen_hit(case)
    missed = sum(1 for a in attempts if a.control_hits.get("knockout") == 0)
    if unread_controls(case, attempts, never) or not (never == 0 or missed):
        return Link(6, UNKNOWN, "controls could not be read")
    parts = [f"{missed} knock-outs"] * bool(missed) + ["the never-seen control"] * (never == 0)
    common = case.trials[0].get("prefix_tokens")
    return Link(6, HOLDS, f"{' and '.join(parts)} show no hit; {_tokens(common)} in common, new to both")


def _outcomes(case, seen, attempts) -> list[Link]:
    return [
        _stored(case, seen),
        _announced(case, seen),
        _found(case, seen),
        _transferred(case, seen),
        _loaded(seen, attempts),
    ]


def _stored(case, seen) -> Link:
    if seen.stored is None:
        return Link(7, UNKNOWN, f"no log of {case.holder} shows the seed")
    return Link(7, HOLDS if seen.stored else UNKNOWN, f"{case.holder} stored {_tokens(seen.stored)}")


def _announced(case, seen) -> Link:
    if not seen.announced:
        return Link(8, UNKNOWN, "the key count did not rise" if seen.announced is False else "key count not seen")
    visible = [trial.get("visible") or {} for trial in case.trials]
    waited = [v["waited_s"] for v in visible if v.get("reached") and v.get("waited_s") is not None]
    when = f" after {min(waited) * 1000:.0f} ms" if waited else ""
    return Link(8, HOLDS, f"controller's key count of {case.holder} rose{when}")


def _found(case, seen) -> Link:
    named = [e for e in seen.layouts or [] if e.get("chunks")]
    if named:
        state = UNKNOWN if seen.named is False else HOLDS
        return Link(9, state, f"controller named {named[-1].get('instance')} with {named[-1]['chunks']} chunks")
    if not seen.logged:
        return Link(9, UNKNOWN, f"no log of {case.receiver} shows the reuse")
    if seen.layouts is None:
        return Link(9, UNKNOWN, "others' lookups stand between in the log")
    return Link(9, UNKNOWN, "the controller's answer was empty" if seen.layouts else "no controller answer in the log")


def _transferred(case, seen) -> Link:
    if seen.from_peer and seen.loaded:
        asked = f"{case.holder} was asked for this id"
        told = asked if seen.asked else f"{case.receiver} got {seen.responded} tokens from the peer"
        return Link(10, HOLDS, seen.transfer_witness or told)
    if seen.peer_error:
        return Link(10, UNKNOWN, f"the peer answered {seen.peer_error}")
    return Link(10, UNKNOWN, "no transfer seen for this id" if seen.asked is False or seen.logged else "not seen")


def _loaded(seen, attempts) -> Link:
    if seen.loaded is None:
        return Link(11, UNKNOWN, "whether tokens were reused is unknown")
    share = f"{sum(1 for a in attempts if a.outcome == 'proven')} of {len(attempts)} fresh prompts proven"
    amount = f"{seen.loaded} of {_tokens(seen.expected)}"
    if not seen.loaded:
        return Link(11, UNKNOWN, f"{amount}; {share}")
    by = "of this request" if seen.logged else "by the response's cached_tokens"
    return Link(11, HOLDS, f"{amount} loaded, {by}; {share}")


def _tokens(count: int | None) -> str:
    return "an unknown number of tokens" if count is None else f"{count} tokens"


def _right(case, attempts) -> Link:
    verdict = case_output(case, attempts)
    state = {"equal": HOLDS, "differs": BROKEN}.get(verdict.state, UNKNOWN)
    return Link(12, state, verdict.text)


def _worth(case, attempts) -> Link:
    speed = case_speed(case, attempts)
    if speed is None:
        return Link(13, UNKNOWN, "no pair of reused and recomputed requests to compare")
    reused, recomputed = speed["reused_s"] * 1000, speed["recomputed_s"] * 1000
    sure = f", 95 %: {shown(speed['interval'])}x" if speed["interval"] else ""
    text = f"TTFT {reused:.0f} ms reused, {recomputed:.0f} ms recomputed ({speed['speedup']:.2f}x{sure})"
    if speed["speedup"] <= 1:
        return Link(13, UNKNOWN, text + ": not faster at this length")
    undecided = [one.name for one in checked(case, attempts) if one.state == UNDECIDED]
    if undecided:
        return Link(13, UNKNOWN, f"{text}: not enough to decide on {' and '.join(undecided)}")
    return Link(13, HOLDS, text)
