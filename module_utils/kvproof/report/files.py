# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes a run's reports.  A reader sees the old file or the new one, never a half."""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Any

from . import views
from .language import ENGLISH, Language
from .parts import Format, Verdict

#: bytes for the reports of one pair, three times over since each is written beside an earlier one; and for one more
ROOM, ROOM_OF_A_PAIR = 128 << 10, 16 << 10
MOST_BYTES = 64 << 20  # of one file that is read; the report of a thousand pairs has a third of it


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
        return [], [f"cannot make the folder {folder}: {why(error)}"]
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
            problems.append(f"cannot write {folder / name}: {why(error)}")
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
        return [], [f"cannot make the folder {folder}: {why(error)}"]
    problems = {name: write_bytes(folder / name, text.encode()) for name, text in texts.items()}
    return [name for name in texts if not problems[name]], [text for text in problems.values() if text]


def read_json(path: Path) -> tuple[Any, str | None]:
    """What is in a file, or in a few words why that cannot be said."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return None, "it is no file"
        if status.st_size > MOST_BYTES:
            return None, f"it has more than {MOST_BYTES >> 20} MB, which no run writes"
        return json.loads(path.read_text(encoding="utf-8")), None
    except OSError as error:
        return None, f"it cannot be read ({why(error)})"
    except (ValueError, RecursionError):
        return None, "this is no JSON"


def write_bytes(path: Path, content: bytes, new: bool = False) -> str | None:
    """Writes one file; a sentence where it could not be written.  new: and where there is one of that name."""
    try:
        _replace(path, content, new)
    except OSError as error:
        return f"cannot write {path}: {why(error)}"
    return None


def append(path: Path, text: str) -> str | None:
    """Adds to a file of somebody else's; a sentence where that could not be done."""
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        return f"cannot write {path}: {why(error)}"
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


def _replace(path: Path, content: bytes, new: bool = False) -> None:
    """new: raises FileExistsError where something has that name already."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        # 0o666 less the umask, as for any file: node_exporter and CI run as other users
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            file.write(content)
        if new:
            _link(beside, path)
        else:
            beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _link(beside: Path, path: Path) -> None:
    try:
        os.link(beside, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        beside.replace(path)


def why(error: OSError) -> str:
    return error.strerror or str(error)
