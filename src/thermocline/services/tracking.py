"""Access tracking: reads counted in memory, per content and kind of read, then added to the catalog in batches.

Never on the way of a read (I7). 1. `note` counts in memory; reads that memory serves count on the values that it holds,
and are collected from there. 2. Every few seconds, when many contents wait, and at
the end, the flush takes all counts and adds them, sorted by id, in one transaction for each batch. 3. A batch that
failed is put back. A crash loses what was counted since the last flush; a batch whose acknowledgement was lost counts
twice. Each process flushes its own counts.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import overload

import structlog

from thermocline.domain.errors import StorageError
from thermocline.domain.heat import AccessCount, day_of
from thermocline.domain.units import Seconds, Timestamp
from thermocline.ports.accesses import Accesses, DropsDays
from thermocline.ports.clock import Clock
from thermocline.ports.held import HeldValues, HitListener

log = structlog.get_logger(__name__)

FLUSH_BATCH = 5000
"""Contents of one transaction: while it runs, no other change of the catalog does (about a quarter of a second)."""
FLUSH_WAIT = Seconds(1.0)
"""How long a flush waits for other processes; then its counts wait for the next one."""
TRIM_BATCH = 10_000


class ReadKind(IntEnum):
    """What served a read. Only storage reads cost retrieval money; all tell how warm a content is."""

    MEMORY = 0
    STORAGE = 1
    EDGE = 2
    REDIS = 3


class _Totals(Sequence[int]):
    """Reads by kind, those included that memory has not told yet."""

    def __init__(self, held: HeldValues | None) -> None:
        self.collected = [0] * len(ReadKind)
        self._held = held

    @overload
    def __getitem__(self, kind: int) -> int: ...
    @overload
    def __getitem__(self, kind: slice) -> Sequence[int]: ...
    def __getitem__(self, kind: int | slice) -> int | Sequence[int]:
        if isinstance(kind, slice):
            return [self[each] for each in range(*kind.indices(len(self)))]
        uncollected = self._held.uncollected if kind == ReadKind.MEMORY and self._held is not None else 0
        return self.collected[kind] + uncollected

    def __len__(self) -> int:
        return len(self.collected)


class AccessTracker(HitListener):
    """Counts of reads since the last `drain`.

    When `capacity` contents wait, `full` asks for a flush; reads of further contents are dropped, and counted as
    such, only when twice as many wait.
    """

    def __init__(self, capacity: int, held: HeldValues | None = None) -> None:
        self.capacity = capacity
        self.full = asyncio.Event()
        self.totals = _Totals(held)
        """Reads since the start, by kind."""
        self.dropped = 0
        """Reads that will never reach the catalog."""
        self._counts: dict[str, list[int]] = {}
        self._held = held
        if held is not None:
            held.listen(self)

    @property
    def waiting(self) -> int:
        """How many contents wait for a flush; one that memory and others served, twice."""
        return len(self._counts) + (0 if self._held is None else self._held.waiting)

    def note(self, content_id: str, kind: ReadKind, times: int = 1) -> None:
        """Count reads: one, if nothing else is said."""
        self.totals.collected[kind] += times
        counts = self._counts.get(content_id)
        if counts is None:
            counts = self._begin(content_id)
            if counts is None:
                self.dropped += times
                return
        counts[kind] += times

    def gone(self, name: str, hits: int) -> None:
        """Count the reads of a content that memory holds no longer."""
        self.note(name, ReadKind.MEMORY, hits)

    def listed(self, names: int) -> None:
        """Ask for a flush if memory has that of many contents to tell."""
        if names >= self.capacity:
            self.full.set()

    def counted(self, content_id: str) -> list[int] | None:
        """Return what was counted of a content since the last `drain`, by kind."""
        return self._counts.get(content_id)

    def drain(self) -> dict[str, list[int]]:
        """Return the counts since the last call, by kind, and begin anew; of what memory counts, as much as is good.

        The rest asks for the next flush.
        """
        counts, self._counts = self._counts, {}
        self.full.clear()
        if self._held is not None:
            for content_id, hits in self._held.collect(2 * self.capacity):
                counts.setdefault(content_id, [0] * len(ReadKind))[ReadKind.MEMORY] += hits
                self.totals.collected[ReadKind.MEMORY] += hits
            self.listed(self._held.waiting)
        return counts

    def forget(self, content_id: str) -> None:
        """Drop what was counted of a content since the last `drain`."""
        self._counts.pop(content_id, None)
        if self._held is not None:
            self.totals.collected[ReadKind.MEMORY] += self._held.forget_hits(content_id)

    def put_back(self, counts: Mapping[str, list[int]]) -> None:
        """Take back what `drain` returned and nobody could keep, as far as there is room."""
        for content_id, given in counts.items():
            waiting = self._counts.get(content_id) or self._begin(content_id)
            if waiting is None:
                self.dropped += sum(given)
                continue
            for kind, count in enumerate(given):
                waiting[kind] += count

    def _begin(self, content_id: str) -> list[int] | None:
        waiting = len(self._counts)
        if waiting >= self.capacity:
            self.full.set()
            if waiting >= 2 * self.capacity:
                return None
        counts = self._counts[content_id] = [0] * len(ReadKind)
        return counts


class AccessFlush:
    """Adds what the tracker counted to the catalog. Failures are logged, counted, and never raised to anybody."""

    def __init__(self, tracker: AccessTracker, accesses: Accesses, clock: Clock, *, every: Seconds, days: int) -> None:
        self.tracker = tracker
        self._accesses = accesses
        self._clock = clock
        self._every = every
        self._days = days
        self._one_at_a_time = asyncio.Lock()
        self.on_counts: Callable[[Mapping[str, list[int]]], None] = lambda _: None
        """Hears of all counts before they are added; `on_put_back` of those that will come again."""
        self.on_put_back: Callable[[Mapping[str, list[int]]], None] = lambda _: None
        self.flushed = 0
        """Reads added to the catalog."""
        self.failures = 0
        self.last_flush: Timestamp | None = None
        self.last_error: str | None = None

    async def run(self) -> None:
        """Flush every few seconds, and when the tracker is full, until cancelled."""
        while True:
            await self._pause()
            # A cancelled flush could not tell what it has added: it goes on, and `close` waits for it.
            flight = asyncio.ensure_future(self.flush())
            if not await asyncio.shield(flight):
                await self._clock.sleep(self._every)  # full or not: the catalog needs time

    async def flush(self, *, max_wait: Seconds = FLUSH_WAIT) -> bool:
        """Add all counts to the catalog; whether that was done. What failed waits for the next flush."""
        async with self._one_at_a_time:
            counts = self.tracker.drain()
            self.on_counts(counts)
            content_ids = sorted(counts)
            for start in range(0, len(content_ids), FLUSH_BATCH):
                batch = content_ids[start : start + FLUSH_BATCH]
                now = self._clock.now()
                try:
                    await self._accesses.add(
                        [_access_count(content_id, counts[content_id]) for content_id in batch],
                        now=now,
                        max_wait=max_wait,
                    )
                except StorageError as exc:
                    self._note_failure(exc)
                    again = {content_id: counts[content_id] for content_id in content_ids[start:]}
                    self.tracker.put_back(again)
                    self.on_put_back(again)
                    return False
                except Exception as exc:
                    # A bug. Trying the same again would fail for ever.
                    self._note_failure(exc)
                    log.exception("access_flush_failed")
                    self.tracker.dropped += _reads(counts, batch)
                    continue
                self.flushed += _reads(counts, batch)
                self.last_flush = now
                if self.last_error is not None:
                    self.last_error = None
                    log.info("access_flush_recovered", dropped=self.tracker.dropped)
            return True

    async def close(self, *, max_wait: Seconds) -> None:
        """Flush what is left, if the catalog is to be had within `max_wait`; what it does not take is lost."""
        # A flush takes a part of what memory counted; one more than it should need is for reads that end meanwhile.
        for _ in range(2 + self.tracker.waiting // (2 * self.tracker.capacity)):
            if not await self.flush(max_wait=max_wait):
                log.warning("access_counts_lost", contents=self.tracker.waiting)
                return

    async def trim(self) -> int:
        """Forget a batch of the days that are no longer kept; how many rows, or days. For an elected job."""
        oldest_kept = day_of(self._clock.now()) - self._days + 1
        if isinstance(self._accesses, DropsDays):
            return await self._accesses.drop_days(before_day=oldest_kept)
        return await self._accesses.trim(before_day=oldest_kept, limit=TRIM_BATCH)

    async def _pause(self) -> None:
        waits = [
            asyncio.ensure_future(self._clock.sleep(self._every)),
            asyncio.ensure_future(self.tracker.full.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _note_failure(self, exc: Exception) -> None:
        self.failures += 1
        if self.last_error is None:  # not again every few seconds, as long as it lasts
            log.warning("access_flush_delayed", error=type(exc).__name__, message=str(exc))
        self.last_error = f"{type(exc).__name__}: {exc}"


def _access_count(content_id: str, counts: list[int]) -> AccessCount:
    """Return the counts as the catalog keeps them: all caches of ours are one to it."""
    return AccessCount(
        content_id,
        cache=counts[ReadKind.MEMORY] + counts[ReadKind.REDIS],
        storage=counts[ReadKind.STORAGE],
        edge=counts[ReadKind.EDGE],
    )


def _reads(counts: Mapping[str, list[int]], content_ids: list[str]) -> int:
    return sum(sum(counts[content_id]) for content_id in content_ids)
