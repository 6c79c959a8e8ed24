# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Writes log lines in the formats of vLLM, LMCache, NIXL and uvicorn.  The wordings are in data/lines.txt."""

from __future__ import annotations

import time
from pathlib import Path
from string import Template
from typing import IO, Any

LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
COLOURS = {"DEBUG": "\x1b[1m", "INFO": "\x1b[32;20m", "WARNING": "\x1b[33;20m", "ERROR": "\x1b[31;20m"}
RESET, ITALIC = "\x1b[0m", "\x1b[3m"
PROCESSES = {"A": "APIServer", "E": "EngineCore", "W": "Worker"}
#: where the packages would be; only tracebacks show it
SITE = "/opt/vllm/lib/python3.11/site-packages"


def read_wordings(text: str) -> dict[str, list[list[str]]]:
    """name → lines as [who, level, origin, text]; the format is told at the head of data/lines.txt."""
    found: dict[str, list[list[str]]] = {}
    entry: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("[") and line.endswith("]"):
            entry = found[line[1:-1]] = []
        elif line.startswith("+|"):
            entry[-1][3] += "\n" + line[2:]
        elif line[:2] in ("U|", "R|"):
            entry.append([line[0], "INFO", "", line[2:]])
        elif line and not line.startswith("#"):
            entry.append(line.split("|", 3))
    return found


WORDINGS = {
    name: lines
    for file in ("lines.txt", "mp_lines.txt", "pd_lines.txt")
    for name, lines in read_wordings((Path(__file__).parent / "data" / file).read_text(encoding="utf-8")).items()
}


class Log:
    """One process' log.  ``level`` is LMCACHE_LOG_LEVEL, ``vllm_level`` VLLM_LOGGING_LEVEL; ``pid`` the
    number that vLLM's lines carry; ``shift_s`` moves the time stamps, as a wrong clock does."""

    def __init__(self, stream: IO[str], *, level: str = "INFO", vllm_level: str = "INFO", pid: int = 1,
                 shift_s: float = 0.0):  # fmt: skip
        self._stream, self._pid, self._shift = stream, pid, shift_s
        self._least = {"L": LEVELS.get(level.upper(), 20), "vllm": LEVELS.get(vllm_level.upper(), 20)}
        # the engine core and the workers are processes of their own in vLLM
        self._pids = {"A": pid, "E": pid + 126, "W": pid + 149}

    def say(self, name: str, /, **values: Any) -> None:
        """Writes the lines of entry ``name`` with the values filled in."""
        values.setdefault("site", SITE)
        values.setdefault("pid", self._pid)
        text = "".join(self._line(*parts, values) for parts in WORDINGS[name])
        if text:
            self._stream.write(text)
            self._stream.flush()

    def _line(self, who: str, level: str, origin: str, wording: str, values: dict[str, Any]) -> str:
        text = Template(wording).safe_substitute(values)
        if who == "R":
            return text + "\n"
        if who == "U":
            return f"INFO:     {text}\n"
        if LEVELS[level] < self._least.get(who, self._least["vllm"]):
            return ""
        now = time.time() + self._shift
        clock = time.localtime(now)
        if who == "L":
            stamp = time.strftime("%Y-%m-%d %H:%M:%S", clock) + f",{int(now % 1 * 1000):03d}"
            origin = Template(origin).safe_substitute(values)
            return f"{COLOURS[level]}[{stamp}] LMCache {level}:{RESET} {text} {ITALIC}({origin}){RESET}\n"
        if who == "N":
            return f"{time.strftime('%Y-%m-%d %H:%M:%S', clock)} NIXL {level:<7} {origin} {text}\n"
        stamp = time.strftime("%m-%d %H:%M:%S", clock)
        return f"({PROCESSES[who]} pid={self._pids[who]}) {level} {stamp} [{origin}] {text}\n"
