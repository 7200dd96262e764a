"""A TCP proxy in front of a server, that delays, swallows, resets or refuses what passes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from typing import Final

from thermocline.domain.units import Seconds

_PIECE: Final = 65_536


class Weather(StrEnum):
    """What happens to connections."""

    FAIR = "fair"
    SLOW = "slow"
    """Each piece that the server answers comes after `delay`."""
    SWALLOWED = "swallowed"
    """Nothing comes through, nothing is closed."""
    RESET = "reset"
    """Every connection is cut, and new ones as soon as they say something."""
    CUT = "cut"
    """Each answer is cut after a few bytes, and its connection closed."""


class Proxy:
    """Forwards connections on loopback to a port. `weather` and `delay` may change at any time."""

    def __init__(self, port: int) -> None:
        self.port = 0
        """Where it listens."""
        self.delay = Seconds(0.0)
        self._target = port
        self._weather = Weather.FAIR
        self._links: set[asyncio.Task[None]] = set()

    @property
    def weather(self) -> Weather:
        """What happens to connections now."""
        return self._weather

    @weather.setter
    def weather(self, weather: Weather) -> None:
        self._weather = weather
        if weather is Weather.RESET:
            for link in self._links:
                link.cancel()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Proxy"]:
        """Listen for the length of the block."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for link in self._links:
                link.cancel()
            await asyncio.gather(*self._links, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.ensure_future(self._link(reader, writer))
        self._links.add(link)
        link.add_done_callback(self._links.discard)
        with suppress(asyncio.CancelledError):
            await asyncio.wait({link})

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there: asyncio.StreamWriter | None = None
        try:
            answers, there = await asyncio.open_connection("127.0.0.1", self._target)
            ways = [
                asyncio.ensure_future(self._pass(reader, there, is_answer=False)),
                asyncio.ensure_future(self._pass(answers, writer, is_answer=True)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass
        finally:
            for end in (writer, there):
                if end is not None:
                    end.transport.abort()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_answer: bool) -> None:
        with suppress(OSError):
            while piece := await source.read(_PIECE):
                match self._weather:
                    case Weather.RESET:
                        return
                    case Weather.SWALLOWED:
                        continue
                    case Weather.SLOW if is_answer:
                        await asyncio.sleep(self.delay)
                    case Weather.CUT if is_answer:
                        sink.write(piece[:3])
                        await sink.drain()
                        return
                    case _:
                        pass
                sink.write(piece)
                await sink.drain()
