# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small, random damage to texts and to JSON documents."""

from __future__ import annotations

import copy
import random
from typing import Any

ODD_VALUES = (
    None,
    True,
    False,
    0,
    -1,
    1,
    0.5,
    1e9,
    1e15,
    1e300,
    -1e300,
    float("nan"),
    float("inf"),
    10**19,
    10**400,
    -(10**400),
    "",
    " ",
    "0",
    "-1",
    "true",
    "yes",
    "1e999",
    "9" * 5000,
    "\x1b[31m",
    "\u202e",
    "\ud800",
    "\x00",
    "a" * 70000,
    "://" * 50,
    "http://u:p@h:1/",
    "[::",
    [],
    {},
    [[]],
    [None],
    [{}],
    {"": None},
    ["x"],
    [1, "2", None],
    "2026-11-24T10:00:00+00:00",
    "2026-11-24",
    "torch.bfloat16",
    "inprocess_p2p",
    "kvproof.evidence/1",
)
ODD_PIECES = (
    b"\x00",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\x1b[2J",
    b"\x1b]0;x\x07",
    b"\xc2\x9b31m",
    "\u202e".encode(),
    b"'",
    b'"',
    b"\\",
    b"{",
    b"[[[[",
    b"(",
    b"://",
    b"@",
    b":" * 300,
    b"-" * 300,
    b" " * 300,
    b"\n" * 50,
    b"9" * 5000,
    b"0x" + b"f" * 300,
    b"!!bool maybe",
    b'!!int ""',
    b"!!timestamp foo",
    b"&a [*a]",
    b"NaN",
    b"Infinity",
    b"1e999",
    b"non-default args: ",
    b"Traceback (most recent call last):",
    b"data: ",
    b'data: {"choices": [',
    b'{"log":[[[[',
    b"# TYPE",
    b"10" * 200,
)


def bytes_of(chance: random.Random, text: bytes) -> bytes:
    """The text with one to four changes."""
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(text) + 1)
        length = chance.choice((1, 2, 8, 64, 500))
        what = chance.randrange(7)
        if what == 0:
            text = text[:at] + text[at + length :]
        elif what == 1:
            text = text[:at] + bytes(chance.randrange(256) for _ in range(min(length, 8))) + text[at + length :]
        elif what == 2:
            text = text[:at] + chance.choice(ODD_PIECES) + text[at:]
        elif what == 3:
            text = text[:at] + text[at : at + length] * chance.choice((2, 20, 60000 // length)) + text[at + length :]
        elif what == 4:
            other = chance.randrange(len(text) + 1)
            text = text[:at] + text[other : other + length] + text[at:]
        elif what == 5:
            text = text[:at]
        else:
            text = text[:at] + chance.choice(ODD_PIECES) + text[at + length :]
    return text


def document_of(chance: random.Random, document: Any) -> Any:
    """A copy of a JSON document with one to four of its values changed."""
    document = copy.deepcopy(document)
    for _ in range(chance.randint(1, 4)):
        places = list(_places(document))
        if not places:
            return chance.choice(ODD_VALUES)
        holder, key = chance.choice(places)
        what = chance.randrange(6)
        if what < 3:
            holder[key] = copy.deepcopy(chance.choice(ODD_VALUES))
        elif what == 3:
            del holder[key]
        elif what == 4:
            other, name = chance.choice(places)
            holder[key] = copy.deepcopy(other[name])
        else:
            holder[key] = [holder[key]] if chance.random() < 0.5 else {"x": holder[key]}
        if len(places) > 20000:
            break
    return document


def _places(document: Any):
    """(container, key) of every value in a document."""
    stack = [document]
    while stack:
        one = stack.pop()
        items = one.items() if isinstance(one, dict) else enumerate(one) if isinstance(one, list) else ()
        for key, value in items:
            yield one, key
            stack.append(value)
