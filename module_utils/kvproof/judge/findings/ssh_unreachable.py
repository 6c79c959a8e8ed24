# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sightings
from ._unread import nodes

FINDING = Finding(
    slug="ssh-unreachable",
    link=1,
    kind="note",
    rank=20,
    title="No SSH to the node",
    meaning="HTTP answers, so the experiment ran, but processes, configuration and logs of this node are unknown.",
    evidence="Ansible could not log in to the node.",
    remedy=(
        "Check ansible_host, ansible_port, ansible_user and the key; `ansible -m ping` on this host shows the reason."
    ),
    source="kvproof",
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    return nodes(case, "unreachable", "an SSH login")
