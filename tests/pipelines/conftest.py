# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What pipelines are tried on: two clusters, one of them broken, and the collection as it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml


@pytest.fixture(scope="session")
def collections(tmp_path_factory) -> Path:
    """The folder of collections, with this one installed from its archive."""
    pytest.importorskip("ansible")
    import installed

    return installed.install(tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="module")  # fleets share addresses, and other folders bring up their own
def clusters(tmp_path_factory) -> Iterator[Path]:
    """The inventory of c000, which is healthy, and c001, in which P2P is off."""
    pytest.importorskip("aiohttp", reason="the rehearsal's requirements are not installed (lab/rehearsal)")
    import sshd

    if not sshd.TOOLS:
        pytest.skip("no sshd, ssh and ssh-keygen here")
    from lab.cluster import fleet

    with fleet.Fleet(tmp_path_factory.mktemp("fleet"), 2, {1: "p2p-disabled"}) as running:
        yield running.inventory


@pytest.fixture(scope="module")
def healthy(clusters) -> Path:
    """The inventory of c000 alone."""
    found = yaml.safe_load(clusters.read_text(encoding="utf-8"))
    for name, group in found.items():
        if name != "all":
            group["hosts"] = {host: its for host, its in group["hosts"].items() if host.startswith("c000")}
    path = clusters.with_name("healthy.yml")
    path.write_text(yaml.safe_dump(found), encoding="utf-8")
    return path
