# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every regular expression of the tree on what makes expressions slow: long repetitions of what it looks for.

The time of each has to grow with the text's length alone.  One that grows faster is allowed where its text is bounded
before it: BOUNDED says which, and to how many characters.
"""

from __future__ import annotations

import ast
import importlib
import itertools
import pkgutil
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import kvproof
import pytest
from kvproof.stack.lines import Pattern

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("module_utils/kvproof", "action_plugins", "callback_plugins", "plugin_utils", "library")
LONG = 1_000_000
LIMIT_S = 1.0  # of CPU
CALLS = ("compile", "search", "match", "fullmatch", "sub", "subn", "split", "findall", "finditer")
UNITS = (" ", "a", "0", "\n", "-", "_", ":", "@", "/", "'", '"', "\\", "(", "[", "{", "#", "=", ",", "a:", "a=", "a@")
UNITS += ("\n ", "a ", " a", "- name: a\n", "://", "a://", "0.", "0:", "\x1b[", "\\'", "a,", ", ", "''", "é")
#: A piece of an expression → the most characters that its text has.
BOUNDED: dict[str, int] = {r"(://[^\s?#": 4096, "api[_-]?key|token|secret": 4096}  # redact.MOST_SCANNED


def _of_modules() -> Iterator[tuple[str | bytes, int, bool]]:
    """(expression, flags, whether it is searched for, not only matched at the beginning) of the core's names."""
    for module in pkgutil.walk_packages(kvproof.__path__, "kvproof."):
        stack = list(vars(importlib.import_module(module.name)).values())
        seen = set()
        while stack:
            value = stack.pop()
            if isinstance(value, re.Pattern):
                yield value.pattern, value.flags, True
            elif isinstance(value, Pattern):
                yield value.regex, 0, True
            elif isinstance(value, (list, tuple, set, frozenset)) and id(value) not in seen:
                seen.add(id(value))
                stack += value
            elif isinstance(value, dict) and id(value) not in seen and len(value) < 2000:
                seen.add(id(value))
                stack += value.values()


def _of_calls() -> Iterator[tuple[str | bytes, int, bool]]:
    """The same of those that stand in a call of re."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func
                if called and isinstance(called.value, ast.Name) and called.value.id == "re" and called.attr in CALLS:
                    first = node.args[0]
                    if isinstance(first, ast.Constant):
                        yield first.value, _flags(node), called.attr not in ("match", "fullmatch")


def _flags(call: ast.Call) -> int:
    named = [
        part.attr for part in ast.walk(call) if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name)
    ]
    return sum({getattr(re, name) for name in named if isinstance(getattr(re, name, None), re.RegexFlag)})


EXPRESSIONS = sorted({(p, int(f), s) for p, f, s in itertools.chain(_of_modules(), _of_calls())}, key=str)


def _literals(pattern: str) -> list[str]:
    """Words of an expression, which a text must have before the slow parts are reached."""
    return re.findall(r"[A-Za-z0-9_:/.@=' -]{3,}", re.sub(r"\\(.)", r"\1", pattern))[:6]


def worst_cases(pattern: str, length: int) -> Iterator[str]:
    """Long texts that begin as a match does and never end as one."""
    words = _literals(pattern)
    for unit in (*UNITS, *words):
        yield unit * (length // len(unit)) + "\x00"
    for word, unit in itertools.product(words, (" ", "a", ":", "'", "(", "0", "=", "/", "a:", "é")):
        yield word + unit * (length // len(unit)) + "\x00"
    yield " ".join(words) + " a" * (length // 2) + "\x00"


class TooSlow(Exception):
    pass


def slowest(expression: re.Pattern, length: int, searched: bool) -> tuple[float, str]:
    """CPU seconds, and the text they were needed for, of the worst case; stops at one beyond the limit."""

    def stop(*_args):
        raise TooSlow

    binary = isinstance(expression.pattern, bytes)
    pattern = expression.pattern.decode("latin-1") if binary else expression.pattern
    worst = (0.0, "")
    before = signal.signal(signal.SIGVTALRM, stop)
    try:
        for text in worst_cases(pattern, length):
            began = time.process_time()
            signal.setitimer(signal.ITIMER_VIRTUAL, 2 * LIMIT_S)
            try:
                given = text.encode("utf-8") if binary else text
                expression.match(given)
                if searched:
                    sum(1 for _ in zip(range(20000), expression.finditer(given)))
            except TooSlow:
                return 2 * LIMIT_S, text[:60]
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            worst = max(worst, (time.process_time() - began, text[:60]))
            if worst[0] > LIMIT_S:
                break
    finally:
        signal.signal(signal.SIGVTALRM, before)
    return worst


def bound(pattern: str | bytes) -> int:
    text = pattern.decode("latin-1") if isinstance(pattern, bytes) else pattern
    return next((most for piece, most in BOUNDED.items() if piece in text), LONG)


def _squares(length: int, worth_a_look_s: float) -> list[str]:
    """Those that need more than eight times as long for a text four times as long."""
    squares = []
    for pattern, flags, searched in EXPRESSIONS:
        expression, most = re.compile(pattern, flags), bound(pattern)
        seconds, text = slowest(expression, min(length, most), searched)
        if seconds > worth_a_look_s and seconds > 8 * slowest(expression, min(length // 4, most), searched)[0]:
            squares.append(f"{seconds:.2f} s: {pattern!r} on {text!r}…")
    return squares


def _slow(length: int, limit: float) -> list[str]:
    slow = []
    for pattern, flags, searched in EXPRESSIONS:
        seconds, text = slowest(re.compile(pattern, flags), min(length, bound(pattern)), searched)
        if seconds > limit:
            slow.append(f"{seconds:.2f} s: {pattern!r} on {text!r}…")
    return slow


def test_there_are_as_many_expressions_as_one_would_think():
    assert len(EXPRESSIONS) > 100


def test_no_expressions_time_grows_with_the_square_of_the_length():
    assert _squares(32_000, worth_a_look_s=0.05) == []


def test_an_expression_whose_time_does_is_found(monkeypatch):
    monkeypatch.setattr(f"{__name__}.EXPRESSIONS", [("[a-z]+-", 0, True), ("[a-z]{1,9}-", 0, True)])
    assert [line.split("'")[1] for line in _squares(32_000, worth_a_look_s=0.01)] == ["[a-z]+-"]


@pytest.mark.hostile
def test_no_expression_takes_a_second_on_a_megabyte():
    assert _slow(LONG, LIMIT_S) == []


def test_each_bound_is_of_an_expression():
    texts = [p.decode("latin-1") if isinstance(p, bytes) else p for p, _, _ in EXPRESSIONS]
    assert [piece for piece in BOUNDED if not any(piece in text for text in texts)] == []
