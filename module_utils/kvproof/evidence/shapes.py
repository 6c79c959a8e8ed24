# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shapes of JSON documents: what their readers check and what their JSON Schemas say.

A document is declared once, as TypedDicts (document.py here, report/parts.py).  ``shape_of()`` makes its shape of the
classes that mypy checks its users with.  It knows str, int, float, bool, Any, Literal of strings, list, dict and
TypedDict, each with ``| None``; Annotated gives one a shape of its own, or a sentence for the schema.

A shape reads a value into a fresh copy of it.  Evidence is read leniently: what does not fit becomes None, so that
whoever works on the copy meets only the types that were promised, or None.  A report is read strictly: whatever is not
as declared is an error.
"""

from __future__ import annotations

import copy
import re
from datetime import datetime
from functools import cache
from types import UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from ..stack.numbers import is_plausible

MOST_ERRORS = 50
_UNCHANGING = (str, int, float)  # and bool, which is an int

#: Where a value is, from the outside in: the path of what holds it, and its name or "[number]" there.  None: it is the
#: document.  Spelled out for errors alone, as documents have ten thousand values.
Path = tuple["Path", str] | None  # pylint: disable=unsupported-binary-operation


class Errors(list[str]):
    """Sentences about parts that do not fit; a broken gatherer must not fill a report with them."""

    def __init__(self, strict: bool = False):
        super().__init__()
        self.strict = strict

    def note(self, path: Path, expected: str, got: str) -> None:
        if len(self) < MOST_ERRORS:
            where, then = _spelled(path) or "the document", "; it counts as not seen"
            if self.strict:
                where, then = where if where.isprintable() else _quoted(where), ""
            self.append(f"{where}: {expected} expected, {got} found{then}")


class Shape:
    """``read(value, path, errors)`` gives a fresh value or None; ``schema(defs)`` the JSON Schema of it, whose
    named parts go to ``defs``.  A bare Shape takes anything."""

    expected = "anything"
    nullable = False
    description: str | None = None

    def read(self, value: Any, path: Path, errors: Errors) -> Any:
        if value is None:
            if errors.strict and not self.nullable:
                errors.note(path, self.expected, "null")
            return None
        if not self.fits(value):
            errors.note(path, self.expected, _named(value))
            return None
        return self.inner(value, path, errors)

    def fits(self, value: Any) -> bool:
        return True

    def inner(self, value: Any, path: Path, errors: Errors) -> Any:
        """The fresh value of one that fits."""
        return value if isinstance(value, _UNCHANGING) else copy.deepcopy(value)

    def schema(self, defs: dict[str, Any]) -> dict[str, Any]:
        declared = self.of_value(defs)
        if self.nullable and "$ref" in declared:
            declared = {"anyOf": [declared, {"type": "null"}]}
        elif self.nullable and "enum" in declared:
            declared["enum"].append(None)
        elif self.nullable and isinstance(declared.get("type"), str):
            declared["type"] = [declared["type"], "null"]
        return {**declared, "description": self.description} if self.description else declared

    def of_value(self, defs: dict[str, Any]) -> dict[str, Any]:
        """The JSON Schema of a value that is not null."""
        return {}


class Text(Shape):
    """A string.  ``words`` are those in use: in evidence a new one is no reason to drop it."""

    expected = "a string"

    def __init__(self, *words: str, pattern: str = ""):
        self.words, self.pattern = words, pattern

    def fits(self, value: Any) -> bool:
        return isinstance(value, str)

    def inner(self, value: Any, path: Path, errors: Errors) -> Any:
        if not errors.strict:
            return value
        if self.words and value not in self.words:
            errors.note(path, f"one of {', '.join(self.words)}", _quoted(value))
        elif not re.search(self.pattern, value):
            errors.note(path, f"text like {self.pattern}", _quoted(value))
        return value

    def of_value(self, defs: dict[str, Any]) -> dict[str, Any]:
        if self.words:
            return {"enum": [*self.words]}
        return {"type": "string", "pattern": self.pattern} if self.pattern else {"type": "string"}


class Moment(Text):
    """A time as ISO 8601 has it, with its zone."""

    expected = "a time with its zone"

    def fits(self, value: Any) -> bool:
        try:
            return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
        except ValueError:
            return False

    def of_value(self, defs: dict[str, Any]) -> dict[str, Any]:
        return {"type": "string", "format": "date-time"}


class Number(Shape):
    """A number of a size that can be meant, no boolean."""

    expected = "a number"

    def fits(self, value: Any) -> bool:
        return is_plausible(value)

    def of_value(self, defs: dict[str, Any]) -> dict[str, Any]:
        return {"type": "number"}


class Whole(Number):
    """A whole number within bounds; a float without a fraction serves."""

    def __init__(self, least: int | None = None, most: int | None = None):
        self.least, self.most = least, most
        self.expected = (
            "a whole number" + (f" from {least}" if least is not None else "") + (f" to {most}" if most else "")
        )

    def fits(self, value: Any) -> bool:
        return (
            super().fits(value)
            and value == int(value)
            and (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
        )

    def inner(self, value: Any, path: Path, errors: Errors) -> Any:
        return int(value)

    def of_value(self, defs: dict[str, Any]) -> dict[str, Any]:
        ends = {"minimum": self.least, "maximum": self.most}
        return {"type": "integer", **{name: end for name, end in ends.items() if end is not None}}


class Flag(Shape):
    expected = "true or false"

    def fits(self, value: Any) -> bool:
        return isinstance(value, bool)

    def of_value(self, defs: dict[str, Any]) -> dict[str, Any]:
        return {"type": "boolean"}


class Plain(Shape):
    """A setting's value: a scalar, or a flat list of scalars."""

    expected = "a scalar or a list of scalars"

    def fits(self, value: Any) -> bool:
        return _scalar(value) or (isinstance(value, list) and all(item is None or _scalar(item) for item in value))

    def inner(self, value: Any, path: Path, errors: Errors) -> Any:
        return list(value) if isinstance(value, list) else value

    def of_value(self, defs: dict[str, Any]) -> dict[str, Any]:
        scalar = ["string", "number", "boolean", "null"]
        return {"type": [*scalar, "array"], "items": {"type": scalar}}


