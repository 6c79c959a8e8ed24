# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts lines on Ansible's display.  The one view that knows Ansible; only plugins import it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from ansible import constants as C
from ansible.utils.color import stringc

from . import console

COLORS = {"good": "COLOR_OK", "bad": "COLOR_ERROR", "doubt": "COLOR_WARN", "faint": "COLOR_SKIP"}


def show(display, lines: Callable[[int], list[console.Line]]) -> None:
    """Displays the lines that a view makes for a width."""
    aside = prints_json()
    stream = sys.stderr if aside else sys.stdout
    width = min(display.columns, 120) if stream.isatty() else console.WIDTH
    for line in lines(width):
        bare = "".join(text for text, _ in line)
        painted = "".join(stringc(text, getattr(C, COLORS[style])) if style else text for text, style in line)
        display.display(_printable(painted, stream), stderr=aside, screen_only=True)
        display.display(bare, log_only=True)


def stdout_callback() -> str:
    return C.DEFAULT_STDOUT_CALLBACK.rpartition(".")[2]


def prints_json() -> bool:
    """A stdout callback that prints JSON must stay the only one on the standard output."""
    return "json" in stdout_callback()


class ChangingLine:
    """One line at the bottom of a terminal, taken away before anything else is displayed."""

    def __init__(self):
        self._process: int | None = None  # workers are forks of it, and draw nothing
        self._drawn = False

    @property
    def ready(self) -> bool:
        return self._process is not None

    def stand_aside_for(self, display):
        """From now on what goes through Ansible's display finds an empty line."""
        if self.ready:
            return
        self._process, original = os.getpid(), display.display

        def display_below(*args, **kwargs):
            self.erase()
            return original(*args, **kwargs)

        display.display = display_below

    def draw(self, text: str):
        sys.stdout.write(f"\r\x1b[K{text}")
        sys.stdout.flush()
        self._drawn = True

    def erase(self):
        if self._drawn and os.getpid() == self._process:
            sys.stdout.write("\r\x1b[K")
            sys.stdout.flush()
            self._drawn = False


def _printable(text: str, stream) -> str:
    try:
        text.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return console.plain(text)
    return text
