"""How a `Wire` to a server comes about: connect, with TLS or without; then user and password, database, our name."""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Final

from thermocline.adapters.cache.redis_access import Part, RedisAccess, pack
from thermocline.adapters.cache.redis_wire import Wire

CLIENT_NAME: Final = "thermocline"


class Dialer:
    """Opens wires to the servers that one `RedisAccess` leads to."""

    def __init__(self, access: RedisAccess) -> None:
        self._access = access

    async def dial(self, host: str, port: int, on_lost: Callable[[Wire], None]) -> Wire:
        """Return a wire that is ready for commands. Raises what connecting does, and what the server says of us."""
        access = self._access
        async with asyncio.timeout(access.socket_timeout):
            _, wire = await asyncio.get_running_loop().create_connection(
                lambda: Wire(
                    timeout=access.socket_timeout, health_check_interval=access.health_check_interval, on_lost=on_lost
                ),
                host,
                port,
                ssl=self._tls,
            )
            try:
                await self._introduce(wire)
            except BaseException:
                wire.close()
                raise
        return wire

    async def _introduce(self, wire: Wire) -> None:
        location = self._access.location
        greetings: list[Sequence[Part]] = []
        if location.password:
            greetings.append(("AUTH", *([location.username] if location.username else []), location.password))
        if location.database:
            greetings.append(("SELECT", location.database))
        for greeting in greetings:
            await _asked(wire, *greeting)
        # The name is for people who look at the server: nobody waits for it, or minds if it is forbidden.
        _asked(wire, "CLIENT", "SETNAME", CLIENT_NAME).add_done_callback(
            lambda done: done.cancelled() or done.exception()
        )

    @cached_property
    def _tls(self) -> ssl.SSLContext | None:
        return ssl.create_default_context(cafile=self._access.checked_ca_file()) if self._access.location.tls else None


def _asked(wire: Wire, *command: Part) -> "asyncio.Future[Any]":
    reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    wire.send(pack(*command), reply)
    return reply
