# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""What lab/cluster starts for roles/kv_lab: real engines' command lines, environments and files, word by word, and what
faults change in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from lab.cluster import plan
from lab.cluster.fault import FAULTS, FaultError, changes, filled_in, load
from lab.cluster.lab import SOURCE, Lab

DEFAULTS = yaml.safe_load((SOURCE.parent / "roles" / "kv_lab" / "defaults" / "main.yml").read_text())
HOME = "/lab/nodes/prefill-1"
COMMAND = [
    *("/venv/bin/python", "-m", "vllm.entrypoints.openai.api_server", "--model", "/lab/model"),
    *("--served-model-name", "tiny", "--host", "127.0.0.13", "--port", "8000", "--max-model-len", "4096"),
    *("--enforce-eager", "--dtype", "float32", "--no-enable-prefix-caching", "--enable-prompt-tokens-details"),
    "--kv-transfer-config",
    '{"kv_connector": "LMCacheConnectorV1", "kv_role": "kv_both", "kv_connector_module_path": "kvproof_lab.connector"}',
]
ENVIRONMENT = f"""
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME={HOME}/home TMPDIR=/sockets/0
PYTHONPATH={SOURCE}/real PYTHONHASHSEED=0 PROMETHEUS_MULTIPROC_DIR={HOME}/prometheus
LMCACHE_CONFIG_FILE={HOME}/lmcache.yaml LMCACHE_LOG_LEVEL=INFO LMCACHE_TRACK_USAGE=false LMCACHE_USE_EXPERIMENTAL=True
UCX_TLS=tcp UCX_NET_DEVICES=lo VLLM_HOST_IP=127.0.0.13 VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind
VLLM_NO_USAGE_STATS=1 OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TORCHDYNAMO_DISABLE=1 LAB_NODE_ADDRESS=127.0.0.13
LAB_NIXL=poll LAB_STALL_FIX=1
"""
SETTINGS = """\
# LMCache on prefill-1, written by kv_lab
chunk_size: 256
local_cpu: true
max_local_cpu_size: 2.0
enable_async_loading: true
enable_p2p: true
p2p_host: 127.0.0.13
p2p_init_ports: 8200
p2p_lookup_ports: 8201
transfer_channel: nixl
nixl_backends:
- UCX
enable_controller: true
lmcache_instance_id: prefill-1
controller_pull_url: 127.0.0.5:8300
controller_reply_url: 127.0.0.5:8400
lmcache_worker_ports: 8500
internal_api_server_enabled: true
internal_api_server_port_start: 6999
"""


def lab(**variables) -> Lab:
    role = {name[len("kv_lab_") :]: value for name, value in DEFAULTS.items()}
    fixed = {"dir": "/lab", "socket_dir": "/sockets", "python": "/venv/bin/python", "stall_fix": True, "nixl": "poll"}
    return Lab.of({**role, **fixed, **variables})


def specs(fault: dict | None = None, *, edited: bool = False, **variables) -> dict[str, dict]:
    """By name, of real engines unless said otherwise."""
    cluster = lab(**{"engine": "vllm", **variables})
    fault = filled_in(fault or {}, cluster.addresses, cluster.dir)
    return {spec["name"]: spec for spec in plan.processes(cluster, fault, edited=edited)}


def settings(spec: dict) -> dict:
    return yaml.safe_load(spec["files"][0]["content"])


