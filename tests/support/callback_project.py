# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder in which the callback runs with tasks that say what the role's would (fixtures/callback)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import verdicts

ROOT = Path(__file__).resolve().parents[2]

PROJECT = ROOT / "tests" / "fixtures" / "callback"
PLAYBOOK = [sys.executable, "-m", "ansible", "playbook"]
LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
PAIR = {"cluster": "healthy", "holder": "prefill", "receiver": "decode"}


class Project:
    """A folder with playbooks, the callback beside them, and an inventory."""

    def __init__(self, folder: Path):
        self.folder = folder
        shutil.copytree(PROJECT, folder, dirs_exist_ok=True)
        (folder / "callback_plugins").symlink_to(ROOT / "callback_plugins")

    def inventory(self, plan: dict | None = None, **hosts: dict) -> None:
        """plan: what the gate returns beside its pairs; hosts: variables of each."""
        said = {"kv_reuse_plan": {"pairs": [PAIR], "reports_dir": "reports", "run_id": "r1", **(plan or {})}}
        found = {"all": {"vars": {**LOCAL, "said_plan": said}, "hosts": hosts}}
        (self.folder / "hosts.json").write_text(json.dumps(found))

    def run(self, playbook: str = "validate.yml", *more: str, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            self.command(playbook, *more),
            cwd=self.folder,
            env=self.environment(environment),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def command(self, playbook: str, *more: str) -> list[str]:
        return [*PLAYBOOK, "-i", "hosts.json", playbook, *more]

    def environment(self, more: dict) -> dict:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "KV_REUSE_", "NO_COLOR"))}
        return {**kept, "ANSIBLE_HOME": str(self.folder / ".ansible"), "PYTHONIOENCODING": "utf-8", **more}

    def report(self, folder: str = "reports") -> dict:
        return json.loads((self.folder / folder / "verdict.json").read_text())


def judged(name: str, **changes) -> dict:
    """Variables of a receiver whose pair gets this verdict; the task fails as the role's does."""
    pair = verdicts.verdict(name, **{**PAIR, **changes})
    told = json.dumps([{"verdicts": [pair], "unjudged": [], "notes": []}])
    return {"said_verdict": {"kv_reuse_judged": told, "failed": pair["verdict"] != "pass", "msg": "not proven"}}
