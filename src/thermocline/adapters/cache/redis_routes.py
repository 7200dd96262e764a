"""Ways to Redis: one server, watched by Sentinels or not. For clusters see `redis_cluster`.

Connections are our own (`redis_wire`); of the client library come the parser, the errors, the slots and the talk with
Sentinels. Nothing here tries anything again: `redis_calls` does, at one place.
"""

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from redis.asyncio import Sentinel
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from thermocline.adapters.cache.redis_access import Part, RedisAccess, pack
from thermocline.adapters.cache.redis_dialing import CLIENT_NAME, Dialer
from thermocline.adapters.cache.redis_lanes import SLOWEST, Lanes
from thermocline.adapters.cache.redis_wire import Reply, Wire
from thermocline.domain.units import Seconds

ALONE: Final = "redis"
"""What a server is called where there is only one."""
ONE_SLOT: Final = frozenset({0})


@dataclass(frozen=True, slots=True)
class Holdings:
    """What one server holds, as it says itself."""

    identity: str
    """Changes when the server starts anew, and whenever it wins slots: by a failover, or by the end of a move."""
    slots: frozenset[int]
    leaving: Mapping[int, str]
    """Slots whose keys are being moved to another server, one by one; its name."""
    arriving: frozenset[int]


class RedisRoute(Protocol):
    """A way to the server of each key."""

    @abstractmethod
    def part_of(self, key: bytes) -> str:
        """Return the name of the server of `key`, as far as is known. Raises an error of the client's otherwise."""

    @property
    @abstractmethod
    def exchanges(self) -> int:
        """Writes so far: beside the number of commands, how well they were batched."""

    @abstractmethod
    def send(self, part: str, command: bytes, *, is_string: bool = False) -> Reply:
        """Return the reply of a server to a packed command, to come; see `Lanes.send`."""

    @abstractmethod
    def doubt(self) -> None:
        """Take in that a call failed: what is known of the servers may be old. Costs the caller nothing."""

    @abstractmethod
    async def execute(self, key: bytes, *command: Part) -> Any:
        """Return the answer to a command on one key, wherever that key is by now. Tries once."""

    @abstractmethod
    async def servers(self) -> Sequence[str]:
        """Return the names of all servers that hold keys of their own."""

    @abstractmethod
    async def execute_at(self, part: str, *command: Part) -> Any:
        """Return one server's answer."""

    @abstractmethod
    def slots_of(self, part: str) -> frozenset[int]:
        """Return the slots of a server, as far as is known."""

    @abstractmethod
    def slot_of(self, key: bytes) -> int:
        """Return the slot of a key."""

    @abstractmethod
    async def holdings(self, part: str) -> Holdings:
        """Return what one server says that it holds."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close every connection."""


class SingleRoute(RedisRoute):
    """One server."""

    def __init__(self, access: RedisAccess) -> None:
        self._timeout = access.socket_timeout
        self._dialer = Dialer(access)
        self._address = access.location.hosts[0]
        self._lanes = Lanes(self._dial)

    @property
    def exchanges(self) -> int:
        """Writes so far."""
        return self._lanes.exchanges

    def send(self, part: str, command: bytes, *, is_string: bool = False) -> Reply:
        """Return the reply to a packed command, to come."""
        return self._lanes.send(part, command, is_string=is_string)

    def part_of(self, key: bytes) -> str:  # noqa: ARG002 - there is one server
        """Return its only name."""
        return ALONE

    def doubt(self) -> None:
        """Do nothing: there is no other server."""

    async def execute(self, key: bytes, *command: Part) -> Any:  # noqa: ARG002 - there is one server
        """Return the answer. Tries once."""
        return await exchange(self._lanes, ALONE, command, within=self._timeout)

    async def servers(self) -> Sequence[str]:
        """Return its only name."""
        return [ALONE]

    async def execute_at(self, part: str, *command: Part) -> Any:
        """Return the answer."""
        return await exchange(self._lanes, part, command, within=self._timeout)

    def slots_of(self, part: str) -> frozenset[int]:  # noqa: ARG002 - there is one server
        """Return the one slot."""
        return ONE_SLOT

    def slot_of(self, key: bytes) -> int:  # noqa: ARG002 - there is one slot
        """Return the one slot."""
        return 0

    async def holdings(self, part: str) -> Holdings:
        """Return that it holds everything, and who it is: behind Sentinels another may answer next time."""
        return Holdings(await run_of(self, part), ONE_SLOT, {}, frozenset())

    async def aclose(self) -> None:
        """Close every connection."""
        await self._lanes.aclose()

    async def _dial(self, part: str, on_lost: Callable[[Wire], None]) -> Wire:  # noqa: ARG002 - there is one server
        return await self._dialer.dial(*self._address, on_lost)


class WatchedRoute(SingleRoute):
    """The master of a service, as Sentinels tell it each time a connection is made."""

    def __init__(self, access: RedisAccess) -> None:
        super().__init__(access)
        self._service = access.location.service or ""
        # Sentinels have passwords of their own, if any.
        self._sentinel = Sentinel(access.location.hosts, sentinel_kwargs=_to_sentinels(access))  # type: ignore[no-untyped-call]

    async def aclose(self) -> None:
        """Close every connection, those to the Sentinels too."""
        await super().aclose()
        await self._sentinel.aclose()

    async def _dial(self, part: str, on_lost: Callable[[Wire], None]) -> Wire:  # noqa: ARG002 - there is one master
        # Each Sentinel has its own time; all of them together get no more than one server would.
        async with asyncio.timeout(self._timeout):
            host, port = await self._sentinel.discover_master(self._service)
        return await self._dialer.dial(host, port, on_lost)


async def run_of(route: RedisRoute, part: str) -> str:
    """Return the name that a server has from its start to its end."""
    told = await route.execute_at(part, "INFO", "server")
    return next((line[7:].decode() for line in told.splitlines() if line.startswith(b"run_id:")), "")


async def exchange(lanes: Lanes, part: str, *commands: Sequence[Part], within: Seconds) -> Any:
    """Send the commands right after one another and return the answer to the last. Raises what any is answered with."""
    packed = [pack(*command) for command in commands]
    async with asyncio.timeout(within + sum(map(len, packed)) / SLOWEST):
        answers = await asyncio.gather(*lanes.send_together(part, packed), return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return answers[-1]


def _to_sentinels(access: RedisAccess) -> dict[str, Any]:
    """Return how the library talks to Sentinels: it tries nothing again either."""
    how: dict[str, Any] = {
        "socket_timeout": access.socket_timeout,
        "socket_connect_timeout": access.socket_timeout,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "client_name": CLIENT_NAME,
    }
    return how | ({"ssl": True, "ssl_ca_certs": access.checked_ca_file()} if access.location.tls else {})
