# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

from ..pasted import HINT, PROOF, Sign, quoted
from . import Finding

FINDING = Finding(
    slug="attribute-missing",
    link=3,
    kind="cause",
    title="The code asks for something that this release does not have",
    meaning=(
        "One installed package calls an attribute, a name or an argument that another package, or another part of "
        "its own, does not have: the versions do not fit each other, or this release has a bug."
    ),
    evidence="The last line of a traceback.",
    remedy=(
        "Install a pair of LMCache and vLLM that were released for each other (LMCache's compatibility table), "
        "then try a newer LMCache."
    ),
    source="Python's AttributeError, ImportError and TypeError; LMCache#1768",
    cause_class="VERSION",
    cannot="Which package is the wrong one.",
)

MISSING = re.compile(
    r"'(?P<type>[A-Za-z_]\w*)' object has no attribute|ImportError: cannot import name|module '[\w.]+' has no attribute"
    r"|No module named '(?:vllm|lmcache)\.|TypeError: .*(?:unexpected keyword argument|missing \d+ required)"
    r"|undefined symbol: \w+"
)
TEARDOWN = re.compile(r"Exception ignored in|__del__|\bin (?:shutdown|close|_shutdown|cleanup)\b")
BUILT_IN = re.compile(r"NoneType|[a-z]+")  # what is None, or a dict, says nothing of versions
BEFORE = 15  # lines of a traceback


def pasted(material):
    for node in material.nodes:
        for number, line in enumerate(node.lines):
            match = MISSING.search(line)
            if not match or (match["type"] and BUILT_IN.fullmatch(match["type"])):
                continue
            around = node.lines[max(0, number - BEFORE) : number + 1]
            ending = any(TEARDOWN.search(other) for other in around)
            yield Sign(node.role, quoted(line), HINT if ending else PROOF)
            break
