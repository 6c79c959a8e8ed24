# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

from ..pasted import HINT, SETTING, Sign
from . import Finding

FINDING = Finding(
    slug="corrupt-releases",
    link=12,
    kind="cause",
    title="Wrong answers where KV is reused",
    meaning=(
        "LMCache 0.5.2 to 0.5.4 misreads the KV layout of vLLM 0.26 to 0.28: reused KV is wrong while all "
        "counters look well."
    ),
    evidence="The versions of LMCache and vLLM, and what the user says of the answers.",
    remedy="Upgrade LMCache, or use vLLM before 0.26; compare outputs (kvproof's link 12 does).",
    source="LMCache#4463, LMCache#4247, dynamo#14416",
    cause_class="CORRUPTION",
    cannot=(
        "With other releases: whether the reuse or the model is at fault. That takes the same greedy request with"
        " and without reuse."
    ),
)

# what people call it when a reused prompt is answered wrongly
WRONG = re.compile(
    r"(?i)garbage(?! collect)|gibberish|corrupt\w*|wrong (?:output|answer|token|result)"
    r"|different (?:answers|outputs)|degenerate|nonsens\w*"
)


def pasted(material):
    complaint = WRONG.search(material.text)
    if complaint:
        bad = material.version_within("lmcache", (0, 5, 2), (0, 5, 5)) and material.version_within(
            "vllm", (0, 26), (0, 29)
        )
        text = f'"{complaint[0]}"' + (" with LMCache 0.5.2 to 0.5.4 on vLLM 0.26 to 0.28" if bad else "")
        yield Sign(material.nodes[0].role, text, SETTING if bad else HINT)
