# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""requirements.lock holds what requirements.txt asks for, all that this needs, and a hash of every archive."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PIN = re.compile(r"^([A-Za-z0-9_.-]+)==([^\s;]+)", re.MULTILINE)


def _name(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def _pins(text: str) -> dict[str, str]:
    return {_name(name): version for name, version in PIN.findall(text)}


LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


def test_what_is_required_is_locked_in_the_same_version():
    required = _pins((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    assert required
    assert required.items() <= _pins(LOCK).items()


def test_every_locked_package_has_hashes():
    packages = re.split(r"\n(?=[A-Za-z0-9])", LOCK.strip())
    assert len(packages) == len(_pins(LOCK))
    assert [package.split()[0] for package in packages if not re.search(r"--hash=sha256:[0-9a-f]{64}", package)] == []


def test_what_they_need_is_locked_too():
    assert {"jinja2", "urllib3", "certifi", "cryptography"} <= _pins(LOCK).keys()