def test_a_real_engine_is_started_so():
    engine = specs()["prefill-1"]
    assert engine["argv"] == COMMAND
    assert engine["env"] == dict(pair.split("=", 1) for pair in ENVIRONMENT.split())
    assert engine["files"] == [{"path": f"{HOME}/lmcache.yaml", "content": SETTINGS, "mode": "0644"}]
    assert engine["fresh_dirs"] == [f"{HOME}/home", f"{HOME}/prometheus", "/sockets/0"]
    assert engine["ready_urls"] == [
        "http://127.0.0.13:8000/health",
        "http://127.0.0.5:9000/controller/workers?instance_id=prefill-1",
    ]
    assert engine["ports"] == [
        *("127.0.0.13:8000", "127.0.0.1:6999", "127.0.0.1:7000", "0.0.0.0:8500"),
        *("127.0.0.13:8200", "127.0.0.13:8201"),
    ]
    assert {Path(path).name for path in engine["watch"]} >= {"connector.py", "cpu_kv.py", "faults.py"}
    assert (engine["cwd"], engine["log"], engine["user"]) == (HOME, "/lab/logs/prefill-1.log", None)


def test_a_real_controller_is_started_so():
    controller = specs()["controller-1"]
    assert controller["argv"] == [
        *("/venv/bin/lmcache_controller", "--host", "127.0.0.5", "--port", "9000"),
        *("--monitor-ports", '{"pull": 8300, "reply": 8400}'),
    ]
    assert controller["env"].items() >= {"PYTHONHASHSEED": "0", "LMCACHE_LOG_LEVEL": "INFO"}.items()
    assert controller["ports"] == ["127.0.0.5:9000", "127.0.0.5:8300", "127.0.0.5:8400"]
    assert controller["ready_urls"] == ["http://127.0.0.5:9000/controller/workers"]


def test_the_order_is_controller_engines_ssh_servers():
    assert list(specs()) == [
        *("controller-1", "prefill-1", "decode-1", "sshd-prefill-1", "sshd-decode-1", "sshd-controller-1"),
    ]
    assert [spec["unit"] for spec in specs().values()] == ["cluster"] * 3 + ["sshd"] * 3


def test_the_rehearsal_differs_in_its_programs_alone():
    engine = specs(engine="rehearsal", python="/other/python")["prefill-1"]
    *words, connector = COMMAND
    words = [
        {"/venv/bin/python": "/other/python", "/lab/model": "/lab/rehearsal-model"}.get(word, word) for word in words
    ]
    assert engine["argv"][:-1] == words
    assert json.loads(engine["argv"][-1]).items() < json.loads(connector).items()
    assert engine["env"]["PYTHONPATH"] == f"{SOURCE}/rehearsal/shadow"
    assert settings(engine) == yaml.safe_load(SETTINGS)


def test_users_modes_and_workarounds_are_the_roles_variables():
    made = specs(engine_user="kvengine", log_mode="0600", config_mode="0640", stall_fix=False, chunk_size="128")
    engine = made["decode-1"]
    assert (engine["user"], engine["log_mode"], engine["files"][0]["mode"]) == ("kvengine", "0600", "0640")
    assert made["controller-1"]["user"] == "kvengine"
    assert made["sshd-decode-1"]["user"] is None
    assert engine["env"]["LAB_STALL_FIX"] == "0"
    assert settings(engine)["chunk_size"] == 128


# ---- faults


def test_changes_for_all_come_before_a_nodes_own():
    fault = {"all": {"lmcache": {"a": 1, "b": 1}, "arguments": ["x"]}, "decode": {"lmcache": {"b": 2}, "arguments": []}}
    assert changes(fault, "prefill")["lmcache"] == {"a": 1, "b": 1}
    assert changes(fault, "decode")["lmcache"] == {"a": 1, "b": 2}
    assert changes(fault, "decode")["arguments"] == []


def test_a_setting_that_is_null_is_left_out():
    made = specs({"decode": {"lmcache": {"p2p_host": None}, "env": {"PYTHONHASHSEED": None}}})
    assert "p2p_host" not in settings(made["decode-1"])
    assert "PYTHONHASHSEED" not in made["decode-1"]["env"]
    assert settings(made["prefill-1"])["p2p_host"] == "127.0.0.13"


