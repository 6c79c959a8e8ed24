# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder in which runs are kept (kv_reuse_history): reads what a run is compared with, and keeps the run.

Several runs may end at the same time, of several inventories and machines: nothing is overwritten, a reader sees whole
files alone, and whoever finds a file gone goes on without it.
"""

from __future__ import annotations

import os
from pathlib import Path

from . import files, history
from .parts import History, Verdict

#: No further kept run is read when there were so many bytes of them: 60 runs of a thousand nodes.
ENOUGH_BYTES = 16 << 20
NAMED = 3  # files that are named in a sentence
_MEND = "make it writable for whoever runs ansible-playbook, or set kv_reuse_history to another folder"


def compared(folder: Path, doc: Verdict) -> tuple[History, list[str]]:
    """What the folder's runs tell of a run that has ended, and sentences about what could not be compared with."""
    earlier = history.Earlier(doc)
    try:
        names = sorted(filter(history.is_name, os.listdir(folder)), reverse=True)
    except FileNotFoundError:
        names = []  # the first run makes it
    except OSError as error:
        return earlier.part(), [f"kv_reuse_history: cannot read {folder}, so nothing is compared: {files.why(error)}"]
    past = [name for name in names if not history.ended_later(name, doc)]
    left, size, notes = {}, 0, []
    for number, name in enumerate(past):
        if not earlier.wants_more:
            break
        if size > ENOUGH_BYTES:
            notes.append(
                f"kv_reuse_history: of {len(past)} runs in {folder} the latest {number} were read, which is enough"
            )
            break
        kept, trouble = _read(folder / name)
        size += _bytes_read(folder / name)
        if kept:
            earlier.add(kept)
        elif os.path.lexists(folder / name):
            left[name] = trouble
    notes += [_left_alone(folder, left)] if left else []
    if later := len(names) - len(past):
        notes.append(
            f"kv_reuse_history: {later} of the runs in {folder} ended later than this one, by their names, and it is "
            "not compared with them: look at the clock of this machine"
        )
    return earlier.part(), notes


def keep(folder: Path, doc: Verdict, most: int) -> list[str]:
    """Keeps a run, and of all runs of the folder the latest so many.  Returns sentences about what went wrong."""
    if not history.is_worth_keeping(doc):
        return []
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return [f"cannot make the folder {folder}: {files.why(error)}. This run is not kept: {_MEND}"]
    problem = files.write_bytes(folder / history.name_of(doc), history.text_of(doc).encode(), new=True)
    if problem:
        return [f"{problem}. This run is not kept: {_MEND}"]
    return _forget(folder, most)


def _forget(folder: Path, most: int) -> list[str]:
    """Removes the oldest runs, and nothing that only bears the name of one."""
    try:
        names = sorted(filter(history.is_name, os.listdir(folder)), reverse=True)
        for name in names[most:]:
            if _begins_as_kept(folder / name):
                (folder / name).unlink(missing_ok=True)
    except OSError as error:
        return [f"cannot remove the oldest runs of {folder}: {files.why(error)}: {_MEND}"]
    return []


def _begins_as_kept(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(len(history.BEGIN)) == history.BEGIN.encode()


def _read(path: Path) -> tuple[history.Kept | None, str | None]:
    value, trouble = files.read_json(path)
    return (None, trouble) if trouble else history.read(value)


def _bytes_read(path: Path) -> int:
    try:
        size = path.stat().st_size
    except OSError:
        return 0
    return size if size <= files.MOST_BYTES else 0  # that was too large to be read


def _left_alone(folder: Path, left: dict[str, str | None]) -> str:
    told = "; ".join(f"{name}: {why}" for name, why in list(left.items())[:NAMED])
    more = f"; and {len(left) - NAMED} more" if len(left) > NAMED else ""
    return (
        f"kv_reuse_history: what cannot be read in {folder} is left as it is and not compared with: {told}{more}. "
        "Remove what is damaged"
    )
