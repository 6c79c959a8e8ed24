# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Rehearsed clusters behind routers: vllm-router where it is installed, and the lab's own through the playbook."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

pytest.importorskip("aiohttp", reason="the rehearsal's requirements are not installed (lab/rehearsal)")
pytest.importorskip("cbor2", reason="the rehearsal's requirements are not installed (lab/rehearsal)")

import requests
from kvproof.probe import options, rounds

from lab.cluster.cluster import Cluster
from lab.cluster.slots import Slots

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"
ROLES = {"holder": "prefill", "receiver": "decode"}
#: `pip install vllm-router==0.1.17`, beside this Python or on the PATH, or named by the variable.
VLLM_ROUTER = os.environ.get("VLLM_ROUTER") or shutil.which("vllm-router")
wants_it = pytest.mark.skipif(not VLLM_ROUTER, reason="vllm-router is not installed (pip install vllm-router)")

wants_ansible = pytest.mark.skipif(not PLAYBOOK.exists(), reason="no ansible beside this Python")


@pytest.fixture(scope="module")
def slots():
    return Slots()


def routed(slots, folder: Path, architecture: str, *words: str) -> list[list[tuple[str, int, int]]]:
    """Engine, tokens computed and tokens loaded of each that served a fresh prompt through vllm-router.

    words: its options, with PREFILL and DECODE for the engines' URLs.
    """
    with slots.take() as slot, Cluster(slot.lab(folder / "lab", architecture)) as cluster:
        urls = {role.upper(): f"http://{cluster.addresses[role]}:8000" for role in ROLES.values()}
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0)), other.bind(("127.0.0.1", 0))
            port, metrics = one.getsockname()[1], other.getsockname()[1]
        command = [VLLM_ROUTER, "--host", "127.0.0.1", "--port", str(port), "--prometheus-port", str(metrics)]
        with open(folder / "router.log", "w", encoding="utf-8") as log:
            process = subprocess.Popen([*command, *(urls.get(word, word) for word in words)], stdout=log, stderr=log)
        try:
            answers(f"http://127.0.0.1:{port}/health")
            probe = rounds.probe(params(urls, architecture, f"http://127.0.0.1:{port}"))
        finally:
            process.terminate()
            process.wait(20)
    return [
        [(name, *told) for name, its in one["engines"].items() if any(told := _tokens(its["window"]))]
        for one in probe["router"]["requests"]
        if not one["again"]
    ]


def answers(url: str) -> None:
    for _ in range(100):
        try:
            if requests.get(url, timeout=5).ok:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"{url} does not answer")


def params(urls: dict[str, str], architecture: str, router_url: str) -> dict:
    spec = options.argument_spec()
    side = {name: its.get("default") for name, its in spec["holder"]["options"].items()}
    known = {"architecture": architecture, "kv_role": None, "connector": None, "unsure": None}
    sides = {
        role: {**side, "name": name, "url": urls[name.upper()], "recognised": known} for role, name in ROLES.items()
    }
    usual = {"wait": 1.0, "trials": 1, "router_url": router_url}
    return {**{name: its.get("default") for name, its in spec.items()}, **sides, **usual}


def _tokens(window: dict[str, float]) -> tuple[int, int]:
    sources = ("local_compute", "external_kv_transfer")
    computed, loaded = (int(window[f"vllm:prompt_tokens_by_source_total{{source={source}}}"]) for source in sources)
    return computed, loaded


@wants_it
@pytest.mark.parametrize("policy", ["cache_aware", "round_robin"])
def test_vllm_router_disaggregates_and_is_seen_to(slots, tmp_path, policy):
    words = ["--vllm-pd-disaggregation", "--kv-connector", "nixl", "--policy", policy]
    served = routed(slots, tmp_path, "nixl_pd", *words, "--prefill", "PREFILL", "--decode", "DECODE")
    assert len(served) == 3
    for (first, computed, nothing), (second, none, loaded) in served:
        assert (first, second, nothing, none) == ("prefill", "decode", 0, 0)
        assert computed == loaded > 0


@wants_it
def test_vllm_router_without_its_mode_does_not_and_is_seen_not_to(slots, tmp_path):
    words = ["--policy", "round_robin", "--worker-urls", "PREFILL", "DECODE"]
    served = routed(slots, tmp_path, "nixl_pd", *words)
    assert [len(engines) for engines in served] == [1, 1, 1]
    assert {loaded for ((_name, _computed, loaded),) in served} == {0}
    assert len({name for ((name, _computed, _loaded),) in served}) == 2


