# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""A cluster's processes as services of hosts of their own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.cluster import __main__ as actions
from lab.cluster import units
from lab.cluster.fault import FaultError, load
from lab.cluster.slots import Slots
from lab.hosts import hosts


@pytest.fixture
def lab(tmp_path):
    with Slots().take() as slot:
        yield replace(slot.lab(tmp_path / "lab"), engine_user="vllm")


def test_every_process_is_a_service_of_its_host(lab):
    services = {host: [service["unit"] for service in its] for host, its in units.by_host(lab, {}).items()}
    assert services == {
        "prefill-1": ["vllm.service"],
        "decode-1": ["vllm.service"],
        "controller-1": ["lmcache-controller.service"],
    }


def test_in_multiprocess_mode_the_cache_servers_too(lab):
    services = units.by_host(replace(lab, architecture="mp"), {})
    assert {service["unit"] for service in services["decode-1"]} == {"vllm.service", "lmcache-server.service"}


def test_what_is_no_service_of_a_host_is_refused(lab):
    with pytest.raises(FaultError, match="obstacles is no service of a host"):
        units.by_host(lab, {"listen": {"silent": ["127.0.0.1:9"]}})


@pytest.mark.parametrize("word", ["plain", 'two "words"', "a\\b", "100%", '{"kv_role": "kv_both"}'])
def test_a_word_of_a_service_is_read_back(word):
    assert hosts._words(units._quoted(word)) == [word]


def test_a_fault_of_hosts_is_refused_where_nodes_share_a_machine(lab, monkeypatch):
    name = "requests-withheld--and-server-on-another-node"
    monkeypatch.setattr(actions, "_cluster", lambda _variables: actions.Cluster(lab, load(name)))
    with pytest.raises(FaultError, match=f"make molecule-hosts CASES={name}"):
        actions.show({"fault": name})
