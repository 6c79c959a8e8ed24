# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""The lab's files agree with each other: defaults and argument specs, inventory and role, faults and their schema."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles" / "kv_lab"
FAULTS = sorted((ROOT / "lab" / "faults").glob("*.yml"))


def load(path):
    return yaml.safe_load(path.read_text())


def test_every_default_is_specified_and_equal():
    options = load(ROLE / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
    assert {name: spec["default"] for name, spec in options.items()} == load(ROLE / "defaults" / "main.yml")


def test_demo_inventory_is_the_lab():
    defaults = load(ROLE / "defaults" / "main.yml")
    inventory = load(ROOT / "inventory" / "demo" / "hosts.yml")
    listed = {}
    for group, role in (("kv_prefill", "prefill"), ("kv_decode", "decode"), ("kv_controller", "controller")):
        for name, host in inventory[group]["hosts"].items():
            listed[name] = (role, host["ansible_host"], host["ansible_port"])
    controller = {**defaults["kv_lab_controller"], "role": "controller"}
    expected = {n["name"]: (n["role"], n["address"], n["ssh_port"]) for n in [*defaults["kv_lab_nodes"], controller]}
    assert listed == expected
    url = f"http://{controller['address']}:{controller['port']}"
    assert inventory["kv_controller"]["hosts"]["controller-1"]["kv_reuse_controller_url"] == url


@pytest.mark.parametrize("path", FAULTS, ids=lambda path: path.stem)
def test_fault_says_what_it_breaks_and_what_to_expect(path):
    fault = load(path)
    known = {"title", "broken", "expect", "all", "prefill", "decode", "model_copy", "after_start", "edit"}
    assert set(fault) <= known | {"engines_exit", "registered"}
    assert fault["title"]
    assert fault["broken"]
    assert set(fault["expect"]) == {"verdict", "first", "also"}
    assert fault["expect"]["verdict"] in ("pass", "fail", "inconclusive")
    assert (fault["expect"]["verdict"] == "pass") == (fault["expect"]["first"] is None)
    for section in ("all", "prefill", "decode"):
        assert set(fault.get(section, {})) <= {"lmcache", "env", "arguments", "model_copy"}
    if "after_start" in fault:
        assert (ROLE / "tasks" / f"after_{fault['after_start']}.yml").is_file()
