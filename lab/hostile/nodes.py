# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What answers on a node in the place of its Python: programs of /bin/sh, by name."""

from __future__ import annotations

import json
import sys
from pathlib import Path

DEEP = "[" * 900 + "]" * 900
ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e\u2066red"


def _printing(text: str, code: int = 0, stream: int = 1) -> str:
    """Prints the text, whatever characters it has, and ends with the code."""
    octal = "".join(f"\\{byte:03o}" for byte in text.encode("utf-8", "surrogatepass"))
    return f"printf '{octal}\\n' >&{stream}; exit {code}"


def _saying(said: object, problems: object = ()) -> str:
    return _printing('{"said": ' + json.dumps(said) + ', "problems": ' + json.dumps(problems, ensure_ascii=False) + "}")


def _filling(megabytes: int, character: str = "x") -> str:
    return f"head -c {megabytes << 20} /dev/zero | tr '\\0' '{character}'"


PROGRAMS = {
    # ---- time
    "sleeps": "sleep 60",
    "sleeps deaf to signals": "trap '' TERM INT HUP; while :; do sleep 1; done",
    "leaves a child that holds the pipe": "sleep 60 & exit 0",
    "leaves a child in a session of its own": "setsid sleep 60 & exit 0",
    "drips": "while :; do printf x; sleep 0.2; done",
    "drips into stderr": "while :; do printf x >&2; sleep 0.2; done",
    # ---- bytes
    "prints without end": "exec cat /dev/zero",
    "prints lines without end": "exec yes",
    "prints into stderr without end": "exec cat /dev/zero >&2",
    "prints 300 MB": f"{_filling(300)}; exit 0",
    "prints 300 MB in lines": "yes 0123456789 | head -c 314572800; exit 0",
    "prints 40 MB of an answer": f'printf \'{{"said": {{"node": "\'; {_filling(40)}; echo \'"}}}}\'',
    # ---- answers
    "prints nothing": "exit 0",
    "ends with an error": "exit 3",
    "is no program": "nothing-of-this-name",
    "kills itself": "kill -9 $$",
    "prints half an answer": _printing('{"said": {"node": {'),
    "prints no JSON": _printing('{"said": nothing}'),
    "says a number": _saying(5),
    "says a list": _saying([1, 2]),
    "says nothing": _saying(None),
    "says text": _saying("node"),
    "says it deep": _printing('{"said": {"node": {"log": ' + DEEP + '}}, "problems": []}'),
    "says it too deep to read": _printing('{"said": {"node": ' + "[" * 100000 + '}, "problems": []}'),
    "node is a list": _saying({"node": [1, 2]}),
    "node is a number": _saying({"node": 10**30}),
    "node is text": _saying({"node": "x" * 1000}),
    "controller is a list": _saying({"controller": ["a"]}),
    "other parts": _saying({"exec": {"a": 1}, "node": {}}),
    "problems are a number": _printing('{"said": {}, "problems": 5}'),
    "problems are objects": _saying({}, [{"a": 1}, None, 5]),
    "a thousand problems": _saying({}, ["it is broken"] * 1000),
    "a problem of a megabyte": f'printf \'{{"said": {{}}, "problems": ["\'; {_filling(1)}; printf \'"]}}\\n\'',
    "not even Unicode": "printf '\\377\\376\\200{\"said\": \\n'; exit 1",
    # ---- characters
    "problems with terminal sequences": _saying({}, [ESCAPES]),
    "stderr with terminal sequences": _printing(ESCAPES, code=1, stream=2),
    "stdout with terminal sequences": _printing(ESCAPES, code=1),
    "templates": _saying({}, ["{{ 7 * 191 }} {% raw %} {{ lookup('pipe', 'id') }}"]),
}


def write(folder: Path) -> dict[str, Path]:
    """Name → a file that stands for the node's Python."""
    paths = {}
    for number, (name, program) in enumerate(PROGRAMS.items()):
        paths[name] = folder / f"python{number}"
        paths[name].write_text(f"#!/bin/sh\n{program}\n", encoding="utf-8")
        paths[name].chmod(0o755)
    return paths


if __name__ == "__main__":
    for name, path in write(Path(sys.argv[1])).items():
        print(f"{path}: {name}")
