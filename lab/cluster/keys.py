#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""keys.py FOLDER LOGIN NAME=ADDRESS:PORT ...: what the lab's SSH needs, made once and left as it is afterwards.

In FOLDER: client_key, one NAME_host_key per server, authorized_keys, known_hosts, and user (who logs in).
Prints the names of the files it had to write.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def make_key(path: Path) -> bool:
    if path.exists():
        return False
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "kvproof-lab", "-f", path], check=True)
    return True


def write(path: Path, text: str) -> bool:
    if path.exists() and path.read_text() == text:
        return False
    path.write_text(text)
    path.chmod(0o644)
    return True


def main(folder: str, login: str, *servers: str) -> int:
    at = Path(folder)
    client = at / "client_key"
    made = [client] if make_key(client) else []
    known = ""
    for server in servers:
        name, _, address = server.partition("=")
        host, _, port = address.rpartition(":")
        key = at / f"{name}_host_key"
        made += [key] if make_key(key) else []
        known += f"[{host}]:{port} {key.with_suffix('.pub').read_text()}"
    texts = {"authorized_keys": client.with_suffix(".pub").read_text(), "known_hosts": known, "user": f"{login}\n"}
    made += [at / name for name, text in texts.items() if write(at / name, text)]
    print(*(path.name for path in made))
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
