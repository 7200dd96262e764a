"""A circuit breaker around a shared cache: no request waits twice for a server that does not answer.

One circuit for each server. A call that fails opens it: the cache below has tried again by then, so one failure is
proof enough. While it is open, calls fail at once, and one probe at a time asks in the background, less and less often;
the first answer closes it. A server that answers "full" is well, and opens nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, Protocol, TypeVar

import structlog

from thermocline.domain.errors import OutOfSpaceError, StorageError, UnavailableError
from thermocline.domain.units import Seconds
from thermocline.ports.cache import CacheEntry, Partitioned, Pressured, SharedCounts, SharedLevel
from thermocline.ports.clock import Clock

log = structlog.get_logger(__name__)

FIRST_PROBE: Final = Seconds(0.1)
LONGEST_PAUSE: Final = Seconds(5.0)
"""How long after a server is back it may take until it is used again."""
_WHOLE: Final = ""

T = TypeVar("T")
Probe = Callable[[], Awaitable[object]]
"""Asks a server whether it answers."""


class BreakingCache(SharedLevel, Pressured):
    """The shared cache that it wraps, while that answers; else `UnavailableError`, at once."""

    def __init__(self, cache: SharedLevel, clock: Clock) -> None:
        self.cache = cache
        self._clock = clock
        self._parts = cache if isinstance(cache, Partitioned) else None
        self._open: dict[str, asyncio.Task[None]] = {}
        self.opened = 0
        """How often a circuit opened."""
        self.refused = 0
        """Calls that failed at once, because a circuit was open."""

    @property
    def open_circuits(self) -> int:
        """How many servers are left alone now."""
        return len(self._open)

    async def get(self, key: str) -> CacheEntry | None:
        """Return the value, or None if the key is absent, expired, no longer fresh, a lease or a tombstone."""
        if self._open:
            return await self._guarded(key, lambda: self.cache.get(key))
        try:
            return await self.cache.get(key)
        except StorageError as exc:
            self._note(exc, self._part_of(key), lambda: self.cache.version_of(key))
            raise

    async def stale(self, key: str) -> CacheEntry | None:
        """Return the value, fresh or not; None where there is none, or where its content has ended."""
        return await self._guarded(key, lambda: self.cache.stale(key))

    async def version_of(self, key: str) -> int | None:
        """Return the version of the value without its payload; None where there is no value."""
        return await self._guarded(key, lambda: self.cache.version_of(key))

    async def lease(self, key: str, token: str, *, ttl: Seconds) -> bool:
        """Install a lease, or extend one's own; False over a value or another's lease."""
        return await self._guarded(key, lambda: self.cache.lease(key, token, ttl=ttl))

    async def refresh(self, key: str, token: str, *, ttl: Seconds) -> bool:
        """Put a token beside a value, fresh or not, unless another's is there; whether so."""
        return await self._guarded(key, lambda: self.cache.refresh(key, token, ttl=ttl))

    async def renew(self, key: str, token: str, *, ttl: Seconds) -> bool:
        """Let a lease that still is one's own live on; whether it was."""
        return await self._guarded(key, lambda: self.cache.renew(key, token, ttl=ttl))

    async def fill(self, key: str, token: str, entry: CacheEntry, *, ttl: Seconds) -> bool:
        """Store `entry` if the key still holds `token` and `entry` is not older than its floor; whether so."""
        return await self._guarded(key, lambda: self.cache.fill(key, token, entry, ttl=ttl))

    async def release(self, key: str, token: str) -> None:
        """Give up one's own lease."""
        await self._guarded(key, lambda: self.cache.release(key, token))

    async def put(self, key: str, entry: CacheEntry, *, ttl: Seconds) -> int:
        """Store `entry` over whatever is there; return the version that it was given, 0 if it was refused."""
        return await self._guarded(key, lambda: self.cache.put(key, entry, ttl=ttl))

    async def tombstone(self, versions: Mapping[str, int], *, ttl: Seconds) -> None:
        """For each key: replace a value of that version or older, and any lease; a newer value stays.

        If one server fails, the keys of the others were tried all the same.
        """

        async def bury(keys: Sequence[str]) -> int:
            await self.cache.tombstone({key: versions[key] for key in keys}, ttl=ttl)
            return 0

        await self._in_parts(list(versions), bury)

    async def evict(self, keys: Sequence[str], *, ttl: Seconds) -> int:
        """Replace the value or lease of each key by a tombstone of the version that it had; return how many values.

        If one server fails, the keys of the others were tried all the same.
        """
        return await self._in_parts(keys, lambda some: self.cache.evict(some, ttl=ttl))

    def match(self, pattern: str) -> AsyncIterator[Sequence[str]]:
        """Yield pages of keys. Looks at every server, so no circuit speaks for it."""
        return self.cache.match(pattern)

    async def clear(self) -> None:
        """Forget everything. Asks every server, so no circuit speaks for it."""
        await self.cache.clear()

    def pressure(self) -> float:
        """Return what the cache below knows of its memory; 0 if it does not."""
        return self.cache.pressure() if isinstance(self.cache, Pressured) else 0.0

    async def aclose(self) -> None:
        """Stop probing. What is wrapped stays open."""
        probes = list(self._open.values())
        for probe in probes:
            probe.cancel()
        for probe in probes:
            with suppress(asyncio.CancelledError):
                await probe

    async def guarded(self, part: str, call: Callable[[], Awaitable[T]], probe: Probe) -> T:
        """Return what `call` does, which asks the server `part`, if that answers; `probe` asks it again later."""
        if part in self._open:
            self.refused += 1
            raise UnavailableError("the shared cache did not answer a moment ago; it is left alone until it does")
        try:
            return await call()
        except StorageError as exc:
            self._note(exc, part, probe)
            raise

    async def _guarded(self, key: str, call: Callable[[], Awaitable[T]]) -> T:
        return await self.guarded(self._part_of(key), call, lambda: self.cache.version_of(key))

    async def _in_parts(self, keys: Sequence[str], call: Callable[[Sequence[str]], Awaitable[int]]) -> int:
        """Return the sum of what `call` returns for the keys of each server, all at once. Raises the last failure."""
        groups: dict[str, list[str]] = {}
        for key in keys:
            groups.setdefault(self._part_of(key), []).append(key)
        done = await asyncio.gather(
            *(self._guarded(group[0], lambda group=group: call(group)) for group in groups.values()),  # type: ignore[misc]
            return_exceptions=True,
        )
        total = 0
        for outcome in done:
            if isinstance(outcome, BaseException):
                raise outcome
            total += outcome
        return total

    def _note(self, exc: StorageError, part: str, probe: Probe) -> None:
        if not isinstance(exc, UnavailableError) or isinstance(exc, OutOfSpaceError):
            return
        if part not in self._open:
            self.opened += 1
            log.warning("cache_circuit_opened", server=part, error=str(exc))
            self._open[part] = asyncio.get_running_loop().create_task(self._probe(part, probe))

    async def _probe(self, part: str, probe: Probe) -> None:
        pause = FIRST_PROBE
        began = self._clock.monotonic()
        while True:
            await self._clock.sleep(pause)
            try:
                await probe()
            except OutOfSpaceError:
                break
            except Exception as exc:  # noqa: BLE001 - whatever it is, the server is not well, and probing goes on
                log.debug("cache_probe_failed", server=part, error=str(exc))
                pause = Seconds(min(pause * 2, LONGEST_PAUSE))
            else:
                break
        del self._open[part]
        log.info("cache_circuit_closed", server=part, seconds=round(self._clock.monotonic() - began, 3))

    def _part_of(self, key: str) -> str:
        return _WHOLE if self._parts is None else self._parts.part_of(key)


class PlacedCounts(SharedCounts, Protocol):
    """Counters that lie on one server of a shared cache."""

    @property
    def part(self) -> str:
        """The name of that server, as `Partitioned.part_of` names it."""


class BreakingCounts(SharedCounts):
    """The counters that it wraps, while the circuit of their server is closed; else `UnavailableError`, at once."""

    def __init__(self, counts: PlacedCounts, breaker: BreakingCache) -> None:
        self._counts = counts
        self._breaker = breaker

    async def add(self, counts: Mapping[str, int]) -> None:
        """Add to the counters in one round trip. A call that is repeated after a failure may count twice."""
        await self._breaker.guarded(self._counts.part, lambda: self._counts.add(counts), self._counts.totals)

    async def totals(self) -> Mapping[str, int]:
        """Return every counter."""
        return await self._breaker.guarded(self._counts.part, self._counts.totals, self._counts.totals)
