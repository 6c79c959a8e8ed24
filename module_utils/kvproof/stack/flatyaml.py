# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads LMCache's configuration file with PyYAML where the node has it, else without.

The own reader covers the style of these files: `key: value` at the left margin, quoted and plain scalars,
`[a, b]` and `- a` lists of scalars, comments, `---`.  Scalars mean what YAML 1.1 and PyYAML's safe_load
make of them, since that is what LMCache reads with: `yes` is true, `"yes"` is a string, `1e9` is a string.
Nested mappings and block texts are kept as None (no listed key of LMCache has one).  What it does not
understand is an error, never a guess.
"""

from __future__ import annotations

import json
import re

_KEY = re.compile(r"""^(?:"([^"]*)"|'([^']*)'|([^\s#\-?:,\[\]{}&*!|>'"%@`][^#]*?|-[^\s#][^#]*?))\s*:(?:\s+(.*))?$""")
_INTEGER = re.compile(r"^[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)$")
_FLOAT = re.compile(r"^[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+][0-9]+)?$")
_SEXAGESIMAL = re.compile(r"^[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?$")
_WORDS = {
    word: value
    for words, value in ((("yes", "true", "on"), True), (("no", "false", "off"), False), (("null",), None))
    for plain in words
    for word in (plain, plain.capitalize(), plain.upper())
}
_WORDS.update({"~": None, "": None})

LONGEST_LINE = 8192  # the expressions take the square of a line's length


class NotReadable(ValueError):
    """The text is not YAML, or not in the style that is understood; the message is one sentence."""


def load(text: str) -> dict:
    """The mapping in `text`; raises NotReadable."""
    try:
        import yaml
    except ImportError:
        return read_flat(text)
    try:
        loaded = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise NotReadable("{}{}".format(where, getattr(error, "problem", None) or "not YAML")) from error
    except Exception:  # whatever its constructors raise for an odd scalar, without saying where: this knows the line
        return read_flat(text)
    return _mapping(loaded)


def _mapping(loaded):
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise NotReadable("the file holds no mapping of keys to values")
    return loaded


def read_flat(text: str) -> dict:
    """The mapping in `text`, read without PyYAML; raises NotReadable."""
    mapping: dict = {}
    key = None  # the last key without a value: a list or a mapping may follow
    skipping = False
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), start=1):
        content = line.strip()
        if not content or content.startswith("#") or content == "---":
            continue
        if content == "...":
            break
        try:
            if len(line) > LONGEST_LINE:
                raise NotReadable(f"more than {LONGEST_LINE} characters")
            indented = line[0] in " \t"
            if key is not None and content.startswith("- ") and not skipping:
                mapping[key] = mapping[key] or []
                mapping[key].append(scalar(content[2:]))
            elif skipping and indented:
                continue
            elif key is not None and indented and mapping[key] is None:
                skipping = True
            elif indented:
                raise NotReadable("indented where no value is open")
            else:
                key, skipping = _take(mapping, content)
        except NotReadable as error:
            raise NotReadable(f"line {number}: {error}") from error
    return mapping


def _take(mapping, content):
    """Store the pair on one line; (the key if its value may follow, whether what follows is skipped)."""
    match = _KEY.match(content)
    if match is None:
        raise NotReadable("no `key: value`")
    key = next(group for group in match.groups()[:3] if group is not None)
    value = _uncomment(match.group(4) or "")
    if value[:1] in ("|", ">", "{"):
        if value[0] == "{" and not value.endswith("}"):
            raise NotReadable("a mapping over several lines")
        mapping[key] = None
        return None, value[0] != "{"
    mapping[key] = _list(value) if value.startswith("[") else scalar(value)
    return (key if value == "" else None), False


def _uncomment(value):
    """`value` without a comment behind it, quotes respected."""
    quoted = re.match(r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*')\s*(#.*)?$""", value)
    if quoted:
        return quoted.group(1)
    return re.split(r"(?:^|\s)#", value, maxsplit=1)[0].strip()


def _list(value):
    if not value.endswith("]"):
        raise NotReadable("a list over several lines")
    inside = value[1:-1].strip()
    if re.search(r"[\[\]{}]", inside):
        raise NotReadable("a nested list")
    items = re.findall(r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^,]*)\s*(?:,|$)""", inside)
    while items and items[-1] == "":
        items.pop()
    return [scalar(item) for item in items]


def scalar(text: str) -> object:
    """One YAML scalar as Python has it after PyYAML's safe_load; raises NotReadable."""
    text = _uncomment(text.strip())
    if text[:1] == '"':
        try:
            return json.loads(text)
        except ValueError:
            raise NotReadable("a string in double quotes that is not understood") from None
    if text[:1] == "'":
        if len(text) < 2 or not text.endswith("'"):
            raise NotReadable("a quote that is not closed")
        return text[1:-1].replace("''", "'")
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.match(text):
        digits = text.replace("_", "").lstrip("+-")
        octal = len(digits) > 1 and digits[0] == "0" and digits[1] not in "bx"
        try:
            return (-1 if text[0] == "-" else 1) * int(digits, 8 if octal else 0)
        except ValueError:  # thousands of digits, or none behind 0x
            return text
    if _FLOAT.match(text):
        return float(text.replace("_", ""))
    if (
        text[:1] in "&*!%@`|>{}[],"
        or text[:2] in ("- ", "? ")
        or ": " in text
        or text.endswith(":")
        or _SEXAGESIMAL.match(text)
    ):
        raise NotReadable("a value that only a YAML library can read; quote it, or install PyYAML")
    return text
