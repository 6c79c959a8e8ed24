# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""A real OpenSSH server on a loopback address, with its own host key and one key that it lets in."""

from __future__ import annotations

import contextlib
import getpass
import itertools
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from lab.cluster import ssh

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
TOOLS = SSHD and shutil.which("ssh") and shutil.which("ssh-keygen")
_NUMBER = itertools.count(1)
USER = getpass.getuser()


def make_key(path: Path, passphrase: str = "") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "test", "-f", path], check=True)
    return path


class Sshd:
    """``folder`` keeps its files; ``options`` are lines of sshd_config that come before all others."""

    def __init__(self, folder: Path, *options: str, address: str | None = None):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.address = address or f"127.{100 + os.getpid() % 100}.240.{next(_NUMBER) % 250 + 1}"
        with socket.create_server((self.address, 0)) as free:
            self.port = free.getsockname()[1]
        self.client_key, host_key = make_key(folder / "client_key"), make_key(folder / "host_key")
        self.known_hosts = folder / "known_hosts"
        public = host_key.with_suffix(".pub").read_text(encoding="utf-8")
        self.known_hosts.write_text(f"[{self.address}]:{self.port} {public}", encoding="utf-8")
        shutil.copy(self.client_key.with_suffix(".pub"), folder / "authorized_keys")
        config, place = folder / "sshd_config", f"{self.address}:{self.port}"
        usual = ssh.config([place], host_key=host_key, authorized_keys=folder / "authorized_keys", login=USER)
        config.write_text("".join(f"{line}\n" for line in options) + usual, encoding="utf-8")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        with open(folder / "sshd.log", "wb") as log:
            self.process = subprocess.Popen([SSHD, "-D", "-e", "-f", config], stderr=log, stdin=subprocess.DEVNULL)
        self._wait()

    def _wait(self) -> None:
        for _ in range(200):
            assert self.process.poll() is None, (self.folder / "sshd.log").read_text()
            try:
                socket.create_connection((self.address, self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("sshd does not listen")

    def args(self, **changes: str) -> tuple[str, ...]:
        """Arguments for ssh to log in here; ``changes`` are options instead of or beside the usual ones."""
        options = {
            "Port": str(self.port),
            "User": USER,
            "IdentityFile": str(self.client_key),
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": str(self.known_hosts),
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            **changes,
        }
        return ("-F", "none", *(word for name, value in options.items() for word in ("-o", f"{name}={value}")))

    def variables(self) -> dict[str, str | int]:
        """What an inventory says of a host that is reached here."""
        return {
            "ansible_host": self.address,
            "ansible_port": self.port,
            "ansible_user": USER,
            "ansible_ssh_private_key_file": str(self.client_key),
            "ansible_ssh_common_args": f"-F none -o IdentitiesOnly=yes -o UserKnownHostsFile={self.known_hosts}",
            "ansible_python_interpreter": sys.executable,
        }

    def end_sessions(self) -> None:
        """Ends the processes that serve logins, not the one that listens."""
        served = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="utf-8")
        for pid in served.split():
            with contextlib.suppress(ProcessLookupError):  # ended by itself meanwhile
                os.kill(int(pid), 9)

    def close(self) -> None:
        self.end_sessions()
        self.process.terminate()
        self.process.wait()
