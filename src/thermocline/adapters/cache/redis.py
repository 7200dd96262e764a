"""The cache in Redis: one server, one watched by Sentinels, or a cluster. The protocol runs there, in scripts.

Each key is one string of Redis, framed (`redis_frame`), under a prefix with the installation's id, so that
installations share servers without seeing one another. Redis itself ends leases, tombstones and values. What cannot be
read as a frame of ours is a miss, is counted, and is deleted.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import suppress
from math import ceil
from typing import Final, Self

from redis.exceptions import ResponseError

from thermocline.adapters.cache.redis_calls import Calls
from thermocline.adapters.cache.redis_errors import as_ours
from thermocline.adapters.cache.redis_frame import (
    MARK,
    UnreadableFrameError,
    pack_value,
    unpack_value,
    version_in,
)
from thermocline.adapters.cache.redis_opening import open_route
from thermocline.adapters.cache.redis_routes import RedisAccess, RedisRoute
from thermocline.adapters.cache.redis_scripts import (
    DISCARD_SCRIPT,
    FILL_SCRIPT,
    LEASE_SCRIPT,
    RELEASE_SCRIPT,
    RENEW_SCRIPT,
    TOMBSTONE_SCRIPT,
)
from thermocline.domain.errors import StorageError
from thermocline.domain.units import Seconds, elapsed
from thermocline.ports.cache import CacheEntry, Partitioned, SharedLevel
from thermocline.ports.clock import Clock

PREFIX: Final = "tc:"
SCAN_COUNT: Final = 500
_SIGNATURE: Final = 128
"""So many bytes tell one damaged value from what may have replaced it: they hold the checksum."""
_SPECIAL: Final = str.maketrans({char: f"\\{char}" for char in "*?[]^-\\"})


class RedisCache(SharedLevel, Partitioned):
    """A cache that all processes of an installation share. Every call ends within the access' timeout.

    Raises `OutOfSpaceError` where Redis is full and may not evict, `UnavailableError` for all else that fails.
    """

    def __init__(self, route: RedisRoute, calls: Calls, clock: Clock, *, installation: str, timeout: Seconds) -> None:
        self._route = route
        self._calls = calls
        self._clock = clock
        self._timeout = timeout
        self._prefix = f"{PREFIX}{installation}:"
        self._raw_prefix = self._prefix.encode()
        self.unreadable = 0
        """Values that were damaged, forged or of another format: misses."""
        self.sets = 0

    @classmethod
    def open(cls, access: RedisAccess, clock: Clock, *, installation: str) -> Self:
        """Return the cache. Connects to nothing yet; must be called where an event loop runs."""
        route = open_route(access)
        calls = Calls(route, timeout=access.timeout, socket_timeout=access.socket_timeout, retries=access.retries)
        return cls(route, calls, clock, installation=installation, timeout=access.timeout)

    @property
    def retried(self) -> int:
        """Calls that did not succeed at once."""
        return self._calls.retried

    @property
    def exchanges(self) -> int:
        """Writes that carried many commands or one."""
        return self._calls.exchanges

    async def aclose(self) -> None:
        """Close every connection."""
        await self._calls.aclose()
        await self._route.aclose()

    def part_of(self, key: str) -> str:
        """Return the name of the server that has the key, as far as is known."""
        try:
            return self._route.part_of(self._name(key))
        except Exception:  # noqa: BLE001 - while a cluster's client learns its nodes, anything escapes from it
            return ""

    async def get(self, key: str) -> CacheEntry | None:
        """Return the value, or None if the key is absent, expired, a lease or a tombstone."""
        name = self._raw_prefix + key.encode()
        try:
            frame = await self._calls.command(name, "GET", name)
            if frame is None:
                return None
            entry = unpack_value(name, frame)
        except UnreadableFrameError:
            self.unreadable += 1
            await self._discard(name, frame[:_SIGNATURE])
            return None
        except ResponseError:
            self.unreadable += 1
            await self._discard(name, b"")
            return None
        if entry is not None and entry.expires_at is not None and self._clock.now() >= entry.expires_at:
            await self._discard(name, frame[:_SIGNATURE])  # else nobody could lease the key while Redis keeps it
            return None
        return entry

    async def version_of(self, key: str) -> int | None:
        """Return the version of the value without its payload; None where there is no value."""
        name = self._name(key)
        try:
            return version_in(await self._calls.command(name, "GETRANGE", name, 0, MARK.size - 1))
        except ResponseError:
            return None

    async def lease(self, key: str, token: str, *, ttl: Seconds) -> bool:
        """Install a lease, or extend one's own; False over a value or another's lease."""
        return bool(await self._calls.script(LEASE_SCRIPT, self._name(key), token, _milliseconds(ttl)))

    async def renew(self, key: str, token: str, *, ttl: Seconds) -> bool:
        """Let a lease that still is one's own live on; whether it was."""
        return bool(await self._calls.script(RENEW_SCRIPT, self._name(key), token, _milliseconds(ttl)))

    async def fill(self, key: str, token: str, entry: CacheEntry, *, ttl: Seconds) -> bool:
        """Store `entry` if the key still holds `token` and `entry` is not older than its floor; whether so.

        A fill whose answer was lost may say False although it was stored.
        """
        life = _milliseconds(ttl)
        if entry.expires_at is not None:
            life = min(life, ceil(elapsed(self._clock.now(), entry.expires_at) * 1000))
        if life <= 0:
            await self.release(key, token)
            return False
        name = self._name(key)
        filled = bool(await self._calls.script(FILL_SCRIPT, name, token, pack_value(name, entry), life))
        self.sets += filled
        return filled

    async def release(self, key: str, token: str) -> None:
        """Give up one's own lease."""
        await self._calls.script(RELEASE_SCRIPT, self._name(key), token)

    async def tombstone(self, versions: Mapping[str, int], *, ttl: Seconds) -> None:
        """For each key: replace a value of that version or older, and any lease; a newer value stays.

        If one fails, the others were tried all the same.
        """
        life = _milliseconds(ttl)
        calls = [
            self._calls.script(TOMBSTONE_SCRIPT, self._name(key), version.to_bytes(8), life)
            for key, version in versions.items()
        ]
        await _all(calls)

    async def match(self, pattern: str) -> AsyncIterator[Sequence[str]]:
        """Yield pages of the keys that match, server by server; each page without repetitions."""
        async for names in self._scan(pattern):
            yield [name[len(self._raw_prefix) :].decode(errors="surrogateescape") for name in names]

    async def clear(self) -> None:
        """Forget everything of this installation."""
        async for names in self._scan("*"):
            await _all([self._calls.command(name, "UNLINK", name) for name in names])

    async def _scan(self, pattern: str) -> AsyncIterator[Sequence[bytes]]:
        """Yield the names of our keys that match, from every server."""
        matching = self._prefix.translate(_SPECIAL) + pattern
        try:
            servers = await self._route.servers()
        except Exception as exc:
            raise as_ours(exc) from exc
        for server in servers:
            cursor = b"0"
            while True:
                scan = ("SCAN", cursor, "MATCH", matching, "COUNT", SCAN_COUNT)
                try:
                    async with asyncio.timeout(self._timeout):
                        cursor, names = await self._route.execute_at(server, *scan)
                except Exception as exc:
                    raise as_ours(exc) from exc
                if names:
                    yield list(dict.fromkeys(names))
                if int(cursor) == 0:
                    break

    async def _discard(self, name: bytes, beginning: bytes) -> None:
        """Delete what nobody can read: it would stand in the way of leases for the rest of its life."""
        with suppress(StorageError):  # Redis ends it some day
            await self._calls.script(DISCARD_SCRIPT, name, beginning)

    def _name(self, key: str) -> bytes:
        return self._raw_prefix + key.encode(errors="surrogateescape")


def _milliseconds(ttl: Seconds) -> int:
    if not ttl > 0:
        raise ValueError(f"a lifetime must be positive, not {ttl}")
    return max(int(ttl * 1000), 1)


async def _all(calls: Sequence[Awaitable[object]]) -> None:
    """Return when all have ended. Raises the first failure."""
    for done in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(done, BaseException):
            raise done
