"""A circuit breaker around a shared cache: no request waits twice for a server that does not answer.

One circuit for each server. A call that fails opens it: the cache below has tried again by then, so one failure is
proof enough. While it is open, calls fail at once, and one probe at a time asks in the background, less and less often;
the first answer closes it. A server that answers "full" is well, and opens nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, TypeVar

import structlog

from thermocline.domain.errors import OutOfSpaceError, StorageError, UnavailableError
from thermocline.domain.units import Seconds
from thermocline.ports.cache import CacheEntry, Partitioned, SharedLevel
from thermocline.ports.clock import Clock

log = structlog.get_logger(__name__)

FIRST_PROBE: Final = Seconds(0.1)
LONGEST_PAUSE: Final = Seconds(5.0)
"""How long after a server is back it may take until it is used again."""
_WHOLE: Final = ""

T = TypeVar("T")


class BreakingCache(SharedLevel):
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
        """Return the value, or None if the key is absent, expired, a lease or a tombstone."""
        if self._open:
            self._check(key)
        try:
            return await self.cache.get(key)
        except StorageError as exc:
            self._note(exc, key)
            raise

    async def version_of(self, key: str) -> int | None:
        """Return the version of the value without its payload; None where there is no value."""
        return await self._guarded(key, lambda: self.cache.version_of(key))

    async def lease(self, key: str, token: str, *, ttl: Seconds) -> bool:
        """Install a lease, or extend one's own; False over a value or another's lease."""
        return await self._guarded(key, lambda: self.cache.lease(key, token, ttl=ttl))

    async def renew(self, key: str, token: str, *, ttl: Seconds) -> bool:
        """Let a lease that still is one's own live on; whether it was."""
        return await self._guarded(key, lambda: self.cache.renew(key, token, ttl=ttl))

    async def fill(self, key: str, token: str, entry: CacheEntry, *, ttl: Seconds) -> bool:
        """Store `entry` if the key still holds `token` and `entry` is not older than its floor; whether so."""
        return await self._guarded(key, lambda: self.cache.fill(key, token, entry, ttl=ttl))

    async def release(self, key: str, token: str) -> None:
        """Give up one's own lease."""
        await self._guarded(key, lambda: self.cache.release(key, token))

    async def tombstone(self, versions: Mapping[str, int], *, ttl: Seconds) -> None:
        """For each key: replace a value of that version or older, and any lease; a newer value stays.

        If one server fails, the keys of the others were tried all the same.
        """
        failure: StorageError | None = None
        for group in self._by_part(versions):
            try:
                await self._guarded(next(iter(group)), lambda group=group: self.cache.tombstone(group, ttl=ttl))  # type: ignore[misc]
            except StorageError as exc:
                failure = exc
        if failure is not None:
            raise failure

    def match(self, pattern: str) -> AsyncIterator[Sequence[str]]:
        """Yield pages of keys. Looks at every server, so no circuit speaks for it."""
        return self.cache.match(pattern)

    async def clear(self) -> None:
        """Forget everything. Asks every server, so no circuit speaks for it."""
        await self.cache.clear()

    async def aclose(self) -> None:
        """Stop probing. What is wrapped stays open."""
        probes = list(self._open.values())
        for probe in probes:
            probe.cancel()
        for probe in probes:
            with suppress(asyncio.CancelledError):
                await probe

    async def _guarded(self, key: str, call: Callable[[], Awaitable[T]]) -> T:
        if self._open:
            self._check(key)
        try:
            return await call()
        except StorageError as exc:
            self._note(exc, key)
            raise

    def _check(self, key: str) -> None:
        """Return if the circuit of the key's server is closed. Raises `UnavailableError`."""
        if self._part_of(key) in self._open:
            self.refused += 1
            raise UnavailableError("the shared cache did not answer a moment ago; it is left alone until it does")

    def _note(self, exc: StorageError, key: str) -> None:
        if not isinstance(exc, UnavailableError) or isinstance(exc, OutOfSpaceError):
            return
        part = self._part_of(key)
        if part not in self._open:
            self.opened += 1
            log.warning("cache_circuit_opened", server=part, error=str(exc))
            self._open[part] = asyncio.get_running_loop().create_task(self._probe(part, key))

    async def _probe(self, part: str, key: str) -> None:
        pause = FIRST_PROBE
        began = self._clock.monotonic()
        while True:
            await self._clock.sleep(pause)
            try:
                await self.cache.version_of(key)
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

    def _by_part(self, versions: Mapping[str, int]) -> Sequence[Mapping[str, int]]:
        if len(versions) <= 1 or self._parts is None:
            return [versions] if versions else []
        groups: dict[str, dict[str, int]] = {}
        for key, version in versions.items():
            groups.setdefault(self._parts.part_of(key), {})[key] = version
        return list(groups.values())
