# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..pasted import HINT, PROOF, Sign
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="prefix-cache-masks",
    link=6,
    kind="validity",
    rank=20,
    title="The engine's own prefix cache answered",
    meaning=(
        "vLLM had the prefix itself, so nothing was fetched and nothing about P2P was tested. `need to load` is then "
        "0, or negative, since LMCache counts in chunks and vLLM in blocks."
    ),
    evidence="`Inference Engine computed tokens` above 0 and `need to load` 0 for the reuse request.",
    remedy=(
        "Let the probe use fresh prompts (it does by default); a proxy that sends both requests "
        "to one engine does this too: probe the engines directly."
    ),
    source="LMCache 0.5.6 vllm_v1_adapter.py:1451; LMCache#2703",
    covers=("reuse-absent", "reused-locally-not-p2p"),
    cause_class="APC_MASK",
    cannot="Whether LMCache would work for a prompt that this engine has not seen.",
)

NEW_PROMPT = "Test with a prompt that is new to this engine, or with --no-enable-prefix-caching."


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    masked = [a for a in attempts if a.outcome == "masked"]
    if masked:
        yield Sighting(
            case.receiver.name,
            "a prefix this engine has never seen",
            f"{masked[0].computed} tokens computed earlier by the engine itself",
            "the prefix cache was warm",
        )


def pasted(material):
    long = [lookup for lookup in material.lookups if lookup.need is not None]
    masked = [lookup for lookup in long if lookup.hit > 0 and lookup.need <= 0]
    if masked:
        role, *_others = [node.role for node in material.nodes if masked[0] in node.lookups]
        # what missed beside it may have been the first use of a prompt, or the trouble itself
        sure = len(masked) == len(long) and not material.is_shared
        yield Sign(role, masked[0].line, PROOF if sure else HINT, remedy=NEW_PROMPT)
