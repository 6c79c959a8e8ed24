# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs as an engine writes them, for the tests of the reading."""

from __future__ import annotations

import time
from pathlib import Path

MARKER = "kvp-RUN42"
START = b"(APIServer pid=1) INFO 11-24 02:24:00 [api_utils.py:286] non-default args: {'port': 8000}\n"


def stamp(epoch: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(epoch)) + ",123"


def line(text: str, epoch: float = 1795487069.0, level: str = "INFO") -> bytes:
    return f"\x1b[32;20m[{stamp(epoch)}] LMCache {level}:\x1b[0m {text} (f.py:1:lmcache.m)\n".encode()


def stored(request: str, epoch: float = 1795487069.0, tokens: int = 512) -> bytes:
    return line(f"[req_id=cmpl-{request}-0-0123abcd] Stored {tokens} out of total {tokens} tokens. size: 1 GB", epoch)


def noise(count: int, epoch: float = 1795480000.0) -> bytes:
    return b"".join(stored(f"other-{number}", epoch) for number in range(count))


def written(path: Path, *parts: bytes) -> dict:
    path.write_bytes(b"".join(parts))
    return {"file": str(path)}


def ids_of(log: dict) -> list[str]:
    return [event["id"] for event in log["events"] if event.get("id")]


def padding(total: int) -> bytes:
    access = b'INFO:     127.0.0.1:1 - "GET /metrics HTTP/1.1" 200 OK\n'
    return access * (total // len(access))
