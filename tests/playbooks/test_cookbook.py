# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/cookbook.md: every recipe is an inventory that Ansible reads and the role plans; check mode sends nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import certificates
import pytest
import yaml

pytest.importorskip("ansible")
pytest.importorskip("paramiko", reason="recipes with kv_reuse_transport: ssh want it")

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
BLOCK = re.compile(r"^```yaml\n# (\S+)\n(.*?)^```", re.M | re.S)
OPTIONS = yaml.safe_load((ROOT / "roles/kv_reuse/meta/argument_specs.yml").read_text())["argument_specs"]["main"][
    "options"
]

#: title of a recipe → "holder → receiver" of each cluster, for every hosts.yml that it has
PAIRS = {
    "One pair": [{"default": {"gpu-11 → gpu-12"}}],
    "Two clusters": [{"tokyo": {"tokyo-1 → tokyo-2"}, "osaka": {"osaka-1 → osaka-2", "osaka-2 → osaka-1"}}],
    "Many clusters": [
        {
            "c01": {"c01-p1 → c01-d1", "c01-p1 → c01-d2", "c01-p1 → c01-d3"},
            "c02": {"c02-p1 → c02-d1", "c02-p1 → c02-d2"},
            "c03": {"c03-p1 → c03-d1"},
        }
    ],
    "Two URLs": [{"default": {"p → d"}}],
    "API keys": [{"default": {"gpu-11 → gpu-12"}}],
    "TLS": [{"default": {"gpu-11 → gpu-12"}}],
    "Proxies and header fields": [{"default": {"gpu-11 → gpu-12"}}],
    "Engines whose API is private": [{"default": {"gpu-11 → gpu-12"}}],
    "Containers": [{"default": {"gpu-11 → gpu-12"}}, {"default": {"vllm-prefill → vllm-decode"}}],
    "Pods, and logs that are not on the node": [{"default": {"vllm-prefill-0 → vllm-decode-0"}}],
    "Multiprocess mode": [{"default": {"gpu-11 → gpu-12"}}],
    "NixlConnector, LMCache PD": [{"nixl": {"nixl-p → nixl-d"}, "pd": {"pd-p → pd-d"}}],
    "The cluster's own router": [{"default": {"gpu-11 → gpu-12", "gpu-11 → gpu-13"}}],
}


def recipes() -> dict[str, list[dict[str, str]]]:
    """Text by file name of the inventories of each recipe; a hosts.yml begins one."""
    found: dict[str, list[dict[str, str]]] = {}
    for section in (ROOT / "docs" / "cookbook.md").read_text("utf-8").split("\n## ")[1:]:
        inventories: list[dict[str, str]] = []
        for name, text in BLOCK.findall(section):
            if name == "hosts.yml":
                inventories.append({})
            inventories[-1][name] = text
        found[section.partition("\n")[0]] = inventories
    return found


RECIPES = [(title, number) for title, inventories in recipes().items() for number in range(len(inventories))]


def play(folder: Path, *words: str) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "KV_REUSE_"))}
    environment = {**kept, "ANSIBLE_HOME": str(folder / ".ansible"), "PYTHONIOENCODING": "utf-8"}
    command = [BIN / "ansible-playbook", "-i", folder / "inventory", *words, ROOT / "validate.yml"]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_recipe_has_its_pairs_here():
    assert {title: len(inventories) for title, inventories in recipes().items()} == {
        title: len(expected) for title, expected in PAIRS.items()
    }


@pytest.mark.parametrize(("title", "number"), RECIPES)
def test_a_recipe_is_planned_as_it_stands(tmp_path, title, number):
    ca = str(certificates.self_signed(tmp_path)) if title == "TLS" else ""  # which has to be there
    for name, text in recipes()[title][number].items():
        path = tmp_path / "inventory" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("/etc/ssl/certs/company-ca.pem", ca), encoding="utf-8")
        assert set(re.findall(r"\bkv_reuse_\w+", text)) <= set(OPTIONS)
    play(tmp_path, "--check", "-e", "kv_reuse_nodes=false", "-e", "vault_kv_reuse_api_key=nobodys")
    verdict = json.loads((tmp_path / "reports" / "verdict.json").read_text(encoding="utf-8"))
    assert {
        cluster["name"]: {f"{pair['holder']} → {pair['receiver']}" for pair in cluster["pairs"]}
        for cluster in verdict["clusters"]
    } == PAIRS[title][number]
