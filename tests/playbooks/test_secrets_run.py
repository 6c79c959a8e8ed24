# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Canaries wherever an operator has secrets, and a run that talks as much as it can: none of them is seen anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

pytest.importorskip("aiohttp", reason="the rehearsal's requirements are not installed (lab/rehearsal)")
pytest.importorskip("cbor2", reason="the rehearsal's requirements are not installed (lab/rehearsal)")

from kvproof.report import bundle

from lab.cluster.cluster import Cluster
from lab.cluster.slots import Slots

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"


def canary(name: str) -> str:
    """No shape that redaction knows: what keeps it back is where it stands."""
    return f"Kanarie{name}Vogel"


#: of the engines; LMCache knows none of these keys, as it knows none of a vendor's
FAULT = {
    "all": {
        "env": {
            "VLLM_API_KEY": canary("Key"),
            "HF_TOKEN": canary("Hub"),
            "AWS_SECRET_ACCESS_KEY": canary("Cloud"),
            "LMCACHE_EXTRA_CONFIG": json.dumps({"token": canary("Extra")}),
            "MY_DATABASE": f"postgres://me:{canary('Database')}@db/kv",
        },
        "lmcache": {"vendor_credential": canary("Yaml"), "enable_async_loading": False},
    }
}
OF_AN_ENGINE = {
    "kv_reuse_api_key": canary("Key"),
    "kv_reuse_headers": {"X-Gateway": canary("Header")},
    "ansible_password": canary("Login"),
    "ansible_become_password": canary("Become"),
}
LINES = (
    '[2026-11-27 10:00:00,000] LMCache ERROR: Failed with Authorization: Bearer {} (x.py:1:lmcache.x)\n'
    '[2026-11-27 10:00:00,001] LMCache WARNING: Failed to register with controller: password={} (x.py:1:lmcache.x)\n'
    '[2026-11-27 10:00:00,002] LMCache INFO: Using hash algorithm: builtin --api-key {} (x.py:1:lmcache.x)\n'
)  # fmt: skip


class Run:
    """validate.yml, and what anybody could see of it: output, files, and command lines while it ran."""

    def __init__(self, folder: Path, hosts: dict, *words: str, **environment: str):
        self.folder, self.reports = folder, folder / "reports"
        (folder / "home").mkdir()
        (folder / "tmp").mkdir()
        (folder / "hosts.yml").write_text(yaml.safe_dump(hosts))
        command = [PLAYBOOK, "-i", folder / "hosts.yml", ROOT / "validate.yml", *words]
        command += ["-e", f"kv_reuse_reports_dir={self.reports}", "-e", "kv_reuse_bundle=true"]
        with (folder / "out").open("wb") as out:
            process = subprocess.Popen(
                [*map(str, command), "-e", f"ansible_python_interpreter={sys.executable}"],
                cwd=ROOT,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp"), **environment},
            )
            self.commands: set[bytes] = set()
            while process.poll() is None:
                self._look(process.pid)
                time.sleep(0.05)
        self.code, self.output = process.returncode, (folder / "out").read_bytes()

    def _look(self, session: int) -> None:
        """Command lines of the run's own processes, which any user of the machine can list."""
        for path in Path("/proc").iterdir():
            if path.name.isdigit():
                try:
                    if int((path / "stat").read_text().rpartition(")")[2].split()[3]) == session:
                        self.commands.add((path / "cmdline").read_bytes())
                except OSError:
                    pass

    def seen(self) -> dict[str, bytes]:
        """Place → bytes of all that it leaves, but for the inventory that the operator wrote."""
        places = {"output": self.output, "command lines": b"\n".join(self.commands)}
        for path in self.folder.rglob("*"):
            if path.is_file() and path.name not in ("hosts.yml", "out"):
                packed = path.name.endswith(".json.gz")
                text = json.dumps(bundle.unpack(path.read_bytes())).encode() if packed else path.read_bytes()
                places[str(path.relative_to(self.folder))] = text
        return places


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """An inventory of one cluster whose engines, files and logs hold canaries."""
    slots = Slots()
    with slots.take() as slot, Cluster(slot.lab(tmp_path_factory.mktemp("cluster")), FAULT) as cluster:
        groups: dict[str, dict] = {}
        for role in ("prefill", "decode"):
            with cluster.log(role).open("a") as log:
                log.write("".join(line.format(canary("Log")) for line in LINES.splitlines(keepends=True)))
            host = {
                "kv_reuse_url": f"http://{cluster.addresses[role]}:8000",
                "kv_reuse_log": {"file": str(cluster.log(role))},
            }
            groups[f"kv_{role}"] = {"hosts": {f"{role}-1": {**host, **OF_AN_ENGINE, "ansible_connection": "local"}}}
        controller = {"kv_reuse_controller_url": cluster.controller_url, "ansible_connection": "local"}
        groups["kv_controller"] = {"hosts": {"controller-1": controller}}
        yield groups


def leaks(run: Run) -> list[str]:
    return sorted(place for place, text in run.seen().items() if b"Kanarie" in text)


def test_a_run_that_says_all_it_can_says_no_secret(hosts, tmp_path):
    run = Run(tmp_path, hosts, "-vvvv")
    assert (run.code, (run.reports / "verdict.json").exists()) == (2, True), run.output[-3000:].decode()
    assert b"async-loading-off" in run.output
    assert any("bundle" in place for place in run.seen())
    assert leaks(run) == []


def test_nor_in_debugging_output_nor_where_an_engine_refuses_the_key(hosts, tmp_path):
    wrong = json.loads(json.dumps(hosts))
    for role in ("prefill", "decode"):
        wrong[f"kv_{role}"]["hosts"][f"{role}-1"]["kv_reuse_api_key"] = canary("Wrong")
    run = Run(tmp_path, wrong, ANSIBLE_STDOUT_CALLBACK="minimal", ANSIBLE_DEBUG="1")
    assert run.code == 2
    assert leaks(run) == []


@pytest.mark.parametrize("url", ["http://me:{}@127.0.0.1:9", "http://127.0.0.1:9/?token={}"])
def test_a_url_with_a_secret_is_refused_without_it(hosts, tmp_path, url):
    wrong = json.loads(json.dumps(hosts))
    wrong["kv_decode"]["hosts"]["decode-1"]["kv_reuse_url"] = url.format(canary("Url"))
    run = Run(tmp_path, wrong)
    assert run.code != 0
    assert leaks(run) == []
