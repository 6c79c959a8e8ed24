# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Up and down: a bridge, and for each host a network namespace and a container in it.

All of it is made in the network namespace of whoever asks, so that `unshare --net` keeps it from the machine's own.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from ..cluster import ssh
from . import image

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = Path(__file__).with_name("runc_without_rlimits.py")
BRIDGE = "kvlab0"
LENGTH = 24  # of the prefix that the hosts' network has
VALIDATOR = 1  # this machine's last number in it
BOOT_S = 60.0
SHARED_MEMORY = "4g"  # vLLM and a cache server want more than a container usually has


@dataclass(frozen=True)
class Host:
    name: str
    address: str
    folder: Path

    @property
    def container(self) -> str:
        """The name of its container, and of its network namespace."""
        return f"kvlab-{hashlib.sha256(str(self.folder).encode()).hexdigest()[:6]}-{self.name}"

    @property
    def cable(self) -> str:
        """The bridge's end of its cable."""
        return f"kvlab{self.address.rpartition('.')[2]}"


def podman(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Raises CalledProcessError."""
    command = ["podman", "--runtime", str(RUNTIME), *words]
    return subprocess.run(command, check=check, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def up(folder: Path, addresses: dict[str, str], cache: Path) -> None:
    """Hosts anew, by name, until systemd says that they run.  folder: theirs together, mounted; its `ssh` has the keys.

    Raises CalledProcessError, TimeoutError.
    """
    down(folder)
    root = image.make(cache)
    keys = folder / "ssh"
    keys.mkdir(parents=True, exist_ok=True)
    ssh.make_key(keys / "client_key")
    (keys / "authorized_keys").write_bytes((keys / "client_key.pub").read_bytes())
    (folder / "hosts.json").write_text(json.dumps(addresses))
    hosts = of(folder)
    _bridge(hosts[0].address)
    for host in hosts:
        ssh.make_key(keys / f"{host.name}_host_key")
        _network(host)
        podman(*_container(host, root))
    known = [f"{host.address} {(keys / f'{host.name}_host_key.pub').read_text()}" for host in hosts]
    (keys / "known_hosts").write_text("".join(known))
    for host in hosts:
        _booted(host)


def _mounts(host: Host, *more: str) -> list[str]:
    python = Path(sys.executable).resolve().parents[1]
    mounts = [f"{ROOT}:{ROOT}:ro", f"{host.folder}:{host.folder}", *more]
    if python != Path("/usr"):
        mounts.append(f"{python}:{python}:ro")
    return [word for mount in mounts for word in ("--volume", mount)]


def _container(host: Host, root: Path) -> list[str]:
    keys = host.folder / "ssh"
    login = [f"{keys}/authorized_keys:/etc/ssh/lab_keys:ro", f"{keys}/{host.name}_host_key:/etc/ssh/lab_host_key:ro"]
    return [
        *("run", "--detach", "--rm", "--name", host.container, "--hostname", host.name),
        *("--systemd=always", "--privileged", "--shm-size", SHARED_MEMORY),
        *("--network", f"ns:/run/netns/{host.container}"),
        *_mounts(host, *login),
        *("--rootfs", f"{root}:O", "/sbin/init"),
    ]


def _bridge(address: str) -> None:
    _ip("link set lo up")
    _ip(f"link add {BRIDGE} type bridge")
    _ip(f"addr add {address.rpartition('.')[0]}.{VALIDATOR}/{LENGTH} dev {BRIDGE}")
    _ip(f"link set {BRIDGE} up")


def _network(host: Host) -> None:
    _ip(f"netns add {host.container}")
    _ip(f"link add {host.cable} type veth peer name eth0 netns {host.container}")
    _ip(f"link set {host.cable} master {BRIDGE} up")
    for words in (f"addr add {host.address}/{LENGTH} dev eth0", "link set eth0 up", "link set lo up"):
        _ip(f"-n {host.container} {words}")


def _ip(words: str, *, check: bool = True) -> None:
    subprocess.run(["ip", *words.split()], check=check, capture_output=True, text=True)


def _booted(host: Host) -> None:
    deadline = time.monotonic() + BOOT_S
    while time.monotonic() < deadline:
        state = podman("exec", host.container, "systemctl", "is-system-running", check=False).stdout.strip()
        if state in ("running", "degraded"):
            return
        time.sleep(0.3)
    raise TimeoutError(f"{host.name} did not come up within {BOOT_S:g} s: systemd says {state or 'nothing'}")


def run(host: Host, command: str) -> str:
    """What a shell command of root's prints, at the host's own console: whatever its network and its SSH server do.

    Raises CalledProcessError.
    """
    return podman("exec", host.container, "bash", "-c", command).stdout


def contain(host: Host, unit: str) -> None:
    """Has a unit's program run as a container of its own beside the host, in the host's network, instead of the unit.

    Its log is then the container's alone (`podman logs`).  Raises CalledProcessError.
    """
    lines = run(host, f"systemctl stop {unit}; systemctl cat {unit}").splitlines()
    told = [
        line.partition("=") for line in lines if line.startswith(("Environment=", "ExecStart=", "User=", "Working"))
    ]
    words = {name: [_words(value) for key, _, value in told if key == name] for name, _, _ in told}
    options = [word for (pair,) in words["Environment"] for word in ("--env", pair)]
    options += ["--user", words["User"][0][0], "--workdir", words["WorkingDirectory"][0][0]]
    root = podman("inspect", "--format", "{{.Rootfs}}", host.container).stdout.strip()
    name = f"{host.container}-engine"
    release(host)
    podman(
        *("run", "--detach", "--name", name, "--network", f"container:{host.container}", "--shm-size", SHARED_MEMORY),
        *("--log-driver", "k8s-file", *_mounts(host), *options, "--rootfs", f"{root}:O", *words["ExecStart"][0]),
    )


def release(host: Host) -> None:
    """Removes what contain() made."""
    podman("rm", "--force", "--ignore", f"{host.container}-engine")


def _words(value: str) -> list[str]:
    """Of a line of a unit's file."""
    return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(value)]


def of(folder: Path) -> list[Host]:
    """The hosts that are up."""
    known = json.loads((folder / "hosts.json").read_text())
    return [Host(name, address, folder) for name, address in known.items()]


def down(folder: Path) -> None:
    """Removes what the last `up` of this folder made."""
    record = folder / "hosts.json"
    if not record.exists():
        return
    for host in of(folder):
        podman("rm", "--force", "--time", "2", "--ignore", f"{host.container}-engine", host.container, check=False)
        _ip(f"link delete {host.cable}", check=False)  # its namespace goes a little later
        _ip(f"netns delete {host.container}", check=False)
    _ip(f"link delete {BRIDGE}", check=False)
    record.unlink()
