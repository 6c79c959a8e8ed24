# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make release` packs: the validator and its pages, all of it and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import kvproof
import pytest
import yaml

pytest.importorskip("ansible")

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SHIPPED = {
    "action_plugins",
    "callback_plugins",
    "docs",
    "examples",
    "library",
    "meta",
    "module_utils",
    "playbooks",
    "SECURITY.md",
    "plugin_utils",
    "plugins",
    "roles",
    "validate.yml",
    "requirements.lock",
    "requirements.txt",
    "README.md",
    "README.ja.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "inventory",
    "MANIFEST.json",
    "FILES.json",
}
CODE = ("action_plugins", "callback_plugins", "library", "module_utils", "plugin_utils", "roles/kv_reuse")


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [BIN / "ansible-galaxy", "collection", "build", "--output-path", folder, ROOT]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "ANSIBLE_HOME": str(folder)})
    (built,) = folder.glob("kvproof-cluster-*.tar.gz")
    return built


@pytest.fixture(scope="module")
def names(archive) -> set[str]:
    with tarfile.open(archive) as packed:
        return {member.name for member in packed if not member.isdir()}


def test_nothing_but_the_validator_and_its_pages(names):
    assert {name.split("/")[0] for name in names} <= SHIPPED
    assert not [name for name in names if "kv_lab" in name or "/lab_" in name or "__pycache__" in name]
    assert not [name for name in names if name.startswith("inventory/demo")]
    builds = [
        name for name in names if name.startswith("docs/") and not name.endswith((".md", ".json", ".png", ".svg"))
    ]
    assert not builds, "what builds the pages and the site stays in the tree"


def test_all_that_runs(names):
    files = {
        path.relative_to(ROOT).as_posix()
        for folder in CODE
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files - names == set()
    assert {
        "playbooks/validate.yml",
        "playbooks/diagnose.yml",
        "playbooks/merge_reports.yml",
        "playbooks/compare.yml",
        "docs/findings/README.md",
        "plugins/action",
        "plugins/callback",
        "plugins/modules",
        "plugins/module_utils",
    } <= names


def test_the_version_has_its_section_in_the_changelog(archive):
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    assert version == kvproof.__version__
    assert archive.name == f"kvproof-cluster-{version}.tar.gz"
    assert f"\n## {version} " in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.slow
def test_installed_it_runs_by_its_name(archive, tmp_path):
    env = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "KV_REUSE_"))}
    env |= {"ANSIBLE_HOME": str(tmp_path), "ANSIBLE_COLLECTIONS_PATH": str(tmp_path)}

    def run(*words: object) -> subprocess.CompletedProcess:
        return subprocess.run(
            [str(word) for word in words],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    assert run(BIN / "ansible-galaxy", "collection", "install", archive, "-p", tmp_path).returncode == 0
    done = run(BIN / "ansible-playbook", "-i", "localhost,", "kvproof.cluster.validate")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "kv_decode" in done.stdout, "the refusal names the group that is missing"
    assert "kv_reuse_probe" in run(BIN / "ansible-doc", "-t", "module", "kvproof.cluster.kv_reuse_probe").stdout
