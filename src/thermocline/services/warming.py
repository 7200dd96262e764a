"""Warming: what is likely to be read is brought into both cache levels, the most worthwhile first.

1. Predictions are checked and folded: of a content that is named twice, the higher probability counts. 2. Those above
the threshold are looked up; the catalog answers many at once. 3. They are read in the order of probability x cost of a
miss, a few at a time, as long as budget and deadline allow. Each one tells what became of it. Archived content is left
alone. Safe to cancel, lose and repeat anywhere: each content is filled as a reader would fill it, or not at all.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from thermocline.domain.content import Record
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import BusyError, InvalidInputError
from thermocline.domain.predictions import Prediction, WarmOutcome, cost_of_miss, parse_prediction
from thermocline.domain.units import Bytes, Seconds
from thermocline.ports.clock import Clock
from thermocline.services.filling import Filled, Filler

THRESHOLD = 0.7
"""The seed's: predictions must be strictly above it."""
CONCURRENCY = 10
"""The seed's: so many are read from storage at once."""
MOST_CONCURRENT = 256
LOOK_UPS_AT_ONCE = 64
MOST_RUNS = 4
"""Warmings at one time in one process; another one is refused busy."""
TOLD_FAILURES = 20
RETRY_AFTER = Seconds(5.0)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WarmItem:
    """What became of one content."""

    content_id: ContentId
    access_probability: float
    outcome: WarmOutcome
    size: Bytes = Bytes(0)
    """0 where it was not looked up, or not found."""
    reason: str | None = None
    """What it failed with."""

    def as_dict(self) -> dict[str, Any]:
        """Return the item as JSON-ready values."""
        shown: dict[str, Any] = {
            "content_id": self.content_id,
            "access_probability": self.access_probability,
            "outcome": self.outcome.value,
            "size": self.size,
        }
        return shown if self.reason is None else shown | {"reason": self.reason}


@dataclass(frozen=True, slots=True)
class WarmReport:
    """What became of every predicted content, each once."""

    items: tuple[WarmItem, ...]
    duplicates: int
    """Predictions that were folded into another one of the same content."""
    seconds: Seconds
    dry_run: bool = False
    """Nothing was read: `warmed` are those that would have been."""

    @property
    def outcomes(self) -> Mapping[WarmOutcome, int]:
        """How many contents had each outcome; those that none had are left out."""
        return Counter(item.outcome for item in self.items)

    @property
    def warmed(self) -> int:
        """How many contents were brought into the caches."""
        return self.outcomes.get(WarmOutcome.WARMED, 0)

    @property
    def warmed_bytes(self) -> Bytes:
        """How many bytes they have."""
        return Bytes(sum(item.size for item in self.items if item.outcome is WarmOutcome.WARMED))

    def as_dict(self) -> dict[str, Any]:
        """Return the sums as JSON-ready values, with the first failures and why."""
        failures = [item for item in self.items if item.outcome is WarmOutcome.FAILED]
        skipped = {outcome.value: count for outcome, count in sorted(self.outcomes.items())}
        return {
            "accepted": len(self.items),
            "duplicates": self.duplicates,
            "warmed": skipped.pop(WarmOutcome.WARMED.value, 0),
            "warmed_bytes": self.warmed_bytes,
            "skipped": skipped,
            "failures": [{"content_id": item.content_id, "reason": item.reason} for item in failures[:TOLD_FAILURES]],
            "seconds": round(self.seconds, 6),
            "dry_run": self.dry_run,
        }


@dataclass(slots=True)
class WarmingTotals:
    """Counts since the start of the process."""

    outcomes: Counter[WarmOutcome]
    warmed_bytes: int = 0


class WarmingService:
    """Warms the caches with what others predict."""

    def __init__(self, filler: Filler, clock: Clock) -> None:
        self._filler = filler
        self._clock = clock
        self._running = 0
        self.totals = WarmingTotals(Counter())

    async def warm_cache(
        self,
        predictions: Iterable[Prediction | Mapping[str, Any]],
        *,
        threshold: float = THRESHOLD,
        concurrency: int = CONCURRENCY,
        byte_budget: int | None = None,
        deadline: float | None = None,
        dry_run: bool = False,
        progress: Callable[[WarmItem], None] | None = None,
    ) -> WarmReport:
        """Bring the contents with a probability strictly above `threshold` into the caches; report on each.

        `byte_budget` bounds what is read, `deadline` is in seconds from now: what is not done by then is told so.
        `progress` hears of each content. With `dry_run` only records are read.
        Raises `InvalidInputError` that names the first prediction which is none, before anything is done, and
        `BusyError` while too many warmings run.
        """
        _check(threshold, concurrency, byte_budget, deadline)
        folded, duplicates = _fold(predictions)
        if self._running >= MOST_RUNS:
            raise BusyError("the cache is being warmed already; try again shortly", retry_after=RETRY_AFTER)
        run = _Run(self._filler, self._clock, byte_budget, deadline, progress, dry_run=dry_run)
        self._running += 1
        try:
            await run.warm(folded, threshold, concurrency)
        finally:
            self._running -= 1
            if not dry_run:
                self.totals.outcomes.update(item.outcome for item in run.items.values())
                self.totals.warmed_bytes += run.warmed_bytes
        return WarmReport(
            tuple(run.items[content_id] for content_id in folded), duplicates, run.elapsed(), dry_run=dry_run
        )


