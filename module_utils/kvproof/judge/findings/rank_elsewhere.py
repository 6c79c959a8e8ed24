# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

from ..pasted import HINT, PROOF, Sign
from . import Finding

FINDING = Finding(
    slug="rank-elsewhere",
    link=9,
    kind="cause",
    title="A rank does not answer the scheduler's lookup",
    meaning=(
        "The lookup goes to every rank over a socket in the file system. A rank on another machine, as with "
        "pipeline parallelism over nodes, can never answer it."
    ),
    evidence="`Timeout occurred for rank …, recreating all sockets` in an engine's log, and its parallel sizes.",
    remedy="Limit the lookup to ranks of the scheduler's node (lookup_server_worker_ids), or use multiprocess mode.",
    source="LMCache 0.5.6 rpc/zmq_transport.py:122; LMCache#2755",
    cause_class="TOPOLOGY",
    cannot="Without the parallel sizes: whether the rank is elsewhere, or dead, or slow.",
)

SEVERAL_NODES = re.compile(r"(?i)\bray\b|nnodes|multi-?node|\b(?:two|2|several) (?:nodes|machines|hosts)\b")


def pasted(material):
    stages = material.degree("pipeline-parallel-size")
    apart = stages and stages > 1 and SEVERAL_NODES.search(material.text)
    for role, line in material.lines("rank_silent"):
        yield Sign(role, line, PROOF if apart else HINT)
