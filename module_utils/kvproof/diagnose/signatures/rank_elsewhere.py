# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

from . import HINT, PROOF, Sign, Signature, matching

SEVERAL_NODES = re.compile(r"(?i)\bray\b|nnodes|multi-?node|\b(?:two|2|several) (?:nodes|machines|hosts)\b")


def look(material):
    stages = material.degree("pipeline-parallel-size")
    apart = stages and stages > 1 and SEVERAL_NODES.search(material.text)
    for role, line in matching(material, r"Timeout occurred for rank [1-9]\d*, recreating all sockets"):
        yield Sign(role, line, PROOF if apart else HINT)


SIGNATURE = Signature(
    slug="rank-elsewhere",
    cause_class="TOPOLOGY",
    title="A rank does not answer the scheduler's lookup",
    proves=(
        "The lookup goes to every rank over a socket in the file system. A rank on another machine, as with "
        "pipeline parallelism over nodes, can never answer it."
    ),
    cannot="Without the parallel sizes: whether the rank is elsewhere, or dead, or slow.",
    remedy=(
        "Limit the lookup to ranks of the scheduler's node (lookup_server_worker_ids), or use the multiprocess mode."
    ),
    source="LMCache 0.5.6 rpc/zmq_transport.py:122; LMCache#2755",
    look=look,
)
