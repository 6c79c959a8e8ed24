# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ansible-builder makes of examples/execution-environment.yml; its galaxy stage installs the collection."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("ansible")

from installed import BIN, environment

ROOT = Path(__file__).resolve().parents[2]
BUILDER = shutil.which("ansible-builder", path=f"{BIN}:{os.environ['PATH']}")


@pytest.mark.skipif(not BUILDER, reason="ansible-builder is not installed (requirements-dev.txt)")
def test_the_context_has_all_that_its_stages_want(collections, tmp_path):
    (archive,) = collections.parent.glob("kvproof-cluster-*.tar.gz")
    (tmp_path / "examples").mkdir()
    shutil.copy(archive, tmp_path / "examples")
    shutil.copy(ROOT / "examples" / "execution-environment.yml", tmp_path / "examples")
    shutil.copy(ROOT / "requirements.txt", tmp_path)
    context, told = tmp_path / "context", environment(tmp_path)
    command = [BUILDER, "create", "-f", "examples/execution-environment.yml", "-c", context]
    subprocess.run(command, cwd=tmp_path, env=told, check=True)

    lines = (context / "Containerfile").read_text().splitlines()
    for line in lines:
        if line.startswith("COPY _build"):
            assert (context / line.split()[1]).exists(), line
    assert (context / "_build" / "requirements.txt").read_text() == (ROOT / "requirements.txt").read_text()
    assert (context / "_build" / "bindep.txt").read_text().split() == ["openssh-clients", "sshpass"]
    assert "ENV ANSIBLE_CALLBACKS_ENABLED=kvproof.cluster.kv_reuse_report" in lines

    build = tmp_path / "build"  # as the galaxy stage has it
    shutil.copytree(context / "_build", build)
    for line in lines:
        if line.startswith("COPY _build/configs"):
            shutil.copy(context / line.split()[1], build)
    (install,) = [line for line in lines if "ansible-galaxy collection install" in line]
    assert install.endswith('-r requirements.yml --collections-path "/usr/share/ansible/collections"')
    command = [BIN / "ansible-galaxy", "collection", "install", "-r", "requirements.yml", "-p", tmp_path]
    subprocess.run(command, cwd=build, env=told, check=True)
    assert (tmp_path / "ansible_collections/kvproof/cluster/playbooks/validate.yml").is_file()