@pytest.mark.parametrize(
    ("connector", "words"),
    [
        (None, []),
        ({"kv_role": "kv_consumer"}, ['{"kv_connector": "LMCacheConnectorV1", "kv_role": "kv_consumer"}']),
    ],
)
def test_a_connector_is_changed_or_left_out(connector, words):
    engine = specs({"decode": {"connector": connector}}, engine="rehearsal")["decode-1"]
    assert engine["argv"][engine["argv"].index("--enable-prompt-tokens-details") + 1 :][1:] == words


def test_two_ranks_have_two_ports_each():
    made = settings(specs({"all": {"arguments": ["--tensor-parallel-size", "2"]}})["decode-1"])
    assert made["p2p_init_ports"] == [8200, 8210]
    assert made["p2p_lookup_ports"] == [8201, 8211]
    assert made["lmcache_worker_ports"] == [8501, 8511]


def test_a_controller_elsewhere_is_waited_for_there():
    fault = {"controller": {"host": "localhost", "port": 9010, "ports": {"pull": 1}}, "registered": ["decode-1"]}
    made = specs(fault)
    assert made["controller-1"]["argv"][1:] == [
        *("--host", "localhost", "--port", "9010", "--monitor-ports", '{"pull": 1, "reply": 8400}'),
    ]
    assert made["prefill-1"]["ready_urls"] == ["http://127.0.0.13:8000/health"]
    assert made["decode-1"]["ready_urls"][1:] == ["http://localhost:9010/controller/workers?instance_id=decode-1"]


def test_without_a_controller_nobody_registers():
    made = specs({"no_controller": True})
    assert "controller-1" not in made
    assert made["prefill-1"]["ready_urls"] == ["http://127.0.0.13:8000/health"]


def test_obstacles_come_first_and_take_the_engines_ports():
    made = specs({"listen": {"silent": ["{{ address.prefill }}:8200"], "full": ["127.0.0.201:1"]}})
    obstacles = next(iter(made.values()))
    assert obstacles["argv"][2:] == ["listen", "silent=127.0.0.13:8200", "full=127.0.0.201:1"]
    assert (obstacles["first"], obstacles["ready_urls"]) == (True, ["tcp://127.0.0.13:8200"])
    assert "127.0.0.13:8200" not in made["prefill-1"]["ports"]


def test_an_edit_is_in_the_file_once_it_is_carried_out():
    fault = {"edit": {"role": "decode", "key": "enable_p2p", "value": "no"}}
    before, after = (specs(fault, edited=edited) for edited in (False, True))
    assert settings(before["decode-1"])["enable_p2p"] is True
    assert settings(after["decode-1"])["enable_p2p"] == "no"
    assert after["prefill-1"] == before["prefill-1"]


def test_the_validator_is_told_in_an_inventory():
    fault = {
        "validate": {"kv_reuse_trials": 1},
        "decode": {"validate": {"kv_reuse_url": "http://{{ address.decode }}:1"}},
        "controller": {"validate": {"kv_reuse_controller_url": "x"}},
    }
    cluster = lab()
    hosts = yaml.safe_load(plan.inventory(cluster, filled_in(fault, cluster.addresses, cluster.dir)))["all"]["hosts"]
    assert hosts == {
        "prefill-1": {"kv_reuse_trials": 1},
        "decode-1": {"kv_reuse_trials": 1, "kv_reuse_url": "http://127.0.0.97:1"},
        "controller-1": {"kv_reuse_controller_url": "x"},
    }


@pytest.mark.parametrize("slug", [path.stem for path in FAULTS.glob("*.yml")])
def test_every_fault_makes_a_plan_without_holes(monkeypatch, slug):
    monkeypatch.setattr(plan.shutil, "which", lambda name: f"/usr/bin/{name}")  # also where no Redis is installed
    text = json.dumps(list(specs(load(slug)).values()))
    assert "{{" not in text
    assert "kv_lab_" not in text


def test_an_unknown_fault_is_one_sentence_with_the_known_ones():
    with pytest.raises(FaultError, match=r"^There is no fault nope\. There are: .*controller-down, .*\.$"):
        load("nope")
