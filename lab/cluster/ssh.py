# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""OpenSSH servers for nodes: keys, made once and left as they are, the configuration, and who logs in."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from .fault import Fault
from .lab import Lab, is_root, me

SSHD = "/usr/sbin/sshd"
CONFIG = """\
{listen}
HostKey {host_key}
AllowUsers {login}
AuthenticationMethods publickey
AuthorizedKeysFile {authorized_keys}
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
# the tree may lie below a folder others can write to
StrictModes no
UsePAM {pam}
PidFile none
PrintMotd no
X11Forwarding no
# the probe may come this way: kv_reuse_transport ssh
AllowTcpForwarding local
AllowAgentForwarding no
MaxSessions 30
Subsystem sftp internal-sftp
"""


def config(listen: list[str], *, host_key: Path, authorized_keys: Path, login: str) -> str:
    """sshd's configuration.  listen: ADDRESS:PORT, 16 at most."""
    addresses = "\n".join(f"ListenAddress {place}" for place in listen)
    pam = "yes" if _is_locked(login) else "no"
    return CONFIG.format(listen=addresses, host_key=host_key, login=login, authorized_keys=authorized_keys, pam=pam)


def _is_locked(login: str) -> bool:
    """A locked account is refused by an sshd without PAM, and a cloud image's root often is locked."""
    try:
        return f"\n{login}:!" in "\n" + Path("/etc/shadow").read_text(encoding="utf-8")
    except OSError:  # not root
        return False


def user(lab: Lab, fault: Fault) -> str:
    """Who logs in, where the lab or the fault names one: only root can log in as somebody else."""
    return lab.ssh_user or (fault.get("ssh_user", "") if is_root() else "")


def login(lab: Lab, fault: Fault) -> str:
    return user(lab, fault) or me()


def servers(lab: Lab, fault: Fault) -> list[dict[str, Any]]:
    """Specs of the nodes' servers."""
    folder, specs = lab.dir / "ssh", []
    for node in lab.ssh_nodes:
        place, path = f"{node.address}:{node.ssh_port}", folder / f"{node.name}_sshd_config"
        host_key, authorized_keys = folder / f"{node.name}_host_key", folder / "authorized_keys"
        text = config([place], host_key=host_key, authorized_keys=authorized_keys, login=login(lab, fault))
        text = f"# The SSH server of {node.name}, written by kv_lab\n{text}"
        specs.append(
            lab.process(
                f"sshd-{node.name}",
                [SSHD, "-D", "-e", "-f", str(path)],
                unit="sshd",
                cwd="/",
                log_mode="0600",
                files=[{"path": str(path), "content": text, "mode": "0600"}],
                ports=[place],
                ready_urls=[f"tcp://{place}"],
                watch=[f"{host_key}.pub", str(authorized_keys)],
            )
        )
    return specs


def make_key(path: Path) -> bool:
    """Whether there was none yet."""
    if path.exists():
        return False
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "kvproof-lab", "-f", path], check=True)
    return True


def write_keys(lab: Lab, fault: Fault) -> list[str]:
    """client_key, a NAME_host_key for each server, authorized_keys, known_hosts, and user (who logs in), in the lab's
    folder ssh; returns the names of those that had to be written."""
    folder = lab.dir / "ssh"
    folder.mkdir(parents=True, exist_ok=True)
    client, known = folder / "client_key", ""
    made = [client] if make_key(client) else []
    for node in lab.ssh_nodes:
        key = folder / f"{node.name}_host_key"
        made += [key] if make_key(key) else []
        known += f"[{node.address}]:{node.ssh_port} {key.with_suffix('.pub').read_text()}"
    texts = {
        "authorized_keys": client.with_suffix(".pub").read_text(),
        "known_hosts": known,
        "user": f"{login(lab, fault)}\n",
    }
    made += [folder / name for name, text in texts.items() if write(folder / name, text)]
    return [path.name for path in made]


def write(path: Path, text: str) -> bool:
    """Whether the file, which everybody may read, did not hold this text already."""
    if path.exists() and path.read_text() == text:
        return False
    path.write_text(text)
    path.chmod(0o644)
    return True