class ListOf(Shape):
    """A list.  An item that does not fit leaves None in its place, an empty object where objects are expected."""

    expected = "a list"

    def __init__(self, item: Shape, count: int | None = None):
        self.item, self.count = item, count

    def fits(self, value: Any) -> bool:
        return isinstance(value, list)

    def inner(self, value: Any, path: Path, errors: Errors) -> Any:
        if errors.strict and self.count is not None and len(value) != self.count:
            errors.note(path, f"{self.count} items", str(len(value)))
        read = [self.item.read(item, (path, f"[{number}]"), errors) for number, item in enumerate(value)]
        return [{} if item is None else item for item in read] if isinstance(self.item, (Object, MapOf)) else read

    def of_value(self, defs: dict[str, Any]) -> dict[str, Any]:
        ends = {} if self.count is None else {"minItems": self.count, "maxItems": self.count}
        return {"type": "array", "items": self.item.schema(defs), **ends}


class MapOf(Shape):
    """An object whose keys are data, or one of some; ``needs`` are those it has at least.  Strictly alone."""

    expected = "an object"

    def __init__(self, item: Shape, keys: tuple[str, ...] = (), needs: tuple[str, ...] = ()):
        self.item, self.keys, self.needs = item, keys, needs

    def fits(self, value: Any) -> bool:
        return isinstance(value, dict)

    def inner(self, value: Any, path: Path, errors: Errors) -> Any:
        if errors.strict:
            _note_names(path, errors, value, self.needs, self.keys)
        return {str(key): self.item.read(part, (path, key), errors) for key, part in value.items()}

    def of_value(self, defs: dict[str, Any]) -> dict[str, Any]:
        declared: dict[str, Any] = {"type": "object", "additionalProperties": self.item.schema(defs)}
        if self.keys:
            declared["propertyNames"] = {"enum": [*self.keys]}
        return {**declared, "required": [*self.needs]} if self.needs else declared


