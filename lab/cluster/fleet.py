# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""A fleet on one machine: many rehearsal clusters of two nodes, reachable over SSH, with their inventory.

    .cache/venv/bin/python -m lab.cluster.fleet --clusters 50 [--faults 5] [--folder /tmp/kvproof-fleet]

Prints the inventory's path when all is up, and stays until it is interrupted. The folder then holds:

    inventory.yml   every cluster with its prefill node, decode node and controller
    planted.json    cluster → the fault of lab/faults that was planted in it
    engines-N.log, sshd-N.log, engines-N/   what the processes say, and the nodes' logs and LMCache files

Every node has an address and a log of its own; engines share processes (CLUSTERS_PER_PROCESS), and an SSH server has
up to 16 addresses, as many as OpenSSH can listen on. So node-side checks of a process see the fleet's process, which
is no engine's by its command line: the inventory names log and LMCache file instead, as for engines in containers.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from . import ssh, supervise
from .fault import FAULTS, changes, filled_in, load
from .lab import is_root, me

ROOT = Path(__file__).resolve().parents[2]
CLUSTERS_PER_PROCESS = 25
SSH_PORT, SSH_ADDRESSES = 2222, 16
FIRST_NET = 16  # 127.16.0.0 and up: out of the way of the lab and of the fault matrix
HOSTS = {"controller": 5, "prefill": 13, "decode": 97}
WORKER_PORTS = 28_500  # LMCache's workers listen on every address, so their ports have to differ
PORTS_A_NODE = 2
READY_S = 300.0
# the default of OpenSSH 9.0 to 9.8 (sntrup761) takes 0.1 s of CPU at each end of a connection, this one 0.01 s
KEX = "curve25519-sha256"
MORE_SSHD = """\
LogLevel ERROR
MaxStartups 200
# a bash that takes itself for nested does not read ~/.bashrc, which is no part of a node here
SetEnv SHLVL=1
"""


def address(cluster: int, role: str) -> str:
    return f"127.{FIRST_NET + cluster // 250}.{cluster % 250}.{HOSTS[role]}"


def name(cluster: int, role: str = "") -> str:
    """A host's inventory name, or the cluster's."""
    return f"c{cluster:03d}-{role}".rstrip("-")


def plantable() -> dict[str, dict[str, Any]]:
    """Faults that are nothing but other settings of nodes, and let every node start and register."""
    texts, settings = {"title", "broken", "expect", "only"}, {"lmcache", "env", "arguments"}

    def is_plantable(fault: dict[str, Any]) -> bool:
        parts = {key: part for key, part in fault.items() if key not in texts}
        return set(parts) <= {"all", "prefill", "decode"} and all(set(part) <= settings for part in parts.values())

    faults = {path.stem: load(path.stem) for path in sorted(FAULTS.glob("*.yml"))}
    return {slug: fault for slug, fault in faults.items() if is_plantable(fault)}


