# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts lines of a console view on Ansible's display.  The one view that knows Ansible; only plugins import it."""

from __future__ import annotations

import sys
from collections.abc import Callable

from ansible import constants as C
from ansible.utils.color import stringc

from . import console

COLORS = {"good": "COLOR_OK", "bad": "COLOR_ERROR", "doubt": "COLOR_WARN", "faint": "COLOR_SKIP"}


def show(display, lines: Callable[[int], list[console.Line]]) -> None:
    """Displays the lines that a view makes for a width."""
    # a stdout callback that prints JSON must stay the only one on the standard output
    aside = "json" in C.DEFAULT_STDOUT_CALLBACK.rpartition(".")[2]
    stream = sys.stderr if aside else sys.stdout
    width = min(display.columns, 120) if stream.isatty() else console.WIDTH
    for line in lines(width):
        bare = "".join(text for text, _ in line)
        painted = "".join(stringc(text, getattr(C, COLORS[style])) if style else text for text, style in line)
        display.display(_printable(painted, stream), stderr=aside, screen_only=True)
        display.display(bare, log_only=True)


def _printable(text: str, stream) -> str:
    try:
        text.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return console.plain(text)
    return text