class Object(Shape):
    """An object with known fields.  Leniently, what it has beside them is copied as it is, and none is missed."""

    expected = "an object"

    def __init__(self, name: str, fields: dict[str, Shape], needs: tuple[str, ...], closed: bool, about: str = ""):
        self.name, self.fields, self.needs, self.closed, self.about = name, fields, needs, closed, about

    def fits(self, value: Any) -> bool:
        return isinstance(value, dict)

    def inner(self, value: Any, path: Path, errors: Errors) -> Any:
        if errors.strict:
            _note_names(path, errors, value, self.needs, tuple(self.fields))
        read = {}
        for name, part in value.items():
            shape = self.fields.get(name)
            read[name] = copy.deepcopy(part) if shape is None else shape.read(part, (path, name), errors)
        return read

    def of_value(self, defs: dict[str, Any]) -> dict[str, Any]:
        if self.name not in defs:
            defs[self.name] = {}  # its place among the definitions comes before that of its parts
            defs[self.name] = self.body(defs)
        return {"$ref": f"#/$defs/{self.name}"}

    def body(self, defs: dict[str, Any]) -> dict[str, Any]:
        """The schema in its place, not as a definition."""
        declared: dict[str, Any] = {"type": "object", **({"description": self.about} if self.about else {})}
        if self.closed:
            declared["additionalProperties"] = False
        if self.needs:
            declared["required"] = [*self.needs]
        return {**declared, "properties": {name: shape.schema(defs) for name, shape in self.fields.items()}}


#: What documents are declared with, beside the types themselves.
Count = Annotated[int, Whole(0)]
Setting = Annotated[str | float | bool | list[Any], Plain()]  # pylint: disable=unsupported-binary-operation
Time = Annotated[str, Moment()]


_SIMPLE: dict[Any, type[Shape]] = {str: Text, float: Number, int: Whole, bool: Flag, Any: Shape}


@cache
def shape_of(kind: Any) -> Shape:
    """The shape of a type.  A TypedDict whose fields all have to be there is closed: it may have no others."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Required, NotRequired):
        return shape_of(args[0])
    if origin in (Union, UnionType):
        (given,) = (part for part in args if part is not type(None))
        shape = copy.copy(shape_of(given))
        shape.nullable = True
        return shape
    if origin is Annotated:
        shape = copy.copy(next((part for part in args[1:] if isinstance(part, Shape)), None) or shape_of(args[0]))
        shape.description = next((part for part in args[1:] if isinstance(part, str)), None)
        return shape
    if origin is Literal:
        return Text(*args)
    if origin is list:
        return ListOf(shape_of(args[0]))
    if origin is dict:
        return MapOf(shape_of(args[1]), get_args(args[0]))
    if is_typeddict(kind):
        return _object_of(kind)
    return _SIMPLE[kind]()


def _object_of(kind: Any) -> Object:
    hints = get_type_hints(kind, include_extras=True)
    closed = kind.__total__
    needs = [
        name
        for name, hint in hints.items()
        if get_origin(hint) is Required or (closed and get_origin(hint) is not NotRequired)
    ]
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()
    fields = {name: shape_of(hint) for name, hint in hints.items()}
    return Object(name, fields, tuple(needs), closed, " ".join((kind.__doc__ or "").split()))


def json_schema(kind: Any, id: str, title: str, description: str) -> dict[str, Any]:
    """The JSON Schema of a whole document, for docs/."""
    defs: dict[str, Any] = {}
    body = _object_of(kind).body(defs)
    about = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": id, "title": title}
    return {**about, "description": description, **body, "$defs": defs}


def _note_names(
    path: Path, errors: Errors, value: dict[str, Any], needs: tuple[str, ...], known: tuple[str, ...]
) -> None:
    for name in needs:
        if name not in value:
            errors.note((path, name), "a value", "nothing")
    for name in value:
        if known and name not in known:
            errors.note(path, f"no {_quoted(name)}", "one")


def _spelled(path: Path) -> str:
    if path is None:
        return ""
    above, name = _spelled(path[0]), str(path[1])
    return f"{above}{name}" if not above or name.startswith("[") else f"{above}.{name}"


def _scalar(value: Any) -> bool:
    return isinstance(value, (str, bool)) or is_plausible(value)


def _named(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    if isinstance(value, int) and not isinstance(value, bool) and not is_plausible(value):
        return "a number of more than 15 digits"
    return names.get(type(value), repr(value)[:60])


def _quoted(text: Any) -> str:
    return repr(str(text)[:40])
