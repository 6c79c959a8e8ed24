# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The language that an operator asks for, where this machine can speak it."""

from __future__ import annotations

from kvproof.report import language

OPTION = {"type": "str", "choices": list(language.LANGUAGES), "default": language.ENGLISH}


def spoken(asked: str | None) -> tuple[language.Language, list[str]]:
    """(the language of the reports, warnings about it)"""
    wanted = asked or language.ENGLISH
    trouble = language.unspeakable(wanted)
    return (language.ENGLISH, [trouble]) if trouble else (wanted, [])
