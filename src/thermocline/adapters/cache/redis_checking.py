"""Looks at Redis itself: whether the settings fit what is there, and how it is."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from thermocline.adapters.cache.redis_access import RedisAccess
from thermocline.adapters.cache.redis_errors import as_ours, as_wrong_setting
from thermocline.adapters.cache.redis_opening import open_route
from thermocline.adapters.cache.redis_routes import RedisRoute
from thermocline.adapters.cache.redis_urls import RedisKind
from thermocline.domain.errors import ConfigurationError
from thermocline.domain.units import Bytes

log = structlog.get_logger(__name__)

OLDEST_VERSION: Final = (6, 0)
"""SET with KEEPTTL, and struct in scripts."""
_REPLIES: Final = (b"+", b"-")
"""What an answer of Redis to PING begins with."""


@dataclass(frozen=True, slots=True)
class RedisServerFacts:
    """How one server that holds keys is."""

    name: str
    version: str
    is_master: bool
    replicas: int
    maxmemory: Bytes
    """0: no limit."""
    policy: str
    used: Bytes
    in_cluster: bool


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """How all of Redis is."""

    servers: tuple[RedisServerFacts, ...]
    cluster_state: str | None
    """`ok` or `fail`; None where there is no cluster."""


async def refuse_wrong_redis(access: RedisAccess) -> None:
    """Return if Redis is as the settings say, or does not answer: it may be down, and comes back. Bounded in time.

    Raises `ConfigurationError` for another kind of server, a refused password, a certificate that is not trusted.
    """
    access.checked_ca_file()
    try:
        async with asyncio.timeout(2 * access.timeout):
            facts = await _facts(access)
    except Exception as exc:
        wrong = as_wrong_setting(exc, str(access.location)) or await _wrong_tls(access)
        if wrong is not None:
            raise wrong from exc
        log.warning("cache_unreachable_at_start", url=str(access.location), error=str(as_ours(exc)))
        return
    _check_kind(access, facts)


async def examine_redis(access: RedisAccess) -> RedisFacts:
    """Return how Redis is. Raises `ConfigurationError`, `UnavailableError`."""
    access.checked_ca_file()
    try:
        async with asyncio.timeout(4 * access.timeout):
            facts = await _facts(access)
    except Exception as exc:
        raise as_wrong_setting(exc, str(access.location)) or await _wrong_tls(access) or as_ours(exc) from exc
    _check_kind(access, facts)
    return facts


async def _facts(access: RedisAccess) -> RedisFacts:
    route = open_route(access)
    try:
        names = await route.servers()
        servers = [await _server_facts(route, name) for name in names]
        state = None
        if access.location.kind is RedisKind.CLUSTER:
            state = _pairs(await route.execute_at(names[0], "CLUSTER", "INFO")).get("cluster_state")
        return RedisFacts(tuple(servers), state)
    finally:
        await route.aclose()


async def _server_facts(route: RedisRoute, name: str) -> RedisServerFacts:
    told = _pairs(await route.execute_at(name, "INFO"))
    return RedisServerFacts(
        name=name,
        version=str(told.get("redis_version", "unknown")),
        is_master=told.get("role") == "master",
        replicas=int(told.get("connected_slaves", 0)),
        maxmemory=Bytes(int(told.get("maxmemory", 0))),
        policy=str(told.get("maxmemory_policy", "unknown")),
        used=Bytes(int(told.get("used_memory", 0))),
        in_cluster=told.get("cluster_enabled") == "1",
    )


async def _wrong_tls(access: RedisAccess) -> ConfigurationError | None:
    """Return what to change if a server that failed us speaks TLS and we don't, or the other way round.

    Either side just waits for more, or hangs up: nothing in the failure itself tells.
    """
    host, port = access.location.hosts[0]
    other = None if access.location.tls else _curious()
    try:
        async with asyncio.timeout(access.socket_timeout):
            reader, writer = await asyncio.open_connection(host, port, ssl=other)
            try:
                writer.write(b"PING\r\n")
                answer = await reader.read(1)
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError):
        return None
    if answer not in _REPLIES:
        return None
    if access.location.tls:
        return ConfigurationError(f"Redis at {access.location} does not speak TLS; write redis instead of rediss")
    return ConfigurationError(f"Redis at {access.location} speaks TLS only; write rediss instead of redis")


def _curious() -> ssl.SSLContext:
    """Return what accepts any certificate: to learn that there is one, and to say nothing but PING."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _check_kind(access: RedisAccess, facts: RedisFacts) -> None:
    if access.location.kind is not RedisKind.CLUSTER and any(server.in_cluster for server in facts.servers):
        raise ConfigurationError(
            f"Redis at {access.location} is a node of a cluster; write redis+cluster:// in [cache] url"
        )
    for server in facts.servers:
        if _version(server.version) < OLDEST_VERSION:
            oldest = ".".join(map(str, OLDEST_VERSION))
            raise ConfigurationError(f"Redis at {server.name} is {server.version}; {oldest} or newer is needed")


def _version(text: str) -> tuple[int, ...]:
    numbers = tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
    return numbers or OLDEST_VERSION  # compatible servers name themselves as they like


def _pairs(told: bytes) -> Mapping[str, str]:
    lines = told.decode(errors="replace").splitlines()
    return {name: value for name, colon, value in (line.partition(":") for line in lines) if colon}
