# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Messages over TCP with the manners of ZeroMQ, which LMCache uses: connecting never fails, it only takes long.

A frame is two lengths, a JSON object and bytes.  A client may connect before anybody listens, keeps what it
has to send, and comes back after the server was away.  What was sent into a connection that then broke is lost.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

_LENGTHS = struct.Struct(">II")
MAX_FRAME = 64 << 20
RETRY_S = (0.1, 1.0)  # first and longest pause between two attempts to connect
DIAL_S = 3.0


class NoReply(Exception):
    """No answer within the time allowed (ZeroMQ's EAGAIN)."""


Message = tuple[dict[str, Any], bytes]
Handler = Callable[[dict[str, Any], bytes], Awaitable["Message | None"]]


async def read_message(reader: asyncio.StreamReader) -> Message:
    """One frame.  Raises asyncio.IncompleteReadError at the end, ValueError for something else than a frame."""
    head, tail = _LENGTHS.unpack(await reader.readexactly(_LENGTHS.size))
    if head > MAX_FRAME or tail > MAX_FRAME:
        raise ValueError("not a frame")
    message = json.loads(await reader.readexactly(head))
    return message, await reader.readexactly(tail)


def write_message(writer: asyncio.StreamWriter, message: dict[str, Any], blob: bytes = b"") -> None:
    data = json.dumps(message).encode()
    writer.write(_LENGTHS.pack(len(data), len(blob)) + data + blob)


def split_address(url: str) -> tuple[str, int]:
    """host:port of LMCache's URLs, with or without a scheme; ``*`` is every address.  Raises ValueError."""
    host, _, port = url.rsplit("://", 1)[-1].rpartition(":")
    return ("0.0.0.0" if host == "*" else host.strip("[]")), int(port)


class Server:
    """Listens at one address; every connection's messages go to ``handler``, whose result is the answer."""

    def __init__(self, handler: Handler):
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self, host: str, port: int) -> None:
        """Raises OSError when the address cannot be had: ZeroMQ knows IPv4 alone unless it is told otherwise."""
        try:
            self._server = await asyncio.start_server(self._serve, host, port, backlog=100, family=socket.AF_INET)
        except socket.gaierror:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV)) from None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens, also where it was told to take any port."""
        return self._server.sockets[0].getsockname()[:2]

    async def close(self) -> None:
        if self._server:
            self._server.close()
            for writer in list(self._writers):
                writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                message, blob = await read_message(reader)
                answer = await self._handler(message, blob)
                if answer is not None:
                    write_message(writer, {**answer[0], "seq": message.get("seq")}, answer[1])
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            pass  # the other side went away, or is no engine: a port scan, a validator's dial
        finally:
            self._writers.discard(writer)
            writer.close()


class Client:
    """A connection that is made in the background and made again when it breaks."""

    def __init__(self, url: str):
        self._address = split_address(url)
        self._unsent: deque[tuple[dict[str, Any], bytes]] = deque()
        self._waiting: dict[int, asyncio.Future] = {}
        self._wake = asyncio.Event()
        self._next = 0
        self._task: asyncio.Task | None = None

    def send(self, message: dict[str, Any], blob: bytes = b"") -> None:
        """Sends now, or as soon as there is a connection; no answer is expected."""
        self._unsent.append((message, blob))
        self._wake.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def ask(self, message: dict[str, Any], blob: bytes = b"", limit_s: float | None = None) -> Message:
        """Sends and waits for the answer.  Raises NoReply after ``limit_s`` seconds (None: never)."""
        self._next += 1
        number = self._next
        future = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self.send({**message, "seq": number}, blob)
        try:
            return await asyncio.wait_for(future, limit_s)
        except TimeoutError:
            raise NoReply from None
        finally:
            self._waiting.pop(number, None)

    def close(self) -> None:
        if self._task:
            self._task.cancel()

    async def _run(self) -> None:
        pause = RETRY_S[0]
        while True:
            try:
                reader, writer = await asyncio.wait_for(asyncio.open_connection(*self._address), DIAL_S)
            except (TimeoutError, OSError):
                await asyncio.sleep(pause)
                pause = min(2 * pause, RETRY_S[1])
                continue
            pause = RETRY_S[0]
            reading = asyncio.ensure_future(self._read(reader))
            try:
                await self._write(writer, reading)
            finally:
                reading.cancel()
                writer.close()

    async def _write(self, writer: asyncio.StreamWriter, reading: asyncio.Future) -> None:
        while not reading.done():
            while self._unsent:
                write_message(writer, *self._unsent.popleft())
            self._wake.clear()
            wake = asyncio.ensure_future(self._wake.wait())
            try:
                await asyncio.wait([wake, reading], return_when=asyncio.FIRST_COMPLETED)
            finally:
                wake.cancel()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                message, blob = await read_message(reader)
                future = self._waiting.get(message.get("seq"))
                if future and not future.done():
                    future.set_result((message, blob))
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            return
