"""Who may import whom: the rooms of the core form floors, and what runs on a node needs nothing but Python."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CORE = Path(__file__).resolve().parents[2] / "module_utils" / "kvproof"
#: From the ground up: a room imports rooms of lower floors alone, never one beside it.
FLOORS = (
    ("stack", "transport", "plan"),
    ("evidence",),
    ("node", "probe", "judge"),
    ("diagnose",),
    ("report",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
#: Of these, Ansible takes each task's files to a node, or the role pipes them there.
ON_A_NODE = ("node", "stack")
#: What a file takes where it is there, and does without where it is not.
OPTIONAL = {("stack/flatyaml.py", "yaml")}


def imports(file: str, source: str) -> Iterator[str]:
    """Full names of what a file of the core (its path below CORE) imports, anywhere in it."""
    package = ["kvproof", *Path(file).parts[:-1]]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            for alias in node.names:
                yield ".".join([*base, *filter(None, [node.module]), alias.name])


def complaints(file: str, source: str) -> list[str]:
    """One sentence for each import that this file may not make."""
    room, found = Path(file).parts[0], []
    for name in imports(file, source):
        top, _, rest = name.partition(".")
        other = rest.partition(".")[0]
        if top == "ansible":
            found.append(f"{file} imports {name}: the core runs without Ansible")
        elif top != "kvproof" and room in ON_A_NODE:
            if top not in sys.stdlib_module_names and (file, top) not in OPTIONAL:
                found.append(f"{file} imports {name}: a node has the standard library only")
        elif top == "kvproof" and room in FLOOR and other in FLOOR and room != other and FLOOR[other] >= FLOOR[room]:
            found.append(f"{file} imports {name}: {room} does not stand above {other}")
    return found


def test_every_folder_is_a_room_and_no_file_lies_outside():
    found = {path.name for path in CORE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert found == {"__init__.py", *FLOOR}


@pytest.mark.parametrize("room", FLOOR)
def test_a_room_imports_only_what_stands_below_it(room):
    files = sorted((CORE / room).rglob("*.py"))
    found = [
        complaint
        for path in files
        for complaint in complaints(path.relative_to(CORE).as_posix(), path.read_text(encoding="utf-8"))
    ]
    assert files
    assert found == []


@pytest.mark.parametrize(
    ("file", "source", "why"),
    [
        ("stack/a.py", "from ..transport import http", "stack does not stand above transport"),
        ("judge/findings/a.py", "from ...probe.sizing import bounds", "judge does not stand above probe"),
        ("judge/a.py", "from kvproof.report import document", "judge does not stand above report"),
        ("node/log/a.py", "from ...probe import prompts", "node does not stand above probe"),
        ("plan/a.py", "import kvproof.evidence.document", "plan does not stand above evidence"),
        ("report/a.py", "def late():\n    from ansible.utils.display import Display", "without Ansible"),
        ("node/a.py", "import requests", "standard library only"),
        ("node/a.py", "try:\n    import yaml\nexcept ImportError:\n    pass", "standard library only"),
        ("stack/a.py", "from ansible.module_utils.basic import AnsibleModule", "without Ansible"),
    ],
)
def test_an_import_that_breaks_a_rule_is_named(file, source, why):
    (complaint,) = complaints(file, source)
    assert complaint.startswith(f"{file} imports ")
    assert why in complaint


@pytest.mark.parametrize(
    ("file", "source"),
    [
        (
            "report/views/a.py",
            "from ...judge.verdict import judge\nfrom .. import document\nfrom ... import __version__",
        ),
        ("node/log/a.py", "import json\nfrom ...stack import lines\nfrom .. import sockets"),
        ("stack/flatyaml.py", "import yaml"),
        ("transport/a.py", "import requests"),
    ],
)
def test_what_the_rules_allow_is_not_named(file, source):
    assert complaints(file, source) == []
