# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shapes of JSON documents: read leniently at the door, and written out as JSON Schema from the same words.

A shape reads a value into a fresh copy of it.  What does not fit becomes None and is told in one sentence, so that
whoever works on the copy meets only the types that were promised, or None.
"""

from __future__ import annotations

import copy
import math

MOST_ERRORS = 50
_UNCHANGING = (str, int, float)  # and bool, which is an int

#: Where a value is, from the outside in: the path of what holds it, and its name or "[number]" there.  None: it is the
#: document.  Spelled out for errors alone, as documents have ten thousand values.
Path = tuple["Path", str] | None


class Errors(list):
    """Sentences about parts that do not fit; a broken gatherer must not fill a report with them."""

    def note(self, path: Path, wanted: str, value) -> None:
        if len(self) < MOST_ERRORS:
            self.append(
                f"{_spelled(path) or 'the document'}: {wanted} expected, {_named(value)} found; it counts as not seen"
            )


class Shape:
    """``read(value, path, errors)`` gives a fresh value or None; ``schema(defs)`` the JSON Schema of it, whose
    named parts go to ``defs``.  A bare Shape takes anything."""

    wanted = "anything"

    def read(self, value, path: Path, errors: Errors):
        if value is None:
            return None
        if not self.fits(value):
            errors.note(path, self.wanted, value)
            return None
        return self.inner(value, path, errors)

    def fits(self, value) -> bool:
        return True

    def inner(self, value, path: Path, errors: Errors):
        """The fresh value of one that fits."""
        return value if isinstance(value, _UNCHANGING) else copy.deepcopy(value)

    def schema(self, defs: dict) -> dict:
        return {}


class Text(Shape):
    """A string; ``words`` are those in use, for the schema alone: a new word is no reason to drop evidence."""

    wanted = "a string"

    def __init__(self, *words: str):
        self.words = words

    def fits(self, value) -> bool:
        return isinstance(value, str)

    def schema(self, defs: dict) -> dict:
        return {"enum": [*self.words, None]} if self.words else {"type": ["string", "null"]}


class Number(Shape):
    """A finite number, no boolean."""

    wanted = "a number"

    def fits(self, value) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and _finite(value)

    def schema(self, defs: dict) -> dict:
        return {"type": ["number", "null"]}


class Count(Number):
    """A whole number from 0; a float without a fraction serves."""

    wanted = "a whole number from 0"

    def fits(self, value) -> bool:
        return super().fits(value) and value >= 0 and value == int(value)

    def inner(self, value, path: Path, errors: Errors):
        return int(value)

    def schema(self, defs: dict) -> dict:
        return {"type": ["integer", "null"], "minimum": 0}


class Flag(Shape):
    wanted = "true or false"

    def fits(self, value) -> bool:
        return isinstance(value, bool)

    def schema(self, defs: dict) -> dict:
        return {"type": ["boolean", "null"]}


class Plain(Shape):
    """A setting's value: a scalar, or a flat list of scalars."""

    wanted = "a scalar or a list of scalars"

    def fits(self, value) -> bool:
        return _scalar(value) or (isinstance(value, list) and all(one is None or _scalar(one) for one in value))

    def inner(self, value, path: Path, errors: Errors):
        return list(value) if isinstance(value, list) else value

    def schema(self, defs: dict) -> dict:
        scalar = ["string", "number", "boolean", "null"]
        return {"type": [*scalar, "array"], "items": {"type": scalar}}


class ListOf(Shape):
    """A list; an item that does not fit stays in its place as ``hole`` (an empty object for objects)."""

    wanted = "a list"

    def __init__(self, item: Shape):
        self.item = item

    def fits(self, value) -> bool:
        return isinstance(value, list)

    def inner(self, value, path: Path, errors: Errors):
        read = [self.item.read(one, (path, f"[{number}]"), errors) for number, one in enumerate(value)]
        return [{} if one is None else one for one in read] if isinstance(self.item, (Object, MapOf)) else read

    def schema(self, defs: dict) -> dict:
        return {"type": ["array", "null"], "items": self.item.schema(defs)}


class MapOf(Shape):
    """An object whose keys are data."""

    wanted = "an object"

    def __init__(self, item: Shape):
        self.item = item

    def fits(self, value) -> bool:
        return isinstance(value, dict)

    def inner(self, value, path: Path, errors: Errors):
        return {str(key): self.item.read(one, (path, key), errors) for key, one in value.items()}

    def schema(self, defs: dict) -> dict:
        return {"type": ["object", "null"], "additionalProperties": self.item.schema(defs)}


class Object(Shape):
    """An object with known fields; what it has beside them is copied as it is.

    ``_name`` makes it a definition of its own in the schema, ``_required`` the fields it has there at least.
    """

    wanted = "an object"

    def __init__(self, _name: str | None = None, _required: tuple[str, ...] = (), **fields: Shape):
        self.name, self.required, self.fields = _name, _required, fields

    def fits(self, value) -> bool:
        return isinstance(value, dict)

    def inner(self, value, path: Path, errors: Errors):
        read = {}
        for name, one in value.items():
            shape = self.fields.get(name)
            read[name] = copy.deepcopy(one) if shape is None else shape.read(one, (path, name), errors)
        return read

    def schema(self, defs: dict) -> dict:
        if self.name is None:
            return self._schema(defs)
        if self.name not in defs:
            defs[self.name] = self._schema(defs)
        return {"$ref": f"#/$defs/{self.name}"}

    def _schema(self, defs: dict) -> dict:
        found: dict = {"type": ["object", "null"]}
        if self.required:
            found["required"] = list(self.required)
        return {**found, "properties": {name: shape.schema(defs) for name, shape in self.fields.items()}}


def _spelled(path: Path) -> str:
    if path is None:
        return ""
    above, name = _spelled(path[0]), str(path[1])
    return f"{above}{name}" if not above or name.startswith("[") else f"{above}.{name}"


def _finite(value) -> bool:
    return isinstance(value, int) or math.isfinite(value)


def _scalar(value) -> bool:
    return isinstance(value, (str, bool)) or (isinstance(value, (int, float)) and _finite(value))


def _named(value) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    return names.get(type(value), repr(value)[:60])
