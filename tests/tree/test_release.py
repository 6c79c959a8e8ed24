# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make release` packs: the validator and its pages, all of it and nothing else, in real folders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import kvproof
import pytest
import yaml

from release.archive import build
from release.changelog import changelog

pytest.importorskip("ansible")

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SHIPPED = {
    "CODE_OF_CONDUCT.md",
    "changelogs",
    "docs",
    "examples",
    "meta",
    "playbooks",
    "SECURITY.md",
    "plugins",
    "roles",
    "tests",
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
#: Where the tree has it → where the archive has it.
CODE = {
    "action_plugins": "plugins/action",
    "callback_plugins": "plugins/callback",
    "library": "plugins/modules",
    "module_utils": "plugins/module_utils",
    "plugin_utils": "plugins/plugin_utils",
    "roles/kv_reuse": "roles/kv_reuse",
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("dist"))


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
    assert [name for name in names if name.startswith("tests/")] == ["tests/config.yml"]


def test_it_has_real_folders_and_no_link(archive):
    with tarfile.open(archive) as packed:
        members = packed.getmembers()
    assert [member.name for member in members if not (member.isfile() or member.isdir())] == []
    folders = {member.name for member in members if member.isdir()}
    assert {*CODE.values(), "playbooks/callback_plugins"} <= folders


def test_it_has_the_changelog_as_antsibull_reads_it(archive):
    with tarfile.open(archive) as packed:
        read = yaml.safe_load(packed.extractfile("changelogs/changelog.yaml"))
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert all(f"## {version} ({its['release_date']})" in text for version, its in read["releases"].items())
    first = read["releases"]["0.1.0"]["changes"]
    assert len(first["major_changes"]) + len(first["minor_changes"]) == text.partition("## 0.1.0")[2].count("\n- ")


def test_a_changelog_is_sorted_into_sections_and_is_restructured_text():
    text = (
        "# Changelog\n\n## Unreleased\n\n- later\n\n## 1.1.0 (2026-02-03)\n\nMore.\n\n- `a` and\n  [b](docs/b.md)\n\n"
    )
    text += "## 1.0.0 (2026-01-02)\n\n### First\n\n- c\n\n### Then\n\n- d\n"
    releases = yaml.safe_load(changelog(text))["releases"]
    assert releases["1.1.0"]["changes"] == {"release_summary": "More.", "minor_changes": ["``a`` and b (docs/b.md)"]}
    assert releases["1.0.0"]["changes"] == {"major_changes": ["First - c"], "minor_changes": ["Then - d"]}
    assert set(releases) == {"1.0.0", "1.1.0"}


def test_all_that_runs(names):
    files = {
        f"{shipped}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, shipped in CODE.items()
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
    } <= names


def test_the_version_has_its_section_in_the_changelog(archive):
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    assert version == kvproof.__version__
    assert archive.name == f"kvproof-cluster-{version}.tar.gz"
    assert f"\n## {version} " in (ROOT / "CHANGELOG.md").read_text()


class Installed:
    """The archive, installed where nothing else is."""

    def __init__(self, archive: Path, folder: Path):
        self.folder = folder
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "KV_REUSE_"))}
        self.env = {**kept, "ANSIBLE_HOME": str(folder), "ANSIBLE_COLLECTIONS_PATH": str(folder)}
        done = self.run("ansible-galaxy", "collection", "install", archive, "-p", folder)
        assert done.returncode == 0, done.stderr

    def run(self, program: str, *words: object) -> subprocess.CompletedProcess:
        return subprocess.run(
            [str(BIN / program), *map(str, words)],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def plays(self, playbook: str) -> subprocess.CompletedProcess:
        (self.folder / "play.yml").write_text(playbook)
        return self.run("ansible-playbook", "-i", "localhost,", "play.yml")


@pytest.fixture(scope="module")
def installed(archive, tmp_path_factory) -> Installed:
    return Installed(archive, tmp_path_factory.mktemp("installed"))


@pytest.mark.slow
def test_installed_it_runs_by_its_name_and_reports_unasked(installed):
    done = installed.run("ansible-playbook", "-i", "localhost,", "kvproof.cluster.validate")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "kv_decode" in done.stdout, "the refusal names the group that is missing"
    assert "INCONCLUSIVE  no pair was judged" in done.stdout
    assert json.loads((installed.folder / "reports/verdict.json").read_text())["exit_code"] == 2


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "folder"), [("module", "library"), ("callback", "callback_plugins")])
def test_installed_every_plugin_has_its_page(installed, kind, folder):
    names = sorted(f"kvproof.cluster.{path.stem}" for path in (ROOT / folder).glob("*.py"))
    done = installed.run("ansible-doc", "-t", kind, "--json", *names)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(json.loads(done.stdout)) == names


@pytest.mark.slow
@pytest.mark.parametrize(
    ("defaults", "task", "said"),
    [
        ("all: {a: no-such-run}", "kv_reuse_compare: {b: other}", "no-such-run"),
        ("reports: {reports_dir: chosen}", "kv_reuse_diagnose: {paste: pasted.txt}", "chosen"),
        ("info: {log_budget: -7}", "lmcache_node_info:", "log_budget"),
    ],
)
def test_installed_its_modules_take_defaults_of_a_group(installed, defaults, task, said):
    (installed.folder / "pasted.txt").write_text("LMCache hit tokens: 0, need to load: 0\n")
    done = installed.plays(f"""
- hosts: all
  connection: local
  gather_facts: false
  module_defaults:
    group/kvproof.cluster.{defaults}
  tasks:
    - kvproof.cluster.{task}
""")
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stdout


def test_every_module_is_in_the_group_of_all():
    groups = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())["action_groups"]
    (more,) = [entry["metadata"] for entry in groups["all"] if isinstance(entry, dict)]
    own = [entry for entry in groups["all"] if isinstance(entry, str)]
    named = own + [module for group in more["extend_group"] for module in groups[group]]
    assert sorted(named) == sorted(path.stem for path in (ROOT / "library").glob("*.py"))


def test_what_an_execution_environment_is_built_of_is_shipped(names):
    described = yaml.safe_load((ROOT / "meta/execution-environment.yml").read_text())
    assert set(described["dependencies"].values()) <= names
    assert "meta/execution-environment.yml" in names