class Fleet:
    """Starts it, writes the inventory, and ends it.  Raises supervise.Failure where it does not come up."""

    def __init__(self, folder: Path, clusters: int, planted: dict[int, str] | None = None, kex: str = KEX):
        self.folder, self.clusters, self.planted, self._kex = folder, clusters, planted or {}, kex
        self.inventory = folder / "inventory.yml"
        self._faults = plantable()

    def __enter__(self) -> Fleet:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        supervise.stop(sorted(self.folder.glob("*.pid")))

    def _start(self) -> None:
        self.close()  # what an interrupted run may have left
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, mode=0o700)
        self._write_keys()
        starts = range(0, self.clusters, CLUSTERS_PER_PROCESS)
        specs = [
            self._engines(number, range(first, min(first + CLUSTERS_PER_PROCESS, self.clusters)))
            for number, first in enumerate(starts)
        ]
        addresses = [address(cluster, role) for cluster in range(self.clusters) for role in HOSTS]
        for number, first in enumerate(range(0, len(addresses), SSH_ADDRESSES)):
            specs.append(self._sshd(number, addresses[first : first + SSH_ADDRESSES]))
        self.inventory.write_text(yaml.safe_dump(self._hosts(), sort_keys=False), encoding="utf-8")
        planted = {name(cluster): slug for cluster, slug in self.planted.items()}
        (self.folder / "planted.json").write_text(json.dumps(planted, indent=1) + "\n", encoding="utf-8")
        supervise.up(specs, READY_S)
        supervise.wait(specs, READY_S)

    def _write_keys(self) -> None:
        for key in ("client_key", "host_key"):
            ssh.make_key(self.folder / key)
        public = (self.folder / "host_key.pub").read_text(encoding="utf-8").split()[:2]
        (self.folder / "known_hosts").write_text(f"[127.*]:{SSH_PORT} {' '.join(public)}\n", encoding="utf-8")

    # ---- engines

    def _engines(self, number: int, clusters: range) -> dict[str, Any]:
        members = {
            "folder": str(self.folder / f"engines-{number}"),
            "worker_ports": WORKER_PORTS + number * CLUSTERS_PER_PROCESS * 2 * PORTS_A_NODE,
            "ports_a_node": PORTS_A_NODE,
            "controllers": [self._controller(cluster) for cluster in clusters],
            "nodes": [self._node(cluster, role) for cluster in clusters for role in ("prefill", "decode")],
        }
        path = self.folder / f"engines-{number}.yml"
        path.write_text(yaml.safe_dump(members, sort_keys=False), encoding="utf-8")
        words = [sys.executable, "-m", "lab.cluster.members", str(path)]
        return self._process(f"engines-{number}", words, env=dict(os.environ), cwd=str(ROOT), ready_log='"ready"')

    @staticmethod
    def _controller(cluster: int) -> dict[str, Any]:
        own, at = name(cluster, "controller"), address(cluster, "controller")
        return {"name": own, "host": at, "port": 9000, "pull": 8300, "reply": 8400}

    def _node(self, cluster: int, role: str) -> dict[str, Any]:
        addresses = {role: address(cluster, role) for role in HOSTS}
        fault = self._faults[self.planted[cluster]] if cluster in self.planted else {}
        changed = changes(filled_in(fault, addresses, self.folder / name(cluster)), role)
        return {
            "name": name(cluster, role),
            "address": addresses[role],
            "controller": name(cluster, "controller"),
            **{key: changed[key] for key in ("arguments", "env", "lmcache")},
        }

    # ---- SSH

    def _sshd(self, number: int, addresses: list[str]) -> dict[str, Any]:
        path = self.folder / f"sshd-{number}.conf"
        text = ssh.config(
            [f"{at}:{SSH_PORT}" for at in addresses],
            host_key=self.folder / "host_key",
            authorized_keys=self.folder / "client_key.pub",
            login=me(),
        )
        more = MORE_SSHD + (f"KexAlgorithms {self._kex}\n" if self._kex else "")
        path.write_text(text + more, encoding="utf-8")
        sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
        if not sshd:
            raise supervise.Failure("sshd is missing: install OpenSSH's server (make up does, as root)")
        if is_root():
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        places = [f"tcp://{at}:{SSH_PORT}" for at in addresses]
        return self._process(f"sshd-{number}", [sshd, "-D", "-e", "-f", str(path)], ready_urls=places)

    def _process(self, what: str, words: list[str], **more: Any) -> dict[str, Any]:
        return supervise.spec(what, words, self.folder, self.folder, **more)

    # ---- the operator's side

    def _hosts(self) -> dict[str, Any]:
        known_hosts = self.folder / "known_hosts"
        mark = hashlib.sha1(f"{self.folder}{os.readlink('/proc/self/ns/net')}".encode()).hexdigest()
        groups: dict[str, Any] = {f"kv_{role}": {"hosts": dict(self._group(role))} for role in HOSTS}
        variables = {
            # kept for this fleet in this network alone: another's nodes have the same addresses
            "ansible_control_path_dir": f"~/.ansible/cp/{mark[:8]}",
            "ansible_port": SSH_PORT,
            "ansible_user": me(),
            "ansible_ssh_private_key_file": str(self.folder / "client_key"),
            "ansible_ssh_common_args": f"-F none -o IdentitiesOnly=yes -o UserKnownHostsFile={known_hosts}",
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        return {"all": {"vars": variables}, **groups}

    def _group(self, role: str) -> Iterator[tuple[str, dict[str, str]]]:
        for cluster in range(self.clusters):
            mine, own = address(cluster, role), name(cluster, role)
            host = {"ansible_host": mine, "kv_reuse_cluster": name(cluster)}
            if role == "controller":
                host["kv_reuse_controller_url"] = f"http://{mine}:9000"
            else:
                folder = self.folder / f"engines-{cluster // CLUSTERS_PER_PROCESS}"
                host["kv_reuse_log"] = {"file": str(folder / f"{own}.log")}
                host["kv_reuse_config_file"] = str(folder / f"{own}.yaml")
                host["kv_reuse_internal_api_url"] = f"http://{mine}:6999"
            yield own, host


def spread(slugs: list[str], clusters: int) -> dict[int, str]:
    """Clusters, evenly far apart, and the fault of each."""
    return {number * clusters // len(slugs): slug for number, slug in enumerate(slugs)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clusters", type=int, default=10)
    parser.add_argument("--faults", nargs="*", default=[], metavar="SLUG", help="plant these, each in a cluster")
    parser.add_argument(
        "--kex", default=KEX, help="key exchange of SSH, '' for OpenSSH's own default (default: %(default)s)"
    )
    parser.add_argument("--folder", type=Path, default=Path("/tmp/kvproof-fleet"))
    args = parser.parse_args()
    unknown = sorted(set(args.faults) - set(plantable()))
    if unknown:
        parser.error(f"cannot plant {', '.join(unknown)}; known: {', '.join(plantable())}")
    if not 0 < args.clusters <= 1000 or len(args.faults) > args.clusters:
        parser.error("give 1 to 1000 clusters, and no more faults than clusters")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Fleet(args.folder, args.clusters, spread(args.faults, args.clusters), args.kex) as fleet:
            print(fleet.inventory, flush=True)
            while True:
                signal.pause()
    except KeyboardInterrupt:
        return 0
    except supervise.Failure as exc:
        print(exc, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
