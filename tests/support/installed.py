# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection as its users have it: packed, installed, and run from a folder that is not this tree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
CALLBACK = "kvproof.cluster.kv_reuse_report"


def pack(folder: Path) -> Path:
    """The archive that `make release` makes, of the tree as it is."""
    command = [BIN / "ansible-galaxy", "collection", "build", "--output-path", folder, ROOT]
    subprocess.run(
        command, check=True, capture_output=True, env={**os.environ, "ANSIBLE_HOME": str(folder / ".ansible")}
    )
    (archive,) = folder.glob("kvproof-cluster-*.tar.gz")
    return archive


def install(folder: Path) -> Path:
    """Returns the folder of collections, which knows nothing of this tree."""
    command = [BIN / "ansible-galaxy", "collection", "install", pack(folder), "-p", folder / "collections"]
    subprocess.run(command, check=True, capture_output=True, env=environment(folder))
    return folder / "collections"


def environment(home: Path, **more: str) -> dict[str, str]:
    """This process's, without what steers Ansible, kvproof and the runners of pipelines."""
    mine = ("ANSIBLE_", "KV_REUSE_", "GITHUB_", "GITLAB_", "CI_", "PYTHONPATH")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(mine) and key != "CI"}
    own = {"PATH": f"{BIN}:{os.environ['PATH']}", "ANSIBLE_HOME": str(home / ".ansible"), "PYTHONIOENCODING": "utf-8"}
    return {**kept, **own, **more}


def report(folder: Path) -> dict:
    return json.loads((folder / "verdict.json").read_text(encoding="utf-8"))
