"""Ways to Redis: one server (watched by Sentinels or not), and a cluster. The client's public names only.

The client never tries again by itself: `redis_calls` does, at one place. Only commands on a single key, and those that
name their server, are sent.
"""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from redis.asyncio import Connection, ConnectionPool, Redis, RedisCluster, Sentinel, SSLConnection
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from thermocline.adapters.cache.redis_urls import RedisKind, RedisLocation
from thermocline.domain.errors import ConfigurationError
from thermocline.domain.units import Seconds

MAX_CONNECTIONS: Final = 64
"""To one server, from one process."""
_ALONE: Final = "redis"


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


class RedisRoute(Protocol):
    """A way to the server of each key."""

    @abstractmethod
    def part_of(self, key: bytes) -> str:
        """Return the name of the server of `key`. Raises whatever the client does while it does not know."""

    @abstractmethod
    def borrow(self, part: str) -> AbstractAsyncContextManager[AbstractConnection]:
        """Lend a connection to a server, for one exchange."""

    @abstractmethod
    async def execute(self, *command: bytes | str | int) -> Any:
        """Return the answer to a command on one key, wherever that key is by now. Tries once."""

    @abstractmethod
    async def servers(self) -> Sequence[str]:
        """Return the names of all servers that hold keys of their own."""

    @abstractmethod
    async def execute_at(self, part: str, *command: bytes | str | int) -> Any:
        """Return one server's answer."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close every connection."""


def open_route(access: RedisAccess) -> RedisRoute:
    """Return the way to what `access` names. Connects to nothing yet; must be called where an event loop runs."""
    match access.location.kind:
        case RedisKind.CLUSTER:
            return ClusterRoute(access)
        case RedisKind.SENTINEL:
            return WatchedRoute(access)
        case RedisKind.SINGLE:
            return SingleRoute(access)


class SingleRoute(RedisRoute):
    """One server."""

    def __init__(self, access: RedisAccess) -> None:
        host, port = access.location.hosts[0]
        self._client = Redis.from_pool(
            ConnectionPool(
                connection_class=SSLConnection if access.location.tls else Connection,
                max_connections=MAX_CONNECTIONS,
                host=host,
                port=port,
                db=access.location.database,
                **_common(access),
                **_tls(access),
            )
        )

    def part_of(self, key: bytes) -> str:  # noqa: ARG002 - there is one server
        """Return its only name."""
        return _ALONE

    @asynccontextmanager
    async def borrow(self, part: str) -> AsyncIterator[AbstractConnection]:  # noqa: ARG002 - there is one server
        """Lend a connection."""
        pool = self._client.connection_pool
        connection = await pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            yield connection
        finally:
            await pool.release(connection)

    async def execute(self, *command: bytes | str | int) -> Any:
        """Return the answer. Tries once."""
        return await self._client.execute_command(*command)  # type: ignore[no-untyped-call]

    async def servers(self) -> Sequence[str]:
        """Return its only name."""
        return [_ALONE]

    async def execute_at(self, part: str, *command: bytes | str | int) -> Any:  # noqa: ARG002 - there is one server
        """Return the answer."""
        return await self._client.execute_command(*command)  # type: ignore[no-untyped-call]

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()


class WatchedRoute(SingleRoute):
    """The master of a service, as Sentinels tell it each time a connection is made."""

    def __init__(self, access: RedisAccess) -> None:  # the pool is another one
        location = access.location
        common = {**_common(access), **({"ssl": True, **_tls(access)} if location.tls else {})}
        self._sentinel = Sentinel(  # type: ignore[no-untyped-call]
            location.hosts,
            sentinel_kwargs={key: value for key, value in common.items() if key not in {"username", "password"}},
        )
        self._client = self._sentinel.master_for(
            location.service or "", db=location.database, max_connections=MAX_CONNECTIONS, **common
        )

    async def aclose(self) -> None:
        """Close every connection, those to the Sentinels too."""
        await super().aclose()
        await self._sentinel.aclose()


class ClusterRoute(RedisRoute):
    """A cluster: the key's slot tells the node, and the cluster tells who has the slot."""

    def __init__(self, access: RedisAccess) -> None:
        location = access.location
        self._client = RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in location.hosts],
            require_full_coverage=False,
            max_connections=MAX_CONNECTIONS,
            **_common(access),
            **({"ssl": True, **_tls(access)} if location.tls else {}),
        )
        self._refresh: asyncio.Future[Any] | None = None

    def part_of(self, key: bytes) -> str:
        """Return the name of the slot's master, as far as is known. Raises while nothing is."""
        return self._client.get_node_from_key(key).name  # type: ignore[arg-type, union-attr]

    @asynccontextmanager
    async def borrow(self, part: str) -> AsyncIterator[AbstractConnection]:
        """Lend a connection to a node."""
        node = self._node(part)
        connection = node.acquire_connection()
        try:
            await node.disconnect_if_needed(connection)
            yield connection
        finally:
            node.release(connection)

    async def execute(self, *command: bytes | str | int) -> Any:
        """Return the answer, following the cluster's redirections. Tries once."""
        await self._know_nodes()
        return await self._client.execute_command(*command)

    async def servers(self) -> Sequence[str]:
        """Return the names of all masters."""
        await self._know_nodes()
        return [node.name for node in self._client.get_primaries()]

    async def execute_at(self, part: str, *command: bytes | str | int) -> Any:
        """Return one node's answer."""
        await self._know_nodes()
        return await self._node(part).execute_command(*command)

    async def aclose(self) -> None:
        """Close every connection."""
        if self._refresh is not None:
            self._refresh.cancel()
        await self._client.aclose()

    def _node(self, part: str) -> ClusterNode:
        node = self._client.get_node(node_name=part)
        if node is None:
            raise RedisConnectionError(f"the cluster has no node {part} any more")
        return node

    async def _know_nodes(self) -> None:
        """Let the client ask who has which slot, if it must; a caller that gives up does not stop it for the others."""
        if self._refresh is None or self._refresh.done():
            self._refresh = asyncio.ensure_future(self._client.initialize())
            self._refresh.add_done_callback(lambda done: None if done.cancelled() else done.exception())
        await asyncio.shield(self._refresh)


def _common(access: RedisAccess) -> dict[str, Any]:
    location = access.location
    return {
        "username": location.username,
        "password": location.password,
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
