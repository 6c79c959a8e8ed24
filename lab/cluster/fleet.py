#!/usr/bin/env python3
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
import getpass
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

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
SSHD = """\
{listen}
HostKey {host_key}
AuthorizedKeysFile {authorized_keys}
AuthenticationMethods publickey
StrictModes no
UsePAM {pam}
PidFile none
PrintMotd no
LogLevel ERROR
AllowTcpForwarding local
MaxStartups 200
MaxSessions 30
# a bash that takes itself for nested does not read ~/.bashrc, which is no part of a node here
SetEnv SHLVL=1
{kex}
"""


class FleetError(Exception):
    """The fleet did not come up; one sentence."""


def address(cluster: int, role: str) -> str:
    return f"127.{FIRST_NET + cluster // 250}.{cluster % 250}.{HOSTS[role]}"


def name(cluster: int, role: str = "") -> str:
    """A host's inventory name, or the cluster's."""
    return f"c{cluster:03d}-{role}".rstrip("-")


def plantable() -> dict[str, dict[str, Any]]:
    """Faults that are nothing but other settings of nodes, and let every node start and register."""
    found = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
             for path in sorted((ROOT / "lab" / "faults").glob("*.yml"))}  # fmt: skip
    told, changed = {"title", "broken", "expect", "only"}, {"lmcache", "env", "arguments"}
    return {slug: fault for slug, fault in found.items()
            if all(key in told or (key in ("all", "prefill", "decode") and set(part) <= changed)
                   for key, part in fault.items())}  # fmt: skip