@wants_it
def test_vllm_router_takes_one_engine_of_an_idle_cluster_unless_told_otherwise(slots, tmp_path):
    """So that this is no fault: cache_aware is what it does by itself."""
    served = routed(slots, tmp_path, "inprocess_p2p", "--worker-urls", "PREFILL", "DECODE")
    assert len({name for ((name, _computed, _loaded),) in served}) == 1


def test_each_prompt_that_came_through_is_asked_of_the_decode_engine_itself(slots, tmp_path):
    fault = {"after_start": "route", "route": "right"}
    with slots.take() as slot, Cluster(slot.lab(tmp_path / "lab", "nixl_pd"), fault) as cluster:
        urls = {role.upper(): f"http://{cluster.addresses[role]}:8000" for role in ROLES.values()}
        router = f"http://{cluster.addresses['prefill']}:8020"
        routed = rounds.probe(params(urls, "nixl_pd", router))["router"]["requests"]
    assert len(routed) == 3
    for one in routed:
        request, recompute = one["request"], one["recompute"]
        assert (request["error"], recompute["error"], recompute["engine"]) == (None, None, "receiver")
        assert (request["prompt_tokens"], request["text"]) == (recompute["prompt_tokens"], recompute["text"])
        assert len(request["logprobs"]) == len(recompute["logprobs"]) > 0
    assert max(one["request"]["sent_at"] for one in routed) < min(one["recompute"]["sent_at"] for one in routed)


def validated(cluster: Cluster, folder: Path) -> tuple[dict, subprocess.CompletedProcess]:
    """The only pair of verdict.json, and what the playbook printed."""
    hosts = {
        f"{role}-1": {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "kv_reuse_url": f"http://{cluster.addresses[role]}:8000",
            "kv_reuse_log": {"file": str(cluster.log(role))},
            "kv_reuse_router_url": f"http://{cluster.addresses['prefill']}:8020",
        }
        for role in ROLES.values()
    }
    groups = {f"kv_{role}": {"hosts": {f"{role}-1": hosts[f"{role}-1"]}} for role in ROLES.values()}
    inventory = folder / "hosts.yml"
    inventory.write_text(yaml.safe_dump(groups), encoding="utf-8")
    done = subprocess.run(
        [PLAYBOOK, "-i", inventory, "validate.yml", "-e", f"kv_reuse_reports_dir={folder / 'reports'}"],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        check=False,
        capture_output=True,
        text=True,
    )
    doc = json.loads((folder / "reports" / "verdict.json").read_text(encoding="utf-8"))
    [pair] = doc["clusters"][0]["pairs"]
    return pair, done


@wants_ansible
@pytest.mark.parametrize(("kind", "verdict"), [("right", "pass"), ("whole", "fail")])
def test_the_playbook_judges_a_cluster_with_its_router(slots, tmp_path, kind, verdict):
    fault = {"after_start": "route", "route": kind}
    with slots.take() as slot, Cluster(slot.lab(tmp_path / "lab", "nixl_pd"), fault) as cluster:
        pair, done = validated(cluster, tmp_path)
    assert (pair["verdict"], pair["router"]["answered"], done.returncode) == (verdict, 3, 0 if verdict == "pass" else 2)
    decided = [one["slug"] for one in pair["findings"] if one["role"] in ("failure", "cause", "validity")]
    assert decided == (["router-not-disaggregating"] if verdict == "fail" else [])
    seen = {
        "right": "3 of 3: prefill-1 computed the prompt, decode-1 loaded the prompt",
        "whole": "3 of 3: decode-1 computed the prompt",
    }[kind]
    for name in ("summary.md", "index.html"):
        assert seen in (tmp_path / "reports" / name).read_text(encoding="utf-8")
    assert "through the router" in done.stdout


@wants_ansible
def test_a_sender_of_lmcache_pd_outlives_a_router_that_does_not_disaggregate(slots, tmp_path):
    fault = {"after_start": "route", "route": "one"}
    with slots.take() as slot, Cluster(slot.lab(tmp_path / "lab", "lmcache_pd"), fault) as cluster:
        pair, done = validated(cluster, tmp_path)
        assert requests.get(f"http://{cluster.addresses['prefill']}:8000/health", timeout=5).ok
    assert pair["verdict"] != "fail", done.stdout
    assert pair["router"]["sent"] == 0
    [note] = [one for one in pair["findings"] if one["slug"] == "router-unproven"]
    assert "ends when it gets one" in note["reason"]
