# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""The lab's files agree with each other: defaults and argument specs, inventory and role, faults and their schema."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from kvproof.judge.findings import all_findings

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles" / "kv_lab"
FAULTS = sorted((ROOT / "lab" / "faults").glob("*.yml"))
SCHEMA = json.loads((ROOT / "lab" / "faults" / "schema.json").read_text())
#: only makes the rehearsal's engines as slow as real ones
HARMLESS = {"REHEARSAL_PREFILL_TOKEN_S"}


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


def test_the_contract_is_checked_on_the_lab():
    defaults = load(ROLE / "defaults" / "main.yml")
    nodes = {node["role"]: node for node in defaults["kv_lab_nodes"]}
    told = load(ROOT / "tests" / "contract" / "real.yml")
    for side, role in (("holder", "prefill"), ("receiver", "decode")):
        assert told[side]["url"] == f"http://{nodes[role]['address']}:{nodes[role]['port']}"
        assert told[side]["log"] == f".cache/lab/logs/{nodes[role]['name']}.log"
    ports = [f"http://127.0.0.1:{nodes['decode']['internal_api_port'] + rank}" for rank in (0, 1)]
    assert [told["receiver"]["scheduler"], told["receiver"]["worker"]] == ports


@pytest.mark.parametrize("path", FAULTS, ids=lambda path: path.stem)
def test_fault_is_well_formed(path):
    fault = load(path)
    jsonschema.validate(fault, SCHEMA)
    expect = fault["expect"]
    named = {*expect["also"], expect["first"]} - {None}
    assert named <= {finding.slug for finding in all_findings()}
    assert expect["first"] not in expect["also"]
    sections = [fault.get(name, {}) for name in ("all", "prefill", "decode")]
    if "only" not in fault:  # nothing that the rehearsal engines alone obey makes it
        names = {name for section in sections for name in section.get("env", {})}
        assert not {name for name in names if name.startswith("REHEARSAL_")} - HARMLESS


@pytest.mark.parametrize("path", FAULTS, ids=lambda path: path.stem)
def test_fault_is_named_after_the_finding_it_leads_to(path):
    expect = load(path)["expect"]
    finding, _, variant = path.stem.partition("--")
    if expect["first"] or expect["also"]:
        assert finding in ([expect["first"]] if expect["first"] else expect["also"])
        assert not variant.startswith("and-") or variant[len("and-") :] in expect["also"]
    else:
        assert not variant
        assert finding not in {finding.slug for finding in all_findings()}


def test_the_catalogue_is_wide():
    faults = [load(path) for path in FAULTS]
    assert len(faults) >= 45
    assert len({fault["title"] for fault in faults}) == len(faults)
    assert len([path for path in FAULTS if "--and-" in path.stem]) >= 4
