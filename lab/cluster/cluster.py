# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""One rehearsal cluster of real processes (controller, prefill, decode), broken as a file of lab/faults says.

Every cluster has a slot of its own (loopback addresses and ports), so that many can run side by side; nothing but
these processes is touched.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import requests
import yaml

from lab.cluster.slots import Slot

ROOT = Path(__file__).resolve().parents[2]
SHADOW = ROOT / "lab" / "rehearsal" / "shadow"
ROLES = ("prefill", "decode")
CONNECTOR = {"kv_connector": "LMCacheConnectorV1", "kv_role": "kv_both"}
TENSOR_PARALLEL = "--tensor-parallel-size"
START_S = 120.0  # many at once on few cores start slowly
STOP_S = 5.0
LISTENING = b"listening\n"  # said by lab/cluster/disturb.py
REGISTERED = b"Starting lmcache worker"  # said by an engine that has been answered


class ClusterError(Exception):
    """The cluster did not come up as its fault says it should."""


class Cluster:
    """``plan`` is a fault's file, {} for a healthy cluster."""

    def __init__(self, slot: Slot, plan: dict[str, Any], folder: Path):
        self.folder = folder
        self.addresses = {name: f"{slot.net}.{last}" for name, last in
                          (("prefill", 13), ("decode", 97), ("controller", 5))}  # fmt: skip
        self.plan: dict[str, Any] = self._filled_in(plan)
        controller = self.plan.get("controller") or {}
        self.controller_url = f"http://{self.addresses['controller']}:{controller.get('port', 9000)}"
        self._first_port = slot.first_port
        self._processes: dict[str, subprocess.Popen] = {}
        shutil.rmtree(folder, ignore_errors=True)
        for name in ("model", "model-copy", "home"):
            (folder / name).mkdir(parents=True)

    def _filled_in(self, plan: dict[str, Any]) -> dict[str, Any]:
        """The plan with its {{ names }} replaced."""
        names = {f"kv_lab__address.{name}": address for name, address in self.addresses.items()}
        names |= {"kv_lab_controller.address": self.addresses["controller"], "kv_lab_dir": str(self.folder)}
        return json.loads(re.sub(r"\{\{ ([\w.]+) \}\}", lambda found: names[found[1]], json.dumps(plan)))

    # ---- what is started

    def changes(self, role: str) -> dict[str, Any]:
        """The fault's changes to one node: those for all, then its own."""
        found: dict[str, Any] = {"lmcache": {}, "env": {}, "arguments": [], "connector": CONNECTOR}
        for part in (self.plan.get("all") or {}, self.plan.get(role) or {}):
            for key, value in part.items():
                found[key] = {**(found.get(key) or {}), **value} if isinstance(value, dict) else value
        return found

    def settings(self, role: str) -> dict[str, Any]:
        """The node's LMCache file, as roles/kv_lab writes it."""
        controller, number = self.addresses["controller"], ROLES.index(role)
        ranks = range(self._ranks(role))
        healthy = {
            "chunk_size": 256, "local_cpu": True, "max_local_cpu_size": 0.5, "enable_async_loading": True,
            "enable_p2p": True, "p2p_host": self.addresses[role],
            "p2p_init_ports": [8200 + 10 * rank for rank in ranks],
            "p2p_lookup_ports": [8201 + 10 * rank for rank in ranks],
            "transfer_channel": "nixl", "nixl_backends": ["UCX"], "enable_controller": True,
            "lmcache_instance_id": f"{role}-1", "controller_pull_url": f"{controller}:8300",
            "controller_reply_url": f"{controller}:8400",
            "lmcache_worker_ports": [self._first_port + 2 * number + rank for rank in ranks],
            "internal_api_server_enabled": True,
            "internal_api_server_port_start": self._first_port + 4 + 4 * number,
        }  # fmt: skip
        merged = {**healthy, **self.changes(role)["lmcache"]}
        return {key: value for key, value in merged.items() if value is not None}

    def _ranks(self, role: str) -> int:
        words = self.changes(role)["arguments"]
        return int(words[words.index(TENSOR_PARALLEL) + 1]) if TENSOR_PARALLEL in words else 1

    def _environment(self, more: dict[str, Any]) -> dict[str, str]:
        env = {"PATH": os.environ["PATH"], "HOME": self.folder / "home", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0",
               "LMCACHE_LOG_LEVEL": "INFO", "PYTHONPATH": SHADOW, **more}  # fmt: skip
        return {name: str(value) for name, value in env.items() if value is not None}

    def start_engine(self, role: str) -> None:
        changes, address = self.changes(role), self.addresses[role]
        config = self.folder / f"{role}.yaml"
        if not config.exists():  # an engine that is started anew finds the file as it is
            config.write_text(yaml.safe_dump(self.settings(role), sort_keys=False), encoding="utf-8")
        model = self.folder / ("model-copy" if changes.get("model_copy") else "model")
        words = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model),
                 "--served-model-name", "tiny", "--host", address, "--port", "8000", "--max-model-len", "4096",
                 "--enforce-eager", "--dtype", "float32", "--no-enable-prefix-caching",
                 "--enable-prompt-tokens-details", *changes["arguments"]]  # fmt: skip
        if changes["connector"]:
            words += ["--kv-transfer-config", json.dumps(changes["connector"])]
        env = self._environment({
            "LMCACHE_CONFIG_FILE": config, "PROMETHEUS_MULTIPROC_DIR": self.folder / f"{role}.prometheus",
            "LAB_NODE_ADDRESS": address, "LAB_STALL_FIX": "1", **changes["env"]})  # fmt: skip
        self._start(role, words, env)

    def start_controller(self) -> None:
        changes, address = self.plan.get("controller") or {}, self.addresses["controller"]
        words = [sys.executable, str(SHADOW / "bin" / "lmcache_controller"), "--host", changes.get("host", address),
                 "--port", str(changes.get("port", 9000)), "--monitor-ports",
                 json.dumps({"pull": 8300, "reply": 8400, **changes.get("ports", {})})]  # fmt: skip
        self._start("controller", words, self._environment(changes.get("env", {})))

    def _start(self, name: str, words: list[str], env: dict[str, str]) -> None:
        with open(self.folder / f"{name}.log", "ab") as log:
            self._processes[name] = subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL, stdout=log,
                                                     stderr=subprocess.STDOUT, cwd=self.folder)  # fmt: skip

    def stop_process(self, name: str) -> None:
        process = self._processes.pop(name, None)
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def close(self) -> None:
        for name in list(self._processes):
            self.stop_process(name)

    # ---- up

    def start(self) -> None:
        """Raises ClusterError."""
        if "listen" in self.plan:
            self._disturb("listen", *(f"{how}={place}" for how, some in self.plan["listen"].items() for place in some))
            self._until(lambda: (self.folder / "disturb.log").read_bytes() == LISTENING, "obstacles up")
        if not self.plan.get("no_controller"):
            self.start_controller()
        for role in ROLES:
            self.start_engine(role)
        if self.plan.get("engines_exit"):
            self._until(lambda: all(self._processes[role].poll() is not None for role in ROLES), "exit")
            return
        for role in ROLES:
            self._until(lambda role=role: self._up(role), f"{role} up")
        everybody = [] if self.plan.get("no_controller") else [f"{role}-1" for role in ROLES]
        wanted = set(self.plan.get("registered", everybody))
        self._until(lambda: wanted <= self.registered(), f"{', '.join(sorted(wanted))} registered")

    def registered(self) -> set[str]:
        """Instance ids that the controller lists; none when it does not answer."""
        try:
            found = self._get(f"{self.controller_url}/controller/workers").json()
        except (requests.RequestException, ValueError):
            return set()
        return {worker["instance_id"] for worker in found["workers"]}

    def _up(self, role: str) -> bool:
        process = self._processes[role]
        if process.poll() is not None:
            raise ClusterError(f"{role} ended with {process.returncode}")
        return self._answers(f"http://{self.addresses[role]}:8000/health")

    @staticmethod
    def _get(url: str) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            return session.get(url, timeout=2)

    def _answers(self, url: str) -> bool:
        try:
            return self._get(url).status_code == 200
        except requests.RequestException:
            return False

    @staticmethod
    def _until(check: Any, what: str) -> None:
        deadline = time.monotonic() + START_S
        while not check():
            if time.monotonic() > deadline:
                raise ClusterError(f"{what}: not within {START_S:g} s")
            time.sleep(0.05)

    def after_start(self) -> None:
        """Carries out the fault's ``after_start`` on the member that ``who`` names."""
        what = self.plan.get("after_start")
        if what:
            getattr(self, f"_{what}")(self.plan.get("who"))

    def _stop_controller(self, _who: None) -> None:
        self.stop_process("controller")

    def _stop(self, who: str) -> None:
        self.stop_process(who)

    def _restart(self, who: str) -> None:
        self.stop_process(who)
        if who == "controller":
            self.start_controller()
            url = f"{self.controller_url}/controller/workers"
        else:
            registered = (self.folder / f"{who}.log").read_bytes().count(REGISTERED)
            self.start_engine(who)
            url = f"http://{self.addresses[who]}:8000/health"
            self._until(lambda: (self.folder / f"{who}.log").read_bytes().count(REGISTERED) > registered, "registered")
        self._until(lambda: self._answers(url), f"{who} up again")

    def _restart_edited(self, who: str) -> None:
        self._edit_config(who)
        self._restart(who)

    def _edit_config(self, _who: str | None) -> None:
        edit = self.plan["edit"]
        path = self.folder / f"{edit['role']}.yaml"
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        values[edit["key"]] = edit["value"]
        path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")

    def _traffic(self, who: str) -> None:
        self._disturb("traffic", f"http://{self.addresses[who]}:8000", "tiny")

    def _mirror(self, _who: str | None) -> None:
        urls = [f"http://{self.addresses[name]}:8000" for name in ("prefill", "decode")]
        self._disturb("mirror", f"{self.addresses['prefill']}:8010", *urls)
        self._until(lambda: self._answers(f"http://{self.addresses['prefill']}:8010/health"), "mirror up")

    def _cut_log(self, who: str) -> None:
        self._disturb("cut-log", str(self.folder / f"{who}.log"))

    def _disturb(self, *words: str) -> None:
        self._start(
            "disturb", [sys.executable, str(ROOT / "lab" / "cluster" / "disturb.py"), *words], self._environment({})
        )
