# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The chain of proof: thirteen links, each holds, holds (inferred), broken, unknown or not needed.

Outcomes decide, conditions explain.  Evidence of this very request that lies downstream entails what lies
upstream; the witnesses of 8 and 9 locate a break and never create one.
"""

from __future__ import annotations

from dataclasses import dataclass

from .dialects import never_seen_hit
from .outcomes import case_output, case_speed

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
COMPARED = ("chunk_size", "pre_caching_hash_algorithm", "enable_p2p", "enable_async_loading")


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
    shown = proven[0] if proven else next((a for a in attempts if a.outcome != "error"), None)
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
    if not all(side.engine for side in case.sides):
        return Link(1, UNKNOWN, "not tried")
    ssh = {side.node.get("ssh") for side in case.sides}
    note = {True: "HTTP and SSH answer", False: "HTTP answers"}[ssh == {"ok"}]
    lost = [side.name for side in case.sides if side.node.get("ssh") == "unreachable"]
    return Link(1, HOLDS, note + (f"; no SSH to {' and '.join(lost)}" if lost else ""))


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
    same, unseen = [], []
    if case.holder.none_hash and case.holder.none_hash == case.receiver.none_hash:
        same.append("NONE_HASH")
    for key in COMPARED:
        one, other = (side.setting(key) for side in case.sides)
        if one is None or other is None:
            unseen.append(key)
        elif one.value == other.value:
            same.append(f"{key} {one.value}")
    if len(same) > len(COMPARED):
        return Link(4, HOLDS, ", ".join(same))
    if proven:
        return Link(
            4,
            INFERRED,
            "chunk keys match, or nothing would have been found" + (f"; seen alike: {', '.join(same)}" if same else ""),
        )
    return Link(4, UNKNOWN, "not seen on both: " + ", ".join(unseen or ["NONE_HASH"]))


def _registered(case, proven) -> Link:
    if case.workers is not None:
        ids = {w.get("instance_id") for w in case.workers}
        known = [side.instance_id for side in case.sides]
        if all(known) and set(known) <= ids:
            return Link(5, HOLDS, f"controller lists {known[0]} and {known[1]}")
    if proven:
        return Link(5, INFERRED, "the receiver was told of the holder")
    return Link(
        5,
        UNKNOWN,
        "the controller's workers were not seen"
        if case.workers is None
        else "not matched with the controller's workers",
    )


def _valid(case, attempts, invalid: str | None) -> Link:
    if invalid:
        return Link(6, BROKEN, invalid)
    if not attempts:
        return Link(6, UNKNOWN, "no trial")
    never = never_seen_hit(case)
    controls = [a.control_hits.get("knockout") for a in attempts]
    read = sum(1 for hit in controls if hit == 0)
    if never == 0 or read:
        parts = ([f"{read} knock-outs"] if read else []) + (["never-seen control"] if never == 0 else [])
        return Link(
            6,
            HOLDS,
            f"{' and '.join(parts)} show no hit; {case.trials[0].get('prefix_tokens')} tokens in common, new to both",
        )
    return Link(6, UNKNOWN, "controls could not be read")


def _outcomes(case, seen, attempts) -> list[Link]:
    holder, receiver, expected = case.holder.name, case.receiver.name, seen.expected
    links = []
    if seen.stored is None:
        links.append(Link(7, UNKNOWN, f"no log of {holder} shows the seed"))
    else:
        links.append(Link(7, HOLDS if seen.stored else BROKEN, f"{holder} stored {seen.stored} tokens"))
    if seen.announced:
        waited = [t["visible"].get("waited_s") for t in case.trials if (t.get("visible") or {}).get("reached")]
        when = (
            f" after {min(w for w in waited if w is not None) * 1000:.0f} ms"
            if any(w is not None for w in waited)
            else ""
        )
        links.append(Link(8, HOLDS, f"controller's key count of {holder} rose{when}"))
    else:
        links.append(
            Link(8, UNKNOWN, "the key count did not rise" if seen.announced is False else "key count not seen")
        )
    named = [e for e in seen.layouts or [] if e.get("chunks")]
    if named:
        links.append(Link(9, HOLDS, f"controller named {named[-1].get('instance')} with {named[-1]['chunks']} chunks"))
    elif seen.layouts:
        links.append(Link(9, UNKNOWN, "the controller's answer was empty"))
    else:
        links.append(
            Link(
                9,
                UNKNOWN,
                "no controller answer in the log" if seen.logged else f"no log of {receiver} shows the reuse",
            )
        )
    if seen.from_peer and seen.loaded:
        witness = seen.transfer_witness or (
            f"{holder} was asked for this id" if seen.asked else f"{receiver} got {seen.responded} tokens from the peer"
        )
        links.append(Link(10, HOLDS, witness))
    elif seen.peer_error:
        links.append(Link(10, UNKNOWN, f"the peer answered {seen.peer_error}"))
    else:
        links.append(
            Link(10, UNKNOWN, "no transfer seen for this id" if seen.asked is False or seen.logged else "not seen")
        )
    if seen.loaded:
        by = "of this request" if seen.logged else "by the response's cached_tokens"
        links.append(Link(11, HOLDS, f"{seen.loaded} of {expected} tokens loaded, {by}; {_share(attempts)}"))
    else:
        links.append(
            Link(
                11,
                UNKNOWN,
                "whether tokens were reused is unknown"
                if seen.loaded is None
                else f"0 of {expected} tokens; {_share(attempts)}",
            )
        )
    return links


def _share(attempts) -> str:
    return f"{sum(1 for a in attempts if a.outcome == 'proven')} of {len(attempts)} fresh prompts proven"


def _right(case, attempts) -> Link:
    verdict = case_output(case, attempts)
    state = {"equal": HOLDS, "differs": BROKEN}.get(verdict.state, UNKNOWN)
    return Link(12, state, verdict.text)


def _worth(case, attempts) -> Link:
    speed = case_speed(case, attempts)
    if speed is None:
        return Link(13, UNKNOWN, "no pair of reused and recomputed requests to compare")
    reused, recomputed = speed["reused_s"] * 1000, speed["recomputed_s"] * 1000
    text = f"TTFT {reused:.0f} ms reused, {recomputed:.0f} ms recomputed ({speed['speedup']:.2f}x)"
    return Link(
        13,
        HOLDS if speed["speedup"] > 1 else UNKNOWN,
        text + ("" if speed["speedup"] > 1 else ": not faster at this length"),
    )
