# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..pasted import HINT, KEYS, SETTING, UNSET, Sign
from . import Attempt, Case, Finding, Sighting, Sightings, strength

FINDING = Finding(
    slug="hash-seed-differs",
    link=4,
    kind="cause",
    rank=30,
    title="The nodes hash tokens with different seeds",
    meaning=(
        "Chunk keys are hashes. With another PYTHONHASHSEED the same tokens get other keys, and no chunk is ever found."
        " Where it is not set every process draws its own."
    ),
    evidence="`Initialized NONE_HASH=…` in each engine's log; else PYTHONHASHSEED of each process.",
    remedy=(
        "Start every engine and the controller with the same PYTHONHASHSEED (any fixed number), "
        "or choose a hash without a seed."
    ),
    source="LMCache 0.5.6 token_database.py:169 and 311, vLLM 0.32 kv_cache_utils.py:130",
    explains=frozenset(["missed", "timed-out", "slow"]),
    cause_class="HASH_SEED",
    cannot="Whether there is a second cause; it would show only after this one is removed.",
    compares=KEYS,
)


SEED = "PYTHONHASHSEED"
RANDOM = ("not set", "random")  # each process draws its own


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    holder, receiver = case.sides
    settings = [side.setting("pre_caching_hash_algorithm") for side in case.sides]
    algorithms = [setting for setting in settings if setting]
    if len(algorithms) == 2 and algorithms[0].value != algorithms[1].value:
        return  # NONE_HASH is what the algorithm makes of the seed, so it differs anyhow
    if holder.none_hash and receiver.none_hash:
        if holder.none_hash != receiver.none_hash:
            yield Sighting(
                receiver.name,
                f"NONE_HASH={holder.none_hash}, as on {holder.name}",
                f"NONE_HASH={receiver.none_hash}",
                _seeds(case),
            )
        return
    seeds = [_seed(side) for side in case.sides]
    if None in seeds or len(algorithms) < 2 or {str(a.value) for a in algorithms} != {"builtin"}:
        return
    if seeds[0] != seeds[1] or seeds[0] in RANDOM:  # unset on both, each process makes up its own
        yield Sighting(
            receiver.name,
            "the same fixed PYTHONHASHSEED on both nodes",
            f"{SEED} is {seeds[0]} on {holder.name} and {seeds[1]} on {receiver.name}",
            _seeds(case),
            strength=strength(*algorithms),
        )


def _seed(side):
    env = (side.node.get("engine") or {}).get("env")
    return None if env is None else str(env.get(SEED) or RANDOM[0])


def _seeds(case):
    seeds = [_seed(side) for side in case.sides]
    if None in seeds or seeds[0] == seeds[1]:
        return "the same tokens get other keys on the two nodes"
    return f"{SEED} is {seeds[0]} on {case.holder} and {seeds[1]} on {case.receiver}"


def pasted(material):
    seed, algorithm = material.env(SEED), material.values("pre_caching_hash_algorithm")
    if material.peers_found or any(lookup.hit for lookup in material.lookups) or seed not in (None, UNSET):
        return
    # from 0.29 on vLLM seeds the cryptographic hashes alike in every process
    seeded = bool(algorithm) and algorithm != ["builtin"] and material.version_within("vllm", (0,), (0, 29)) is not True
    for role, line in material.lines("seed_needed"):
        yield Sign(role, line, HINT if seeded else SETTING)
        return
    for role, line in material.lines("seed_random"):
        yield Sign(role, line, SETTING if material.is_shared and material.misses and not seeded else HINT)
    if seed == UNSET:
        old = bool(algorithm) and material.version_within("lmcache", (0,), (0, 4)) is True
        sure = material.is_shared and (not algorithm or not seeded or old)
        role, *_others = [node.role for node in material.nodes if UNSET in node.stated.env.get(SEED, [])]
        yield Sign(role, f"{SEED} is not set", SETTING if sure else HINT)
