# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""What lab/cluster starts for vLLM's NixlConnector and LMCache's prefill/decode transfer; what faults change in it."""

from __future__ import annotations

import json

import pytest
import yaml

from lab.cluster import plan
from lab.cluster.fault import filled_in
from lab.cluster.lab import SOURCE, Lab

DEFAULTS = yaml.safe_load((SOURCE.parent / "roles" / "kv_lab" / "defaults" / "main.yml").read_text())


def specs(architecture: str, fault: dict | None = None, *, edited: bool = False) -> dict[str, dict]:
    """By name, of real engines."""
    role = {name[len("kv_lab_") :]: value for name, value in DEFAULTS.items()}
    fixed = {"dir": "/lab", "socket_dir": "/sockets", "python": "/venv/bin/python", "stall_fix": True, "nixl": "poll"}
    lab = Lab.of({**role, **fixed, "architecture": architecture, "engine": "vllm"})
    fault = filled_in(fault or {}, lab.addresses, lab.dir)
    return {spec["name"]: spec for spec in plan.processes(lab, fault, edited=edited)}


def connector(spec: dict) -> dict:
    return json.loads(spec["argv"][spec["argv"].index("--kv-transfer-config") + 1])


@pytest.mark.parametrize("architecture", ["nixl_pd", "lmcache_pd"])
def test_there_are_two_engines_and_no_controller(architecture):
    assert list(specs(architecture)) == ["prefill-1", "decode-1", "sshd-prefill-1", "sshd-decode-1"]
    hosts = yaml.safe_load((SOURCE.parent / "inventory" / f"demo_{architecture}" / "hosts.yml").read_text())
    assert hosts["all"]["vars"] == {"kv_lab_architecture": architecture}
    for node in DEFAULTS["kv_lab_nodes"]:
        host = hosts[f"kv_{node['role']}"]["hosts"][node["name"]]
        assert host == {"ansible_host": node["address"], "ansible_port": node["ssh_port"]}


def test_an_engine_with_nixl_is_started_so():
    made = specs("nixl_pd")
    engine = made["prefill-1"]
    assert connector(engine) == {"kv_connector": "NixlConnector", "kv_role": "kv_producer", "kv_buffer_device": "cpu"}
    assert connector(made["decode-1"])["kv_role"] == "kv_consumer"
    side = {"VLLM_NIXL_SIDE_CHANNEL_HOST": "127.0.0.13", "VLLM_NIXL_SIDE_CHANNEL_PORT": "5600", "LAB_NIXL": "poll"}
    assert engine["env"].items() >= side.items()
    assert not {"LMCACHE_CONFIG_FILE", "PROMETHEUS_MULTIPROC_DIR"} & engine["env"].keys()
    assert engine["ports"] == ["127.0.0.13:8000", "127.0.0.13:5600"]
    assert engine["files"] == []


def test_a_sender_and_a_receiver_are_started_so():
    made = specs("lmcache_pd")
    sender, receiver = (yaml.safe_load(made[name]["files"][0]["content"]) for name in ("prefill-1", "decode-1"))
    both = {"enable_pd": True, "enable_async_loading": False, "local_cpu": False, "pd_buffer_size": 268435456}
    assert sender.items() >= {**both, "pd_role": "sender", "pd_proxy_host": "127.0.0.5"}.items()
    assert receiver.items() >= {**both, "pd_role": "receiver", "pd_peer_host": "127.0.0.97"}.items()
    assert (receiver["pd_peer_init_port"], receiver["pd_peer_alloc_port"]) == (7300, 8501)
    assert connector(made["prefill-1"]) == {
        "kv_connector": "LMCacheConnectorV1",
        "kv_role": "kv_producer",
        "kv_connector_extra_config": {"discard_partial_chunks": False, "lmcache_rpc_port": "producer1"},
        "kv_connector_module_path": "kvproof_lab.connector",
    }
    assert made["decode-1"]["ports"][-2:] == ["127.0.0.97:7300", "0.0.0.0:8501"]


def test_a_fault_changes_the_connector_the_settings_and_the_environment():
    made = specs("nixl_pd", {"prefill": {"env": {"VLLM_NIXL_SIDE_CHANNEL_HOST": None}}, "decode": {"connector": None}})
    assert "VLLM_NIXL_SIDE_CHANNEL_HOST" not in made["prefill-1"]["env"]
    assert "--kv-transfer-config" not in made["decode-1"]["argv"]
    fault = {"edit": {"role": "decode", "key": "pd_peer_alloc_port", "value": 7500}}
    for edited, port in ((False, 8501), (True, 7500)):
        made = specs("lmcache_pd", fault, edited=edited)
        assert yaml.safe_load(made["decode-1"]["files"][0]["content"])["pd_peer_alloc_port"] == port