class _Run:
    """One warming under way."""

    def __init__(
        self,
        filler: Filler,
        clock: Clock,
        byte_budget: int | None,
        deadline: float | None,
        progress: Callable[[WarmItem], None] | None,
        *,
        dry_run: bool,
    ) -> None:
        self._filler = filler
        self._clock = clock
        self._began = clock.monotonic()
        self._left = math.inf if byte_budget is None else byte_budget
        self._deadline = deadline
        self._progress = progress
        self._dry_run = dry_run
        self._predicted: Mapping[ContentId, float] = {}
        self.items: dict[ContentId, WarmItem] = {}
        self.warmed_bytes = 0

    def elapsed(self) -> Seconds:
        """Return how long it has taken so far."""
        return Seconds(self._clock.monotonic() - self._began)

    async def warm(self, predicted: Mapping[ContentId, float], threshold: float, concurrency: int) -> None:
        """Give every content its outcome."""
        self._predicted = predicted
        for content_id, probability in predicted.items():
            if probability <= threshold:
                self._tell(content_id, Filled(WarmOutcome.BELOW_THRESHOLD))
        working = asyncio.ensure_future(self._work(concurrency))
        try:
            await self._until_deadline(working)
        finally:
            # Also where the caller was cancelled: nobody may go on reading for a warming that has ended.
            working.cancel()
            await asyncio.wait([working])
        if not working.cancelled():
            working.result()
        for content_id in predicted:
            if content_id not in self.items:
                self._tell(content_id, Filled(WarmOutcome.PAST_DEADLINE))

    async def _until_deadline(self, working: asyncio.Future[None]) -> None:
        if self._deadline is None:
            await asyncio.wait([working])
            return
        alarm = asyncio.ensure_future(self._clock.sleep(Seconds(self._deadline)))
        try:
            await asyncio.wait([working, alarm], return_when=asyncio.FIRST_COMPLETED)
        finally:
            alarm.cancel()

    async def _work(self, concurrency: int) -> None:
        wanted = sorted(
            (content_id for content_id in self._predicted if content_id not in self.items),
            key=lambda content_id: -self._predicted[content_id],
        )
        found: list[Record] = []

        async def look_up(content_id: ContentId) -> None:
            record = await self._filler.look_up(content_id)
            if isinstance(record, Filled):
                self._tell(content_id, record)
            else:
                found.append(record)

        await _each(wanted, look_up, LOOK_UPS_AT_ONCE)
        found.sort(key=self._worth, reverse=True)
        turns = asyncio.Semaphore(concurrency)
        # Half as many more under way: while some are looked up, leased and verified, all turns to read are taken.
        await _each(found, lambda record: self._fill(record, turns), concurrency + concurrency // 2)

    def _worth(self, record: Record) -> tuple[float, str]:
        cost = cost_of_miss(record.size, is_paid=self._filler.is_paid(record))
        return self._predicted[record.content_id] * cost, record.content_id

    async def _fill(self, record: Record, turns: asyncio.Semaphore) -> None:
        if self._filler.is_in_memory(record.content_id):
            self._tell(record.content_id, Filled(WarmOutcome.ALREADY_CACHED, record.size))
            return
        if record.size > self._left:
            self._tell(record.content_id, Filled(WarmOutcome.OVER_BUDGET, record.size))
            return
        self._left -= record.size
        if self._dry_run:
            self._tell(record.content_id, Filled(WarmOutcome.WARMED, record.size))
            return
        filled = await self._filler.fill(record, turns)
        if filled.outcome is not WarmOutcome.WARMED:
            self._left += record.size
        self._tell(record.content_id, filled)

    def _tell(self, content_id: ContentId, filled: Filled) -> None:
        item = WarmItem(content_id, self._predicted[content_id], filled.outcome, filled.size, filled.reason)
        self.items[content_id] = item
        if filled.outcome is WarmOutcome.WARMED:
            self.warmed_bytes += filled.size
        if self._progress is not None:
            self._progress(item)


async def _each(items: Iterable[T], act: Callable[[T], Awaitable[None]], at_once: int) -> None:
    """Do all, a few at a time; when cancelled, stop all."""
    left: Iterator[T] = iter(items)

    async def some() -> None:
        for item in left:
            await act(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(some())


def _fold(predictions: Iterable[Prediction | Mapping[str, Any]]) -> tuple[dict[ContentId, float], int]:
    folded: dict[ContentId, float] = {}
    duplicates = 0
    for number, given in enumerate(predictions, start=1):
        try:
            prediction = parse_prediction(given)
        except InvalidInputError as exc:
            raise InvalidInputError(f"prediction {number}: {exc}") from exc
        known = folded.get(prediction.content_id)
        duplicates += known is not None
        folded[prediction.content_id] = max(prediction.access_probability, known or 0.0)
    return folded, duplicates


def _check(threshold: float, concurrency: int, byte_budget: int | None, deadline: float | None) -> None:
    if not 0.0 <= threshold <= 1.0:
        raise InvalidInputError(f"the threshold must be from 0 to 1, not {threshold!r}")
    if not 1 <= concurrency <= MOST_CONCURRENT:
        raise InvalidInputError(f"concurrency must be from 1 to {MOST_CONCURRENT}, not {concurrency!r}")
    if byte_budget is not None and byte_budget < 0:
        raise InvalidInputError(f"the byte budget must not be negative: {byte_budget!r}")
    if deadline is not None and not 0 <= deadline < math.inf:
        raise InvalidInputError(f"the deadline must be a number of seconds from now, not {deadline!r}")
