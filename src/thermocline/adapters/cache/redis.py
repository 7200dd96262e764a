"""The cache in Redis: one server, one watched by Sentinels, or a cluster. The protocol runs there, in scripts.

Each key is one string of Redis, framed (`redis_frame`), under a prefix with the installation's id, so that
installations share servers without seeing one another. Redis itself ends leases, tombstones and values. What cannot be
read as a frame of ours is a miss, is counted, and is deleted.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from math import ceil
from typing import Any, Final, Self

from redis.exceptions import ResponseError

from thermocline.adapters.cache.redis_access import Part, RedisAccess
from thermocline.adapters.cache.redis_calls import Calls, by_script
from thermocline.adapters.cache.redis_counts import RedisCounts
from thermocline.adapters.cache.redis_frame import (
    LARGEST_FRAME,
    LIFE_BYTES,
    Frame,
    UnreadableFrameError,
    pack_moment,
    pack_token,
    pack_value,
    packing_takes_long,
    signature_of,
    unpack_value,
    unpacking_takes_long,
    version_in,
)
from thermocline.adapters.cache.redis_opening import open_route
from thermocline.adapters.cache.redis_pressure import Pressure
from thermocline.adapters.cache.redis_routes import RedisRoute
from thermocline.adapters.cache.redis_scanning import Scan
from thermocline.adapters.cache.redis_scripts import (
    DISCARD_SCRIPT,
    EVICT_SCRIPT,
    FILL_SCRIPT,
    LEASE_SCRIPT,
    PUT_SCRIPT,
    REFRESH_SCRIPT,
    RELEASE_SCRIPT,
    RENEW_SCRIPT,
    TOMBSTONE_SCRIPT,
    Script,
)
from thermocline.domain.errors import StorageError
from thermocline.domain.glob import escape_glob
from thermocline.domain.units import Seconds, elapsed
from thermocline.ports.cache import CacheEntry, Partitioned, Pressured, SharedLevel
from thermocline.ports.clock import Clock

PREFIX: Final = "tc:"


class RedisCache(SharedLevel, Partitioned, Pressured):
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
        self._pressure = Pressure(route, timeout=timeout)
        self.counts = RedisCounts(route, calls, f"{PREFIX}{installation}#counts".encode())
        """Counters that all processes of the installation add to."""
        self.unreadable = 0
        """Values that were damaged, forged or of another format: misses."""
        self.sets = 0

    @classmethod
    def open(cls, access: RedisAccess, clock: Clock, *, installation: str) -> Self:
        """Return the cache. Connects to nothing yet; must be called where an event loop runs."""
        route = open_route(access)
        calls = Calls(route, timeout=access.timeout, retries=access.retries)
        return cls(route, calls, clock, installation=installation, timeout=access.timeout)

    @property
    def retried(self) -> int:
        """Calls that did not succeed at once."""
        return self._calls.retried

    @property
    def exchanges(self) -> int:
        """Writes that carried many commands or one."""
        return self._route.exchanges

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pressure.aclose()
        await self._route.aclose()

    def part_of(self, key: str) -> str:
        """Return the name of the server that has the key, as far as is known."""
        try:
            return self._route.part_of(self._name(key))
        except Exception:  # noqa: BLE001 - while a cluster's client learns its nodes, anything escapes from it
            return ""

    async def get(self, key: str) -> CacheEntry | None:
        """Return the value, or None if the key is absent, expired, no longer fresh, a lease or a tombstone."""
        return await self._value(key, fresh=True)

    async def stale(self, key: str) -> CacheEntry | None:
        """Return the value, fresh or not; None where there is none, or where its content has ended."""
        return await self._value(key, fresh=False)

    async def _value(self, key: str, *, fresh: bool) -> CacheEntry | None:
        name = self._raw_prefix + key.encode()
        frame: Frame | None = b""
        try:
            frame = await self._calls.get(name)
            if frame is None:
                return None
            if unpacking_takes_long(frame):
                entry = await asyncio.to_thread(unpack_value, name, frame)
            else:
                entry = unpack_value(name, frame)
        except (UnreadableFrameError, ResponseError):
            self.unreadable += 1
            await self._discard(name, frame or b"")
            return None
        if entry is None:
            return None
        now = self._clock.now()
        if entry.expires_at is not None and now >= entry.expires_at:
            await self._discard(name, frame)  # else nobody could lease the key while Redis keeps it
            return None
        if fresh and entry.fresh_until is not None and now >= entry.fresh_until:
            return None
        return entry

    async def version_of(self, key: str) -> int | None:
        """Return the version of the value without its payload; None where `get` returns None, but for damaged ones."""
        name = self._name(key)
        try:
            return version_in(await self._calls.command(name, "GETRANGE", name, 0, LIFE_BYTES - 1), self._clock.now())
        except ResponseError:
            return None

    async def lease(self, key: str, token: str, *, ttl: Seconds) -> bool:
        """Install a lease, or one beside a value that is no longer fresh, or extend one's own; whether so."""
        return await self._holding(LEASE_SCRIPT, key, token, _milliseconds(ttl), pack_moment(self._clock.now()))

    async def refresh(self, key: str, token: str, *, ttl: Seconds) -> bool:
        """Put a token beside a value, fresh or not, unless another's is there; whether so."""
        return await self._holding(REFRESH_SCRIPT, key, token, _milliseconds(ttl), pack_moment(self._clock.now()))

    async def renew(self, key: str, token: str, *, ttl: Seconds) -> bool:
        """Let a lease, or a place beside a value, that still is one's own live on; whether it was."""
        return await self._holding(RENEW_SCRIPT, key, token, _milliseconds(ttl))

    async def fill(self, key: str, token: str, entry: CacheEntry, *, ttl: Seconds) -> bool:
        """Store `entry` if the key still holds `token` and `entry` is not older than its floor; whether so.

        A fill whose answer was lost may say False although it was stored.
        """
        life, name = self._life(entry, ttl), self._name(key)
        frame = await _packed(name, entry) if life > 0 else b""
        if not 0 < len(frame) <= LARGEST_FRAME:
            await self.release(key, token)
            return False
        filled = await self._holding(FILL_SCRIPT, key, token, frame, life)
        self.sets += filled
        return filled

    async def release(self, key: str, token: str) -> None:
        """Give up one's own lease. A value that it was beside stays."""
        await self._holding(RELEASE_SCRIPT, key, token)

    async def tombstone(self, versions: Mapping[str, int], *, ttl: Seconds) -> None:
        """For each key: replace a value of that version or older, and any lease; a newer value stays.

        The keys share the round trips. If one fails, the others were tried all the same.
        """
        life = _milliseconds(ttl)
        await self._all(
            [
                by_script(TOMBSTONE_SCRIPT, self._name(key), version.to_bytes(8), life)
                for key, version in versions.items()
            ]
        )

    async def _holding(self, script: Script, key: str, token: str, *arguments: Part) -> bool:
        """Return what a script says that asks for a token."""
        return bool(await self._calls.script(script, self._name(key), pack_token(token), *arguments))

    async def put(self, key: str, entry: CacheEntry, *, ttl: Seconds) -> int:
        """Store `entry` over whatever is there; return the version that it was given, 0 if it was refused.

        What is too large, or has ended, is refused, and what it would have replaced goes. A put whose answer was lost
        may have been done twice: then it has the later version.
        """
        life, name = self._life(entry, ttl), self._name(key)
        frame = await _packed(name, entry) if life > 0 else b""
        if not 0 < len(frame) <= LARGEST_FRAME:
            await self.evict([key], ttl=ttl)
            return 0
        version = int.from_bytes(await self._calls.script(PUT_SCRIPT, name, frame, life))
        self.sets += 1
        return version

    async def match(self, pattern: str) -> AsyncIterator[Sequence[str]]:
        """Yield pages of at most 500 of the keys that match; each page without repetitions.

        Every key that stood there from the beginning to the end is found, whatever slots move and whichever master
        hands over meanwhile; or else `UnavailableError` is raised at the end.
        """
        async for names in self._scan(pattern):
            yield [name[len(self._raw_prefix) :].decode(errors="surrogateescape") for name in names]

    async def evict(self, keys: Sequence[str], *, ttl: Seconds) -> int:
        """Replace the value or lease of each key by a tombstone of the version that it had; return how many values.

        The keys share the round trips. If one fails, the others were tried all the same.
        """
        life = _milliseconds(ttl)
        return sum(await self._all([by_script(EVICT_SCRIPT, self._name(key), life) for key in keys]))

    async def clear(self) -> None:
        """Forget everything of this installation, but its counters."""
        async for names in self._scan("*"):
            await self._all([("UNLINK", name) for name in names])

    def pressure(self) -> float:
        """Return the share of its memory that the fullest server used a moment ago; 0 without a limit, or unknown."""
        return self._pressure.share()

    def _scan(self, pattern: str) -> AsyncIterator[Sequence[bytes]]:
        """Yield the names of our keys that match, from every server."""
        return Scan(self._route, escape_glob(self._prefix) + pattern, timeout=self._timeout).pages()

    async def _all(self, commands: Sequence[tuple[Part, ...]]) -> Sequence[Any]:
        """Carry out commands on our keys; return the answers. Raises the first failure, when all were tried."""
        answers = await self._calls.commands([(_key_in(command), command) for command in commands])
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    async def _discard(self, name: bytes, frame: Frame) -> None:
        """Delete what nobody can read: it would stand in the way of leases for the rest of its life."""
        with suppress(StorageError):  # Redis ends it some day
            await self._calls.script(DISCARD_SCRIPT, name, *signature_of(frame))

    def _life(self, entry: CacheEntry, ttl: Seconds) -> int:
        """Return for how many milliseconds the entry may be kept."""
        life = _milliseconds(ttl)
        if entry.expires_at is not None:
            life = min(life, ceil(elapsed(self._clock.now(), entry.expires_at) * 1000))
        return life

    def _name(self, key: str) -> bytes:
        return self._raw_prefix + key.encode(errors="surrogateescape")


def _milliseconds(ttl: Seconds) -> int:
    if not ttl > 0:
        raise ValueError(f"a lifetime must be positive, not {ttl}")
    return max(int(ttl * 1000), 1)


async def _packed(name: bytes, entry: CacheEntry) -> bytes:
    if packing_takes_long(entry):
        return await asyncio.to_thread(pack_value, name, entry)
    return pack_value(name, entry)


def _key_in(command: tuple[Part, ...]) -> bytes:
    """Return the key of a command that this module makes."""
    return next(part for part in command if isinstance(part, bytes))
