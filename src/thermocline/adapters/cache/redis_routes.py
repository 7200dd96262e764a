"""Ways to Redis: one server, watched by Sentinels or not. For clusters see `redis_cluster`.

Of the client library only connections and their pools are used, by their public names; they try nothing again by
themselves: `redis_calls` does, at one place.
"""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from redis.asyncio import Connection, ConnectionPool, Sentinel, SSLConnection
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from thermocline.adapters.cache.redis_lanes import SLOWEST
from thermocline.adapters.cache.redis_parsing import LargeReplies
from thermocline.adapters.cache.redis_urls import RedisLocation
from thermocline.domain.errors import ConfigurationError
from thermocline.domain.units import Seconds

MAX_CONNECTIONS: Final = 64
"""To one server, from one process."""
ALONE: Final = "redis"
"""What a server is called where there is only one."""
ONE_SLOT: Final = frozenset({0})
_OF_OURS: Final[dict[str, Any]] = {"socket_timeout": None, "parser_class": LargeReplies}
"""How our connections differ from those that the library makes for itself, to Sentinels."""

Part = bytes | str | int
"""Of a command."""


@dataclass(frozen=True, slots=True)
class RedisAccess:
    """Where Redis is, and how it is talked to."""

    location: RedisLocation
    timeout: Seconds = Seconds(1.0)
    """How long one call may take, everything tried again included."""
    retries: int = 3
    health_check_interval: Seconds = Seconds(30.0)
    ca_file: Path | None = None

    @property
    def socket_timeout(self) -> Seconds:
        """How long one exchange may take: so that there is time for a second."""
        return Seconds(self.timeout / 2)


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

    @abstractmethod
    def lane_pool(self, part: str) -> ConnectionPool:
        """Return the connections to a server. Their users watch over time themselves."""

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
        self._pool = open_pool(access, *access.location.hosts[0])

    def part_of(self, key: bytes) -> str:  # noqa: ARG002 - there is one server
        """Return its only name."""
        return ALONE

    def lane_pool(self, part: str) -> ConnectionPool:  # noqa: ARG002 - likewise
        """Return the connections to it."""
        return self._pool

    def doubt(self) -> None:
        """Do nothing: there is no other server."""

    async def execute(self, key: bytes, *command: Part) -> Any:  # noqa: ARG002 - likewise
        """Return the answer. Tries once."""
        return await exchange(self._pool, command, within=self._timeout)

    async def servers(self) -> Sequence[str]:
        """Return its only name."""
        return [ALONE]

    async def execute_at(self, part: str, *command: Part) -> Any:  # noqa: ARG002 - likewise
        """Return the answer."""
        return await exchange(self._pool, command, within=self._timeout)

    def slots_of(self, part: str) -> frozenset[int]:  # noqa: ARG002 - likewise
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
        await self._pool.disconnect()


class WatchedRoute(SingleRoute):
    """The master of a service, as Sentinels tell it each time a connection is made."""

    def __init__(self, access: RedisAccess) -> None:  # the pool is another one
        location = access.location
        how = {**connection_settings(access), **({"ssl": True, **_tls(access)} if location.tls else {})}
        # Sentinels have passwords of their own, if any.
        self._sentinel = Sentinel(  # type: ignore[no-untyped-call]
            location.hosts,
            sentinel_kwargs={key: value for key, value in how.items() if key not in {"username", "password"}},
        )
        self._timeout = access.socket_timeout
        self._pool = SentinelConnectionPool(  # type: ignore[no-untyped-call]
            location.service,
            self._sentinel,
            db=location.database,
            max_connections=MAX_CONNECTIONS,
            **how | _OF_OURS,
        )

    async def aclose(self) -> None:
        """Close every connection, those to the Sentinels too."""
        await super().aclose()
        await self._sentinel.aclose()


async def run_of(route: RedisRoute, part: str) -> str:
    """Return the name that a server has from its start to its end."""
    told = await route.execute_at(part, "INFO", "server")
    return next((line[7:].decode() for line in told.splitlines() if line.startswith(b"run_id:")), "")


def open_pool(access: RedisAccess, host: str, port: int) -> ConnectionPool:
    """Return a pool of connections to one server. Connects to nothing yet.

    The connections keep no time of their own. A timer for each write and read is much of the price of a read; and the
    library's (`asyncio.wait_for` of Python 3.11) swallows a cancellation that comes as the write ends.
    """
    return ConnectionPool(
        connection_class=SSLConnection if access.location.tls else Connection,
        max_connections=MAX_CONNECTIONS,
        host=host,
        port=port,
        db=access.location.database,
        **connection_settings(access) | _OF_OURS,
        **_tls(access),
    )


@asynccontextmanager
async def lend(pool: ConnectionPool) -> AsyncIterator[AbstractConnection]:
    """Lend a connection; one whose exchange did not come to its end is closed, never lent again as it is."""
    connection = await pool.get_connection()  # type: ignore[no-untyped-call]
    try:
        yield connection
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    finally:
        await pool.release(connection)


async def exchange(pool: ConnectionPool, *commands: Sequence[Part], within: Seconds) -> Any:
    """Send the commands on one connection and return the answer to the last. Raises what any is answered with."""
    packed = [pack(*command) for command in commands]
    size = sum(map(len, packed))
    async with asyncio.timeout(within + size / SLOWEST), lend(pool) as connection:
        await connection.send_packed_command(packed)
        answers = []
        for _ in commands:
            try:
                answers.append(await connection.read_response())
            except ResponseError as exc:
                answers.append(exc)
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers[-1]


def pack(*command: Part) -> bytes:
    """Return a command as Redis takes it."""
    pieces = [b"*%d\r\n" % len(command)]
    for part in command:
        raw = part if isinstance(part, bytes) else str(part).encode()
        pieces.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
    return b"".join(pieces)


def connection_settings(access: RedisAccess) -> dict[str, Any]:
    """Return what every connection is made with."""
    return {
        "username": access.location.username,
        "password": access.location.password,
        "socket_timeout": access.socket_timeout,
        "socket_connect_timeout": access.socket_timeout,
        "health_check_interval": access.health_check_interval,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "client_name": "thermocline",
    }


def _tls(access: RedisAccess) -> dict[str, Any]:
    if not access.location.tls:
        return {}
    if access.ca_file is not None and not access.ca_file.is_file():
        raise ConfigurationError(f"[cache] ca_file: there is no file {str(access.ca_file)!r}")
    return {"ssl_ca_certs": None if access.ca_file is None else str(access.ca_file)}
