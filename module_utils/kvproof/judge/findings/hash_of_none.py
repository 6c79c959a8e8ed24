# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

from ..pasted import HINT, PROOF, Sign, quoted
from . import Finding

FINDING = Finding(
    slug="hash-of-none",
    link=4,
    kind="cause",
    title="The built-in hash of None differs between processes",
    meaning=(
        "Before Python 3.12 hash(None) follows from an address. With the built-in hash, LMCache before 0.4.1 put "
        "None into every key, so two processes with the same seed make different ones."
    ),
    evidence="`[HASH_GENERATION]` lines of two processes with one prefix and one seed, and the versions.",
    remedy="LMCache 0.4.1 or later, or Python 3.12 or later, or pre_caching_hash_algorithm: sha256_cbor.",
    source="LMCache#2136, LMCache#2511; the wheel of 0.4.1 canonicalises None, that of 0.3.15 does not",
    cause_class="HASH_NONE",
    cannot="Whether the tokens of the two lines were the same, unless they are in them.",
)

LINE = re.compile(
    r"\[HASH_GENERATION\].*?prefix_hash=(?P<prefix>-?\w+).*?PYTHONHASHSEED=(?P<seed>\w+).*?result_hash=(?P<hash>-?\w+)"
)
COMPLAINT = re.compile(r"hash\(.*None\).*(?:differ|not the same|inconsisten)")  # in the words of whoever noticed it


def pasted(material):
    hashes_of = {}
    for node in material.nodes:
        for line in node.lines:
            match = LINE.search(line)
            if match and match["seed"] not in ("None", "random"):
                hashes_of.setdefault((match["prefix"], match["seed"]), {}).setdefault(match["hash"], node.role)
            both = re.search(r"PYTHONHASHSEED=(\d+), result_hash=(-?\d+)\S* (?:\(\w+\) )?vs\.? (-?\d+)", line)
            if both and both[2] != both[3]:
                yield Sign(node.role, quoted(line), PROOF)
    for (prefix, seed), hashes in hashes_of.items():
        if len(hashes) > 1 and len(set(hashes.values())) > 1:
            text = f"prefix_hash={prefix}, PYTHONHASHSEED={seed}: result_hash {' and '.join(hashes)}"
            first, *_others = hashes.values()
            yield Sign(first, text, PROOF)
    old = material.version_within("lmcache", (0,), (0, 4, 1))
    builtin = "sha256" not in str(material.value("pre_caching_hash_algorithm"))
    for node in material.nodes:
        line = next(filter(COMPLAINT.search, node.lines), None)
        if line is not None:
            yield Sign(node.role, quoted(line), PROOF if old and builtin else HINT)
