# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a project's inventory names its hosts, for reports whose readers show a finding at a line of a file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

MOST_BYTES = 16 << 20  # of an inventory file that is searched
SUMMARY = "summary.md"
_PROJECTS = ("CI_PROJECT_DIR", "GITHUB_WORKSPACE")  # the checkout, as GitLab's and GitHub's runners name it
_WORDS = re.compile(r"[^\s:=,;\"'\[\]{}()]+")  # of INI, YAML, TOML and JSON; a name may have dots and hyphens


def of_hosts(hosts: Iterable[str], hostvars: Any, reports: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    """``places`` of a run's document: the first line that names each host in the inventory file that Ansible has it
    from, of hosts whose file is in the project; reports: the folder whose summary stands for the others."""
    project = Path(next((environ[name] for name in _PROJECTS if environ.get(name)), ".")).resolve()
    known: dict[Path, dict[str, int]] = {}
    found = {}
    for host in dict.fromkeys(hosts):
        file = hostvars[host].get("inventory_file") if host in hostvars else None
        path = Path(str(file)).resolve() if file else None
        if path is None or not path.is_relative_to(project) or not path.is_file():
            continue
        lines = known[path] if path in known else known.setdefault(path, _lines(path))
        found[host] = {"path": path.relative_to(project).as_posix(), "line": lines.get(host, 1)}
    summary = (reports / SUMMARY).resolve()
    otherwise = summary.relative_to(project).as_posix() if summary.is_relative_to(project) else SUMMARY
    return {"hosts": found, "otherwise": otherwise}


def _lines(path: Path) -> dict[str, int]:
    """Word → the first line that has it, comments apart; nothing of a file that cannot be read or is a program."""
    try:
        if path.stat().st_size > MOST_BYTES:
            return {}
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return {}
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        for word in _WORDS.findall(re.sub(r"(^|\s)[#;].*", "", line)):
            lines.setdefault(word, number)
    return lines
