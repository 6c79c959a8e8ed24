# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Python program that answers for one node, to be piped into its Python: nothing is written there.

It holds the sources of the two rooms that run there, `node` and `stack`.  A module of Ansible brings 180 KB of Ansible
along, whose import takes more CPU than all that is read.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from pathlib import Path

CORE = Path(__file__).resolve().parent.parent / "module_utils" / "kvproof"
ROOMS = ("node", "stack")
#: Exit code where Python is older than what the sources need.
TOO_OLD = 38
#: What the line begins with that the program prints.
BEGINS = '{"said": '
#: What an answer may have, and how much of it is taken.
PARTS = ("node", "log", "controller", "coordinator", "cache_server")
MOST_LAYERS = 24
MOST_PROBLEMS = 8
LONGEST_PROBLEM = 300  # characters

_PROGRAM = """\
import sys
if sys.version_info < (3, 8):
    sys.exit({too_old})
import base64, json, signal, zlib
signal.alarm({seconds})
from importlib.machinery import ModuleSpec
SOURCES = json.loads(zlib.decompress(base64.b64decode("{sources}")).decode("utf-8"))
class Sources:
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self, is_package=SOURCES[name][0]) if name in SOURCES else None
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        exec(compile(SOURCES[module.__name__][1], module.__name__, "exec"), module.__dict__)
sys.meta_path.insert(0, Sources())
from kvproof.node import modules
print(json.dumps(modules.answer_all(json.loads(base64.b64decode("{requests}").decode("utf-8")))))
"""


def _sources() -> str:
    """Name of a module → (whether it is a package, its text), packed."""
    modules = {}
    for path in [CORE / "__init__.py", *(path for room in ROOMS for path in sorted((CORE / room).rglob("*.py")))]:
        is_package = path.stem == "__init__"
        name = ".".join((path.parent if is_package else path.with_suffix("")).relative_to(CORE.parent).parts)
        modules[name] = (is_package, path.read_text(encoding="utf-8"))
    return _text(zlib.compress(json.dumps(modules).encode(), 9))


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


SOURCES = _sources()  # once, before Ansible forks


def build(requests: dict[str, dict], seconds: float = 60) -> bytes:
    """The program for modules.answer_all(requests).  It prints what that returns as one line of JSON, and ends itself a
    little after so many seconds, when nobody waits for it any more."""
    packed = _text(json.dumps(requests).encode())
    return _PROGRAM.format(too_old=TOO_OLD, sources=SOURCES, requests=packed, seconds=math.ceil(seconds) + 5).encode(
        "ascii"
    )


def answer(line: str) -> dict:
    """What a host answered, of the line that it printed; whatever is not as it should be is one of its problems.

    Raises ValueError where the line is no JSON.
    """
    try:
        reply = json.loads(line)
    except RecursionError:
        raise ValueError("nested too deep") from None
    said, problems = reply.get("said"), reply.get("problems")
    if not isinstance(said, dict) or not isinstance(problems, list) or is_deep(said):
        return {"said": {}, "problems": ["its answer is not what was asked for: see what answers there as its Python"]}
    parts = {name: part for name, part in said.items() if name in PARTS and isinstance(part, dict)}
    lost = [f"its {name} is no object" for name in said if name not in parts]
    return {"said": parts, "problems": [*(str(text)[:LONGEST_PROBLEM] for text in problems[:MOST_PROBLEMS]), *lost[:3]]}


def is_deep(value: object) -> bool:
    """Whether something lies in more lists and objects than any answer has."""
    layer = [value]
    for _deeper in range(MOST_LAYERS):
        layer = [
            part
            for outer in layer
            if isinstance(outer, (dict, list))
            for part in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(layer)
