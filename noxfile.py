# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make cores`: whole playbooks, the installed archive and molecule's refusals, on each ansible-core that is supported.

The tests are those of `make test`, and so are the packages but for ansible-core. A version is skipped where its Python
is not found, in PATH or among pyenv's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import nox

ROOT = Path(__file__).parent
#: ansible-core, as pip has it → the Python that it is tried with: the oldest that it takes, and once a newer one.
CORES = {
    "2.18": ("ansible-core~=2.18.0", "3.11"),
    "2.19": ("ansible-core~=2.19.0", "3.13"),
    "2.20": ("ansible-core~=2.20.0", "3.12"),
    "2.21": ("ansible-core~=2.21.0", "3.12"),
    "2.22": ("ansible-core>=2.22.0rc1,<2.23", "3.13"),  # a candidate, as long as there is no more
}
TESTS = ("tests/playbooks", "tests/tree/test_release.py")

nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False
nox.options.envdir = ".cache/nox"


def interpreter(version: str) -> str:
    """A Python of this version that runs, by its path; the version alone where there is none."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which(f"python{version}"), *sorted(versions.glob(f"{version}.*/bin/python"))]
    for path in filter(None, found):
        if subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
            return str(path)
    return version


def core(session: nox.Session, wanted: str) -> None:
    """Arguments after -- are pytest's, and then molecule is left out."""
    override = Path(session.create_tmp()) / "override.txt"
    override.write_text(wanted + "\n", "utf-8")
    session.install("-r", "requirements-dev.txt", "--override", str(override), silent=True)
    # as the Makefile has it: the tools beside the interpreter come first
    env = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "HOME": str(Path.home())}
    session.run("ansible", "--version", env=env)
    marks = ("-m", "not hostile and not network")
    session.run("python", "-m", "pytest", "-q", *marks, *(session.posargs or TESTS), env=env)
    if not session.posargs:
        session.run("molecule", "test", "-s", "refusals", env=env)


for name, (wanted, version) in CORES.items():
    nox.session(name=f"core-{name}", python=interpreter(version))(lambda session, wanted=wanted: core(session, wanted))
