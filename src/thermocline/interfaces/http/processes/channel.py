"""Messages between the supervisor and one server process: JSON, whole, in order, over a socket pair."""

import asyncio
import json
import socket
from typing import Any, Self

Message = dict[str, Any]

LARGEST_MESSAGE = 16 * 1024 * 1024
"""A report has some hundred numbers, a gathering one report for each process."""


class Channel:
    """One end. `receive` returns None once the other end is gone; what is sent after that goes nowhere."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> Self:
        """Return the channel over one end of a socket pair, which it closes."""
        end.setblocking(False)
        return cls(*await asyncio.open_unix_connection(sock=end, limit=LARGEST_MESSAGE))

    def send(self, message: Message) -> None:
        """Send a message, without waiting for anybody."""
        if not self._writer.is_closing():
            self._writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")

    async def receive(self) -> Message | None:
        """Return the next message, or None if there is and will be none."""
        try:
            line = await self._reader.readline()
        except (ConnectionError, ValueError):
            return None
        if not line.endswith(b"\n"):
            return None
        message: Message = json.loads(line)
        return message

    async def close(self) -> None:
        """Send what waits, then end. Idempotent."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return
