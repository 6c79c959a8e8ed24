# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sightings
from ._unread import nodes

FINDING = Finding(
    slug="node-unread",
    link=1,
    kind="note",
    rank=25,
    title="The node could not be read",
    meaning=(
        "SSH answers, but the module that reads processes, configuration and logs did not run there: mostly there is "
        "no Python, or privileges could not be raised."
    ),
    evidence="The module's result as Ansible registered it.",
    remedy=(
        "Name a Python 3.8 or later in ansible_python_interpreter; with kv_reuse_become, give the password Ansible's "
        "way. `ansible -m ping` on this host shows whether modules run."
    ),
    source="kvproof",
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    return nodes(case, "failed", "a module that runs on the node")