class Fleet:
    """Starts it, writes the inventory, and ends it."""

    def __init__(self, folder: Path, clusters: int, planted: dict[int, str] | None = None, kex: str = KEX):
        self.folder, self.clusters, self.planted, self._kex = folder, clusters, planted or {}, kex
        self.inventory = folder / "inventory.yml"
        self._faults = plantable()
        self._processes: list[subprocess.Popen] = []

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
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes = []

    def _start(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, mode=0o700)
        self._write_keys()
        groups = [range(at, min(at + CLUSTERS_PER_PROCESS, self.clusters))
                  for at in range(0, self.clusters, CLUSTERS_PER_PROCESS)]  # fmt: skip
        engines = [self._engines(number, group) for number, group in enumerate(groups)]
        addresses = [address(cluster, role) for cluster in range(self.clusters) for role in HOSTS]
        for number, at in enumerate(range(0, len(addresses), SSH_ADDRESSES)):
            self._sshd(number, addresses[at : at + SSH_ADDRESSES])
        self.inventory.write_text(yaml.safe_dump(self._hosts(), sort_keys=False), encoding="utf-8")
        told = {name(cluster): slug for cluster, slug in self.planted.items()}
        (self.folder / "planted.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        for log, process in engines:
            self._wait(log, process)

    def _write_keys(self) -> None:
        for key in ("client_key", "host_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / key], check=True)
        public = (self.folder / "host_key.pub").read_text(encoding="utf-8").split()[:2]
        lines = [f"[127.*]:{SSH_PORT} {' '.join(public)}\n"]
        (self.folder / "known_hosts").write_text("".join(lines), encoding="utf-8")

    # ---- engines

    def _engines(self, number: int, clusters: range) -> tuple[Path, subprocess.Popen]:
        folder = self.folder / f"engines-{number}"
        spec = {
            "folder": str(folder),
            "worker_ports": WORKER_PORTS + number * CLUSTERS_PER_PROCESS * 2 * PORTS_A_NODE,
            "ports_a_node": PORTS_A_NODE,
            "controllers": [{"name": name(one, "controller"), "host": address(one, "controller"), "port": 9000,
                             "pull": 8300, "reply": 8400} for one in clusters],
            "nodes": [self._node(one, role) for one in clusters for role in ("prefill", "decode")],
        }  # fmt: skip
        path = self.folder / f"engines-{number}.yml"
        path.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
        words = [sys.executable, "-m", "lab.rehearsal", "fleet", str(path)]
        return self._run(f"engines-{number}", words, cwd=ROOT)

    def _node(self, cluster: int, role: str) -> dict[str, Any]:
        node: dict[str, Any] = {
            "name": name(cluster, role),
            "address": address(cluster, role),
            "controller": name(cluster, "controller"),
            "arguments": ["--dtype", "float32"],
        }
        fault = self._faults[self.planted[cluster]] if cluster in self.planted else {}
        for part in (fault.get("all") or {}, fault.get(role) or {}):
            for key, value in self._filled_in(cluster, part).items():
                node[key] = {**node.get(key, {}), **value} if isinstance(value, dict) else [*node.get(key, []), *value]
        return node

    def _filled_in(self, cluster: int, part: dict[str, Any]) -> dict[str, Any]:
        """The fault's changes with its {{ names }} replaced."""
        names = {f"kv_lab__address.{role}": address(cluster, role) for role in HOSTS}
        names |= {"kv_lab_controller.address": address(cluster, "controller"),
                  "kv_lab_dir": str(self.folder / name(cluster))}  # fmt: skip
        return json.loads(re.sub(r"\{\{ ([\w.]+) \}\}", lambda found: names[found[1]], json.dumps(part)))

    # ---- SSH

    def _sshd(self, number: int, addresses: list[str]) -> None:
        path = self.folder / f"sshd-{number}.conf"
        listen = "\n".join(f"ListenAddress {one}:{SSH_PORT}" for one in addresses)
        path.write_text(SSHD.format(listen=listen, host_key=self.folder / "host_key",
                                    authorized_keys=self.folder / "client_key.pub",
                                    kex=f"KexAlgorithms {self._kex}" if self._kex else "",
                                    pam="yes" if _locked() else "no"),
                        encoding="utf-8")  # fmt: skip
        sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
        if not sshd:
            raise FleetError("sshd is missing: install OpenSSH's server (make up does, as root)")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self._run(f"sshd-{number}", [sshd, "-D", "-e", "-f", str(path)])

    def _run(self, what: str, words: list[str], **how: Any) -> tuple[Path, subprocess.Popen]:
        path = self.folder / f"{what}.log"
        with open(path, "wb") as log:
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, **how)
        self._processes.append(process)
        return path, process

    @staticmethod
    def _wait(log: Path, process: subprocess.Popen) -> None:
        deadline = time.monotonic() + READY_S
        while b'"ready"' not in log.read_bytes():
            if process.poll() is not None or time.monotonic() > deadline:
                raise FleetError(f"the engines did not come up, see {log}: {log.read_text(errors='replace')[-300:]}")
            time.sleep(0.1)

    # ---- the operator's side

    def _hosts(self) -> dict[str, Any]:
        known_hosts = self.folder / "known_hosts"
        groups: dict[str, Any] = {f"kv_{role}": {"hosts": dict(self._group(role))} for role in HOSTS}
        variables = {
            "ansible_port": SSH_PORT,
            "ansible_user": getpass.getuser(),
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


def _locked() -> bool:
    """Whether sshd refuses this account unless PAM is asked."""
    try:
        return f"\n{getpass.getuser()}:!" in "\n" + Path("/etc/shadow").read_text(encoding="utf-8")
    except OSError:
        return False


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
    if unknown or not 0 < max(args.clusters, 1) <= 1000 or len(args.faults) > args.clusters:
        parser.error(f"cannot plant {', '.join(unknown)}; known: {', '.join(plantable())}" if unknown
                     else "give 1 to 1000 clusters, and no more faults than clusters")  # fmt: skip
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Fleet(args.folder, args.clusters, spread(args.faults, args.clusters), args.kex) as fleet:
            print(fleet.inventory, flush=True)
            while True:
                signal.pause()
    except KeyboardInterrupt:
        return 0
    except FleetError as exc:
        print(exc, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
