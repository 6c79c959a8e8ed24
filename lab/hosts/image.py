# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""The file system of a host: Debian from its own archive, made once; no registry of images is asked.

What the engines run, this tree and its Python, is mounted from this machine (hosts.py).  Accounts: ``kvproof``, who may
do nothing but log in and read the journal; ``nosy``, who may not read that either; ``vllm``, whose the engines are.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "libpam-systemd", "openssh-server"),
    *("python3", "iproute2", "nftables", "procps", "sudo"),
    "libnuma1",  # vLLM for CPUs needs it
)
SUITE = "bookworm"
ACCOUNTS = {"vllm": [], "kvproof": ["-G", "systemd-journal"], "nosy": []}
SSHD = """\
AuthorizedKeysFile /etc/ssh/lab_keys
HostKey /etc/ssh/lab_host_key
PermitRootLogin prohibit-password
PasswordAuthentication no
PrintMotd no
MaxSessions 30
"""


def make(folder: Path) -> Path:
    """The root of the file system, below `folder`, made where it is not there.  Raises CalledProcessError, OSError."""
    root = folder / "rootfs"
    stamp = folder / f"made-{hashlib.sha256(repr((PACKAGES, SUITE, ACCOUNTS, SSHD)).encode()).hexdigest()[:16]}"
    if stamp.exists():
        return root
    new = folder / "new"
    shutil.rmtree(new, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    _run("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(new))
    for name, more in ACCOUNTS.items():
        _run("chroot", str(new), "useradd", "-m", "-s", "/bin/bash", "-p", "*", *more, name)
    (new / "etc/ssh/sshd_config.d/lab.conf").write_text(SSHD)
    (new / "root").chmod(0o755)  # this machine's Python may be mounted below it
    shutil.rmtree(root, ignore_errors=True)
    new.rename(root)
    stamp.touch()
    return root


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True)
