# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts lines on Ansible's display.  The one view that knows Ansible; only plugins import it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from ansible import constants as C
from ansible.utils.color import stringc
from kvproof.report.views import clean, console

COLORS = {"good": "COLOR_OK", "bad": "COLOR_ERROR", "doubt": "COLOR_WARN", "faint": "COLOR_SKIP"}


def show(display, lines: Callable[[int, bool], list[console.Line]]) -> None:
    """Displays the lines that a view makes for a width and, where the terminal shows no other, in ASCII."""
    aside = prints_json()
    stream = sys.stderr if aside else sys.stdout
    width = min(display.columns, 120) if stream.isatty() else console.WIDTH
    ascii_only = os.environ.get("TERM") == "dumb" or not _shows(stream, "".join(console.MARKS.values()))
    for line in lines(width, ascii_only):
        bare = "".join(text for text, _style in line)
        painted = "".join(stringc(text, getattr(C, COLORS[style])) if style else text for text, style in line)
        printable = clean.plain(painted) if ascii_only or not _shows(stream, painted) else painted
        display.display(printable, stderr=aside, screen_only=True)
        display.display(bare, log_only=True)


def stdout_callback() -> str:
    return C.DEFAULT_STDOUT_CALLBACK.rpartition(".")[2]


def prints_json() -> bool:
    """A stdout callback that prints JSON must stay the only one on the standard output."""
    return "json" in stdout_callback()


CLEAR = "\r\x1b[K"


class ChangingLine:
    """One line at the bottom of a terminal, taken away before anything else is displayed.

    A worker draws through its display, too: what it displays is displayed by the process that it is a fork of.
    """

    def __init__(self):
        self._display = None
        self._process: int | None = None
        self._drawn = False

    @property
    def ready(self) -> bool:
        return self._display is not None

    def stand_aside_for(self, display):
        """From now on what goes through Ansible's display finds an empty line."""
        if self.ready:
            return
        self._display, self._process, original = display, os.getpid(), display.display

        def display_below(msg, *args, **kwargs):
            self.erase()
            self._drawn = str(msg).startswith(CLEAR)
            return original(msg, *args, **kwargs)

        display.display = display_below

    def draw(self, text: str):
        self._display.display(f"{CLEAR}{text}", screen_only=True, newline=False)

    def erase(self):
        if self._drawn and os.getpid() == self._process:
            sys.stdout.write(CLEAR)
            sys.stdout.flush()
            self._drawn = False


def _shows(stream, text: str) -> bool:
    try:
        text.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
