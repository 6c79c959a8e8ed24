# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""One cluster of processes, healthy or broken as a file of lab/faults says: started, broken further, and stopped.

Used by the role kv_lab (__main__.py), by tests and by benches; the latter give every cluster a slot of its own
(slots.py), so that many can run side by side.  Nothing but the cluster's own processes is touched.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import lmcache_pd, plan, ssh, supervise
from .fault import Fault, filled_in, variables
from .lab import Lab

DISTURBANCE = "disturbance"
TAKEN = "Address already in use"  # the last words of an engine that never gets ready
PROXY_PORT = 8010
ROUTER = Path(__file__).with_name("router.py")
ROUTER_PORT = 8020


class Cluster:
    """``fault`` is a fault's file as it is written, {} for a healthy cluster.

    As a context manager it is started and broken further, and stopped at the end.
    """

    def __init__(self, lab: Lab, fault: Fault | None = None):
        self.lab = lab
        self.fault = filled_in(fault or {}, lab.addresses, lab.dir)
        self.addresses = lab.addresses
        for_controller = variables(self.fault, "controller")
        at = f"http://{lab.controller.address}:{lab.controller.port}"
        self.controller_url = for_controller.get("kv_reuse_controller_url", at)

    def __enter__(self) -> Cluster:
        try:
            self.start()
            self.after_start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def log(self, role: str) -> Path:
        """Of the only node of this role, or of the controller."""
        return self.lab.log(self.lab.named(role)[0])

    # ---- up and down

    def start(self) -> dict[str, Any]:
        """Starts what does not run as the plan says, stops what is in it no more, waits until all is ready.

        changed: whether anything had to be done; started, stopped, written: what.  Raises supervise.Failure.
        """
        lab = self.lab
        for folder in (lab.dir / "run", *(lab.home(node.name) for node in lab.nodes)):
            folder.mkdir(parents=True, exist_ok=True)
        written = ssh.write_keys(lab, self.fault) if lab.ssh_nodes else []
        if ssh.write(lab.dir / "run" / "validate.yml", plan.inventory(lab, self.fault)):
            written.append("validate.yml")
        specs = self._planned()
        recorded = {Path(spec["record"]) for spec in specs}
        stopped = supervise.stop([record for record in self._records() if record not in recorded])
        answer = supervise.up(specs, lab.start_timeout)
        ending = {node.name for node in lab.nodes} if self.fault.get("engines_exit") else set()
        supervise.wait([spec for spec in specs if spec["name"] in ending], lab.start_timeout, until_exit=True)
        hanging = set(lab.named(self.fault["never_ready"])) if "never_ready" in self.fault else set()
        supervise.wait([spec for spec in specs if spec["name"] not in ending | hanging], lab.start_timeout)
        stuck = [{**spec, "ready_log": TAKEN, "ready_urls": []} for spec in specs if spec["name"] in hanging]
        supervise.wait(stuck, lab.start_timeout)
        return {
            "changed": bool(answer["changed"] or stopped or written),
            "started": answer["differ"],
            "stopped": stopped,
            "written": written,
        }

    def stop(self) -> list[str]:
        """The names of the processes that ran."""
        return supervise.stop(self._records())

    def _records(self) -> list[Path]:
        return sorted((self.lab.dir / "run").glob("*.pid"))

    def _planned(self, *, edited: bool = False) -> list[dict[str, Any]]:
        """The plan's specs, which are kept beside the records to be looked at."""
        specs = plan.processes(self.lab, self.fault, edited=edited)
        supervise.write_private(self.lab.dir / "run" / "processes.json", json.dumps(specs, indent=4))
        return specs

    # ---- what a fault does after the start

    def after_start(self) -> str | None:
        """Carries out the fault's ``after_start``, and returns its name."""
        action = self.fault.get("after_start")
        if action:
            AFTER_START[action](self)
            time.sleep(self.fault.get("pause", 0))
        return action

    def _named(self) -> list[str]:
        """The names of those whom the fault's ``who`` means."""
        return self.lab.named(self.fault["who"])

    def stop_members(self) -> None:
        supervise.stop([self.lab.dir / "run" / f"{name}.pid" for name in self._named()])

    def restart(self, *, edited: bool = False) -> None:
        """Those alone, although their unit is one: a controller keeps what a restarted engine had registered before.

        Who starts the cluster next starts them once more: they are not as from a start of all.
        """
        self.stop_members()
        planned = [spec for spec in self._planned(edited=edited) if spec["name"] in self._named()]
        specs = [{**spec, "restarted": True} for spec in planned]
        supervise.up(specs, self.lab.start_timeout)
        supervise.wait([{**spec, "ready_log": spec.get("restarted_log", "")} for spec in specs], self.lab.start_timeout)

    def restart_edited(self) -> None:
        self.restart(edited=True)

    def hand_over_and_restart(self) -> None:
        """Once a prompt went from LMCache's sender to its receiver, so that the one has met the other."""
        for node, words in zip(self.lab.nodes, ({"kv_transfer_params": lmcache_pd.spec(self.lab, self.fault)}, {})):
            body = {"model": self.lab.model_name, "prompt": list(range(300, 340)), "max_tokens": 1, **words}
            headers = {"Content-Type": "application/json"}
            url = f"http://{node.address}:{node.port}/v1/completions"
            request = urllib.request.Request(url, json.dumps(body).encode(), headers)
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as reply:
                reply.read()
        self.restart()

    def edit_config(self) -> None:
        """On disk: no running engine reads it again."""
        edited = self.lab.named(self.fault["edit"]["role"])
        for spec in plan.processes(self.lab, self.fault, edited=True):
            if spec["name"] in edited:
                supervise.write_files(spec)

    def traffic(self) -> None:
        """Other people's requests meanwhile."""
        for node in self.lab.nodes:
            if node.role == self.fault["who"]:
                self._disturb("traffic", f"http://{node.address}:{node.port}", self.lab.model_name)

    def cut_log(self) -> None:
        """Once the probe is at its work."""
        for name in self._named():
            self._disturb("cut-log", str(self.lab.log(name)))

    def mirror(self) -> None:
        """A proxy before the prefill engine that sends every prompt to the decode engine first."""
        place = f"{self.addresses['prefill']}:{PROXY_PORT}"
        urls = {node.role: f"http://{node.address}:{node.port}" for node in self.lab.nodes}
        self._disturb("mirror", place, urls["prefill"], urls["decode"], ready_urls=[f"tcp://{place}"])

    def strip(self) -> None:
        """A proxy before an engine that drops kv_transfer_params."""
        for node in self.lab.nodes:
            if node.role == self.fault["who"]:
                place = f"{node.address}:{PROXY_PORT}"
                url = f"http://{node.address}:{node.port}"
                self._disturb("strip", place, url, ready_urls=[f"tcp://{place}"])

    def route(self) -> None:
        """The cluster's own router at the prefill engine's address, of the kind that ``route`` says (router.py)."""
        place = f"{self.addresses['prefill']}:{ROUTER_PORT}"
        urls = [f"http://{node.address}:{node.port}" for node in self.lab.nodes]
        words = [place, self.fault["route"], *urls]
        self._disturb(*words, program=ROUTER, ready_urls=[f"tcp://{place}"])

    def _disturb(self, *words: str, program: Path = plan.DISTURB, **more: Any) -> None:
        spec = self.lab.process(DISTURBANCE, [sys.executable, str(program), *words], unit=DISTURBANCE, **more)
        supervise.up([spec], self.lab.start_timeout)
        supervise.wait([spec], self.lab.start_timeout)


AFTER_START: dict[str, Callable[[Cluster], None]] = {
    "stop": Cluster.stop_members,
    "restart": Cluster.restart,
    "restart_edited": Cluster.restart_edited,
    "hand_over_and_restart": Cluster.hand_over_and_restart,
    "edit_config": Cluster.edit_config,
    "traffic": Cluster.traffic,
    "cut_log": Cluster.cut_log,
    "mirror": Cluster.mirror,
    "strip": Cluster.strip,
    "route": Cluster.route,
}


def take_down(lab: Lab) -> dict[str, Any]:
    """Stops the cluster's processes and removes everything but the models and the logs."""
    stopped = supervise.stop(sorted((lab.dir / "run").glob("*.pid")))
    names = ["home", "nodes", "run", "ssh", "model-copy", "rehearsal-model-copy"]
    removed = [folder for folder in (*(lab.dir / name for name in names), lab.socket_dir) if folder.is_dir()]
    for folder in removed:
        shutil.rmtree(folder)
    return {"changed": bool(stopped or removed), "stopped": stopped, "removed": [str(folder) for folder in removed]}
