# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every sentence that a report can show, read in the code: what a translation has to have.

What the judge and the planner write are f-strings, whose values become named gaps: ``f"{case.receiver} was asked"`` is
the message ``{receiver} was asked``.  What views say themselves is the argument of ``say``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment
from kvproof.judge.link import BROKEN, HOLDS, INFERRED, NAMES, NOT_NEEDED, UNKNOWN
from kvproof.report import language
from kvproof.report.language import WRITTEN


class Message(NamedTuple):
    text: str
    context: str | None  # WRITTEN: a view finds it in a document


CORE = Path(__file__).resolve().parent.parent / "module_utils" / "kvproof"
VIEWS = CORE / "report"
#: Where sentences stand that views find in a document.
WRITERS = (
    "judge",
    "plan",
    "probe",
    "transport",
    "stack/disagg.py",
    "report/run.py",
    "report/merge.py",
    "report/history.py",
    "report/history_files.py",
)
#: What a sentence is made of that the code puts together of single words.
GLUED = (
    *(name for name, _kind in NAMES.values()),
    *(HOLDS, INFERRED, BROKEN, UNKNOWN, NOT_NEEDED),
    *("older", "newer", "never-seen", "the knock-out", "reused", "recomputed"),
    *("{engine} computed {amount}", "{engine} loaded {amount}", "{engine} had {amount}", "{engine} computed nothing"),
    *("loaded {amount}", "had {amount}", "all of its {prompt} tokens", " ({remark})"),
    *language.BETWEEN,
)
#: Of a finding, what no report shows.
UNSHOWN = {"source", "cannot", "pattern"}
#: Functions whose texts are patterns or signs of pasted material, which a report of a run does not have.
OTHERS = re.compile(r"pasted|_pasted_\w+|concludes")
_GAP = re.compile(r"[A-Za-z_]\w*(?=\W*$)")


def messages() -> dict[Message, list[str]]:
    """Message → the files, from the core's folder, in which it stands."""
    found: dict[Message, list[str]] = {Message(text, WRITTEN): [] for text in GLUED}
    for context, texts in ((WRITTEN, _written()), (None, _said())):
        for text, path in texts:
            places, place = found.setdefault(Message(text, context), []), path.relative_to(CORE).as_posix()
            if place not in places:
                places.append(place)
    return found


def _written() -> Iterator[tuple[str, Path]]:
    for name in WRITERS:
        top = CORE / name
        for path in [top] if top.is_file() else sorted(top.rglob("*.py")):
            reader = _Reader()
            reader.visit(ast.parse(path.read_text(encoding="utf-8")))
            yield from ((text, path) for text in reader.texts)


def _said() -> Iterator[tuple[str, Path]]:
    for path in sorted(VIEWS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("say", "mark"):
                yield from ((text, path) for part in node.args[:1] for text in _constants(part))
    for path in sorted(VIEWS.rglob("*.j2")):
        source = path.read_text(encoding="utf-8")
        for _line, _function, text in Environment(extensions=["jinja2.ext.i18n"]).extract_translations(
            source, gettext_functions=("say",)
        ):
            yield text if isinstance(text, str) else text[0], path


def _constants(node: ast.expr) -> list[str]:
    """The texts that an argument may be."""
    if isinstance(node, ast.IfExp):
        return _constants(node.body) + _constants(node.orelse)
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


class _Reader(ast.NodeVisitor):
    """The sentences of a module, whole: what is added to one by + is part of it."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if OTHERS.fullmatch(node.name):
            return
        self._body(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._body(node)

    def visit_Module(self, node: ast.Module) -> None:
        self._body(node)

    def _body(self, node: ast.Module | ast.ClassDef | ast.FunctionDef) -> None:
        documented = ast.get_docstring(node, clean=False) is not None
        for child in node.body[1:] if documented else node.body:
            self.visit(child)

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg not in UNSHOWN:
            self.visit(node.value)

    def visit_Constant(self, node: ast.Constant) -> None:
        self._take(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        self._take(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        self._take(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.visit(node.value)

    def _take(self, node: ast.expr) -> None:
        parts = list(_parts(node))
        if any(isinstance(part, str) for part in parts):
            text = _with_gaps(parts)
            if _is_sentence(text):
                self.texts.append(text)
        for part in parts:
            if isinstance(part, ast.expr):
                self.generic_visit(part) if not isinstance(part, (ast.Constant, ast.JoinedStr)) else self.visit(part)


def _parts(node: ast.expr) -> Iterator[str | ast.expr]:
    """Text and, where a value goes, its expression."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        for value in node.values:
            if isinstance(value, ast.FormattedValue):
                yield value.value
            else:
                yield from _parts(value)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        yield from _parts(node.left)
        yield from _parts(node.right)
    elif not isinstance(node, ast.Constant):
        yield node


def _with_gaps(parts: list[str | ast.expr]) -> str:
    text, names = "", set[str]()
    for part in parts:
        if isinstance(part, str):
            text += part
            continue
        name = _name(part)
        while name in names:
            name = f"{name.rstrip('0123456789')}{int(re.sub(r'[^0-9]', '', name) or 1) + 1}"
        names.add(name)
        text += f"{{{name}}}"
    return text


def _name(value: ast.expr) -> str:
    """What a gap is called: the last name of its value's expression."""
    word = _GAP.search(ast.unparse(value.body if isinstance(value, ast.IfExp) else value))
    return word[0] if word else "value"


def _is_sentence(text: str) -> bool:
    """Not a key, an option, a pattern or a table's name."""
    bare = re.sub(r"{\w*}", "", text)
    return (
        " " in text.strip()
        and bool(re.search(r"[a-z]{2}", bare))
        and not re.search(r"[\\\n]|^kv_reuse_waive: \[|^{\"", bare)
    )
