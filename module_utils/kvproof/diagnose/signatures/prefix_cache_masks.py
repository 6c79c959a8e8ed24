# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import HINT, PROOF, Sign, Signature


def look(material):
    long = [one for one in material.lookups if one.need is not None]
    masked = [one for one in long if one.hit > 0 and one.need <= 0]
    others = [one for one in long if one not in masked]
    if masked:
        role = next(told.role for told in material.told if masked[0] in told.lookups)
        # what missed beside it may have been the first use of a prompt, or the trouble itself
        yield Sign(role, masked[0].line, HINT if others or material.is_shared else PROOF)


SIGNATURE = Signature(
    slug="prefix-cache-masks",
    cause_class="APC_MASK",
    title="vLLM's own prefix cache has as much as LMCache, so nothing is loaded",
    proves=(
        "LMCache found tokens, and none of them are to be loaded, since vLLM's prefix cache has them already. "
        "This is normal: LMCache counts in chunks, vLLM in blocks."
    ),
    cannot="Whether LMCache would work for a prompt that this engine has not seen.",
    remedy="Test with a prompt that is new to this engine, or with --no-enable-prefix-caching.",
    source="LMCache 0.5.6 vllm_v1_adapter.py:1451; LMCache#2703",
    look=look,
)
