# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""What lab/cluster starts in LMCache's MP mode, word by word, and what faults change in it."""

from __future__ import annotations

import json

import pytest
import yaml

from lab.cluster import plan
from lab.cluster.fault import filled_in
from lab.cluster.lab import SOURCE, Lab

DEFAULTS = yaml.safe_load((SOURCE.parent / "roles" / "kv_lab" / "defaults" / "main.yml").read_text())
CLUSTER = yaml.safe_load((SOURCE.parent / "inventory" / "demo_mp" / "hosts.yml").read_text())["all"]["vars"]
SERVER = (
    "/venv/bin/python REAL/bin/lmcache server --instance-id prefill-1 --host 127.0.0.13 --port 5555 "
    "--http-host 127.0.0.13 --http-port 8080 --prometheus-port 9090 --chunk-size 256 --l1-size-gb 1 --no-l1-use-lazy "
    "--eviction-policy LRU --supported-transfer-mode auto --coordinator-url http://127.0.0.5:9300 "
    "--coordinator-advertise-ip 127.0.0.13 --coordinator-event-reporting --coordinator-heartbeat-interval 2 "
    "--p2p-advertise-url 127.0.0.13:8200"
)


def specs(fault: dict | None = None, *, edited: bool = False) -> dict[str, dict]:
    """By name, of real engines."""
    role = {name[len("kv_lab_") :]: value for name, value in {**DEFAULTS, **CLUSTER}.items()}
    fixed = {"dir": "/lab", "socket_dir": "/sockets", "python": "/venv/bin/python", "stall_fix": True, "nixl": "poll"}
    lab = Lab.of({**role, **fixed, "engine": "vllm"})
    fault = filled_in(fault or {}, lab.addresses, lab.dir)
    return {spec["name"]: spec for spec in plan.processes(lab, fault, edited=edited)}


def connector(spec: dict) -> dict:
    return json.loads(spec["argv"][spec["argv"].index("--kv-transfer-config") + 1])


def test_members_start_in_order():
    members = [name for name in specs() if not name.startswith("sshd-")]
    assert members == ["coordinator-1", "prefill-1-server", "decode-1-server", "prefill-1", "decode-1"]


def test_a_coordinator_and_a_server_are_started_so():
    found = specs()
    coordinator, server = found["coordinator-1"], found["prefill-1-server"]
    assert coordinator["argv"][2:] == "coordinator --host 127.0.0.5 --port 9300 --chunk-size 256".split()
    assert coordinator["ready_urls"] == ["http://127.0.0.5:9300/healthz"]
    assert server["argv"] == SERVER.replace("REAL", f"{SOURCE}/real").split()
    assert server["ready_urls"] == ["http://127.0.0.13:8080/healthcheck"]
    assert server["ready_log"] == ["Added L2 adapter", "Registered non-GPU context for instance"]


def test_an_engine_leaves_its_kv_to_the_server_of_its_node():
    engine = specs()["decode-1"]
    assert connector(engine) == {
        "kv_connector": "LMCacheMPConnector",
        "kv_role": "kv_both",
        "kv_connector_extra_config": {
            "lmcache.mp.host": "tcp://127.0.0.97",
            "lmcache.mp.port": 5555,
            "lmcache.mp.heartbeat_interval": 5.0,
        },
    }
    assert "--disable-hybrid-kv-cache-manager" in engine["argv"]
    assert not {"LMCACHE_CONFIG_FILE", "PROMETHEUS_MULTIPROC_DIR"} & set(engine["env"])


@pytest.mark.parametrize(("fault", "changed"), [
    ({"decode": {"server": {"chunk-size": 128}}}, {"--chunk-size 256": "--chunk-size 128"}),
    ({"all": {"server": {"p2p-advertise-url": None}}}, {" --p2p-advertise-url 127.0.0.97:8200": ""}),
    ({"decode": {"server": {"l1-use-lazy": True}}}, {"--no-l1-use-lazy": "--l1-use-lazy"}),
])  # fmt: skip
def test_a_fault_changes_a_servers_options(fault, changed):
    usual = " ".join(specs()["decode-1-server"]["argv"])
    for old, new in changed.items():
        usual = usual.replace(old, new)
    assert " ".join(specs(fault)["decode-1-server"]["argv"]) == usual


def test_servers_that_meet_nobody_are_not_waited_for():
    alone = {"prefill": {"server": {"p2p-advertise-url": None}}}
    assert specs(alone)["decode-1-server"]["ready_log"][0] == "Registered with coordinator as"
    assert specs({"no_controller": True})["decode-1-server"]["ready_log"] == ["Registered non-GPU context for instance"]


def test_another_coordinator_has_the_next_port():
    found = specs({"other_coordinator": True})
    assert found["coordinator-1-other"]["argv"][3:7] == ["--host", "127.0.0.5", "--port", "9301"]


def test_an_engine_of_another_mode_gets_what_it_needs_on_cpus():
    engine = specs({"decode": {"connector": {"kv_connector": "LMCacheConnectorV1"}}})["decode-1"]
    assert connector(engine)["kv_connector_module_path"] == "kvproof_lab.connector"


def test_a_server_is_started_again_with_an_edited_option():
    fault = {"edit": {"role": "decode", "key": "chunk-size", "value": 128}}
    assert "--chunk-size 128" in " ".join(specs(fault, edited=True)["decode-1-server"]["argv"])
    assert specs(fault)["decode-1-server"] == specs()["decode-1-server"]


def test_other_options_start_the_server_alone_and_another_chunk_size_its_engine_too():
    usual = specs()

    def changed(options: dict) -> list[str]:
        return [name for name, spec in specs({"decode": {"server": options}}).items() if spec != usual[name]]

    assert changed({"l1-size-gb": 2}) == ["decode-1-server"]
    assert changed({"chunk-size": 128}) == ["decode-1-server", "decode-1"]
    assert len({spec["unit"] for name, spec in usual.items() if not name.startswith("sshd-")}) == 5
