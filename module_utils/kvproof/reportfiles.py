# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes a run's reports.  A reader sees the old file or the new one, never a half."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from . import views


def write(folder: Path, doc: dict) -> tuple[list[str], list[str]]:
    """Writes every view of a document.  Returns (names written, sentences about those that were not).

    A view that could not be made loses its file, so that none of an earlier run stays in its place.
    """
    written, problems = [], []
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return [], [f"cannot make the folder {folder}: {_why(error)}"]
    for name, text, error in views.files(doc):
        try:
            if text is None:
                (folder / name).unlink(missing_ok=True)
                problems.append(f"{name} was not made: {error}")
            else:
                _replace(folder / name, text)
                written.append(name)
        except OSError as trouble:
            problems.append(f"cannot write {folder / name}: {_why(trouble)}")
    return written, problems


def remove(folder: Path) -> None:
    """Takes back what write() left, and the folder when nothing else is in it."""
    try:
        for name in views.NAMES:
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()
    except OSError:
        pass


def _replace(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        # 0o666 less the umask, as for any file: node_exporter and CI run as other users
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "w", encoding="utf-8") as file:
            file.write(text)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _why(error: OSError) -> str:
    return error.strerror or str(error)
