"""Whose process is it?  Two engines with the same port in two real network namespaces, and one of them killed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kvproof.node import processes

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "tests" / "support" / "two_containers.py"
WAYS = ("address", "natted", "published")


def may_make_namespaces() -> bool:
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        return False
    trial = ["unshare", "--net", "ip", "link", "add", "kvproof0", "type", "veth", "peer", "name", "kvproof1"]
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not may_make_namespaces(), reason="needs root and network namespaces with veth"),
]


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("containers")
    done = subprocess.run(
        ["unshare", "--net", sys.executable, str(SCRIPT), str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "module_utils")},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("way", "found_by"), list(zip(WAYS, ("socket", "connection", "start time"))))
def test_each_engine_is_found_however_its_address_leads_there(seen, way, found_by):
    for document, pid, name in zip(seen["up"][way], seen["pids"], "ab"):
        engine = document["engine"]
        assert (engine["pid"], engine["found_by"], engine["listening"]) == (pid, found_by, True)
        assert engine["options"]["model"] == f"/models/{name}"
        assert document["log"]["ids_found"] == [f"cmpl-kvp-{name}"]


@pytest.mark.parametrize("state", ["killed", "gone"])
@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_said_of_its_neighbour_once_an_engine_is_killed(seen, state, way):
    lost, left = seen[state][way]
    assert "/models/b" not in json.dumps(lost)
    assert (lost["log"]["head"], lost["log"]["events"], lost["engine"]["options"]) == ([], [], {})
    assert lost["engine"]["pid"] not in seen["pids"]
    assert left["engine"]["pid"] == seen["pids"][1]


def test_an_engine_that_nothing_confirms_is_named_as_such(seen):
    for document in [seen[state][way][0] for state in ("killed", "gone") for way in ("address", "natted")]:
        engine = document["engine"]
        assert (engine["pid"], engine["running"], engine["env"], document["addresses"]) == (None, None, None, [])
        assert engine["unseen"][-1] == processes.NOT_SHOWN.format(8000)
