# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes a run's reports.  A reader sees the old file or the new one, never a half."""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection
from pathlib import Path

from . import views
from .language import ENGLISH, Language
from .parts import Format, Verdict

#: bytes for the reports of one pair, three times over since each is written beside an earlier one; and for one more
ROOM, ROOM_OF_A_PAIR = 128 << 10, 16 << 10


def write(
    folder: Path, doc: Verdict, formats: Collection[Format] = (), language: Language = ENGLISH
) -> tuple[list[str], list[str]]:
    """Writes every view of a document, and these formats of it.

    Returns (names written, sentences about those that were not).
    A view that could not be made or written, or a format not asked for, loses its file, so that none of an earlier run
    stays in its place.
    """
    written, problems = [], []
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return [], [f"cannot make the folder {folder}: {_why(error)}"]
    for name in views.not_asked(formats):
        discard(folder / name)
    for name, text, trouble in views.files(doc, formats, language):
        try:
            if text is None:
                (folder / name).unlink(missing_ok=True)
                problems.append(f"{name} was not made: {trouble}")
            else:
                _replace(folder / name, text.encode())
                written.append(name)
        except OSError as error:
            discard(folder / name)
            problems.append(f"cannot write {folder / name}: {_why(error)}")
    return written, problems


def lacks_room(folder: Path, pairs: int) -> str | None:
    """A sentence where the disk of an existing folder has less than the reports of so many pairs want.

    None also where the file system does not say how large it is, as some of networks and of user space.
    """
    wanted = ROOM + pairs * ROOM_OF_A_PAIR
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    if free >= wanted or not disk.f_blocks:
        return None
    return (
        f"{folder} has {free >> 10} KB free, and the reports of this run want {wanted >> 10} KB; make room, or set "
        "kv_reuse_reports_dir to another disk"
    )


def write_texts(folder: Path, texts: dict[str, str]) -> tuple[list[str], list[str]]:
    """Writes files into a folder that may not be there yet.  Returns what write() does."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return [], [f"cannot make the folder {folder}: {_why(error)}"]
    problems = {name: write_bytes(folder / name, text.encode()) for name, text in texts.items()}
    return [name for name in texts if not problems[name]], [text for text in problems.values() if text]


def write_bytes(path: Path, content: bytes) -> str | None:
    """Writes one file; a sentence where it could not be written."""
    try:
        _replace(path, content)
    except OSError as error:
        return f"cannot write {path}: {_why(error)}"
    return None


def append(path: Path, text: str) -> str | None:
    """Adds to a file of somebody else's; a sentence where that could not be done."""
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        return f"cannot write {path}: {_why(error)}"
    return None


def discard(path: Path) -> None:
    """Removes a file where it can be."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        pass


def remove(folder: Path) -> None:
    """Takes back what write() left, and the folder when nothing else is in it."""
    try:
        for name in [*views.NAMES, *views.not_asked(())]:
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()
    except OSError:
        pass


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        # 0o666 less the umask, as for any file: node_exporter and CI run as other users
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            file.write(content)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _why(error: OSError) -> str:
    return error.strerror or str(error)
