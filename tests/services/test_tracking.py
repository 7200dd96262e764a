"""Reads are counted in bounded memory, and reach the catalog: soon, whole, in order, whatever fails meanwhile."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
import structlog

from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import BusyError
from thermocline.domain.heat import AccessCount, AccessDay, day_of
from thermocline.domain.units import Seconds, Timestamp
from thermocline.ports.accesses import Accesses, DropsDays
from thermocline.services import tracking
from thermocline.services.tracking import AccessFlush, AccessTracker, ReadKind
from thermocline.testing.clock import ManualClock
from thermocline.testing.contracts.running import in_event_loop

EVERY = Seconds(5.0)
KEPT_DAYS = 400
MEMORY, STORAGE, EDGE = ReadKind.MEMORY, ReadKind.STORAGE, ReadKind.EDGE
Counts = dict[str, tuple[int, int, int]]


@dataclass
class Kept(Accesses):
    """What was added, batch by batch; fails as long as `failure` is set."""

    batches: list[Counts] = field(default_factory=list)
    waits: list[Seconds | None] = field(default_factory=list)
    failure: Exception | None = None
    during: Callable[[], None] = lambda: None
    trimmed: list[tuple[int, int]] = field(default_factory=list)

    async def add(self, counts: Sequence[AccessCount], *, now: Timestamp, max_wait: Seconds | None = None) -> int:
        del now
        self.waits.append(max_wait)
        await asyncio.sleep(0)
        self.during()
        if self.failure is not None:
            raise self.failure
        self.batches.append({count.content_id: (count.cache, count.storage, count.edge) for count in counts})
        return len(counts)

    async def days(self, content_id: ContentId, *, first: int, last: int) -> Sequence[AccessDay]:
        raise AssertionError((content_id, first, last))

    async def trim(self, *, before_day: int, limit: int) -> int:
        self.trimmed.append((before_day, limit))
        return 0


def flush_of(kept: Kept, *, capacity: int = 100, clock: ManualClock | None = None) -> AccessFlush:
    return AccessFlush(AccessTracker(capacity), kept, clock or ManualClock(), every=EVERY, days=KEPT_DAYS)


def note(flush: AccessFlush, *content_ids: str, kind: ReadKind = MEMORY) -> None:
    for content_id in content_ids:
        flush.tracker.note(content_id, kind)


@in_event_loop
async def test_reads_are_added_by_content_and_kind_and_only_once() -> None:
    kept = Kept()
    flush = flush_of(kept)
    note(flush, "b", "a", "b")
    note(flush, "b", kind=STORAGE)
    note(flush, "c", kind=EDGE)
    note(flush, "c", kind=ReadKind.REDIS)
    assert flush.tracker.waiting == 3
    assert await flush.flush()
    assert kept.batches == [{"a": (1, 0, 0), "b": (2, 1, 0), "c": (1, 0, 1)}]
    assert (flush.flushed, flush.tracker.waiting, list(flush.tracker.totals)) == (6, 0, [3, 1, 1, 1])
    assert await flush.flush()
    assert len(kept.batches) == 1, "nothing to add is no transaction"


@in_event_loop
async def test_batches_are_bounded_and_sorted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "FLUSH_BATCH", 3)
    kept = Kept()
    flush = flush_of(kept)
    note(flush, *"gfedcba")
    await flush.flush()
    assert [list(batch) for batch in kept.batches] == [["a", "b", "c"], ["d", "e", "f"], ["g"]]


@in_event_loop
async def test_what_failed_is_added_later_together_with_what_came_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "FLUSH_BATCH", 2)
    kept = Kept()
    flush = flush_of(kept)
    note(flush, "a", "b", "c", "c")

    def fail_second() -> None:
        kept.failure = BusyError("later") if len(kept.batches) == 1 else None
        note(flush, "c", kind=STORAGE)

    kept.during = fail_second
    with structlog.testing.capture_logs() as events:
        assert not await flush.flush()
        assert flush.last_error == "BusyError: later"
        kept.during = lambda: None
        assert not await flush.flush()
        kept.failure = None
        assert await flush.flush()
    assert kept.batches == [{"a": (1, 0, 0), "b": (1, 0, 0)}, {"c": (2, 2, 0)}]
    assert (flush.failures, flush.tracker.dropped) == (2, 0)
    assert not flush.last_error
    assert [event["event"] for event in events] == ["access_flush_delayed", "access_flush_recovered"], "said once"


@in_event_loop
async def test_a_bug_costs_its_counts_and_is_not_tried_for_ever() -> None:
    kept = Kept(failure=ValueError("a bug"))
    flush = flush_of(kept)
    note(flush, "a", "a", "b")
    with structlog.testing.capture_logs() as events:
        assert await flush.flush()
    assert "access_flush_failed" in {event["event"] for event in events}
    assert (flush.tracker.dropped, flush.tracker.waiting, flush.failures) == (3, 0, 1)


@in_event_loop
async def test_counts_are_added_every_few_seconds() -> None:
    clock, kept = ManualClock(), Kept()
    flush = flush_of(kept, clock=clock)
    running = asyncio.ensure_future(flush.run())
    note(flush, "a")
    await clock.run_for(EVERY - 1)
    assert kept.batches == []
    await clock.run_for(2)
    assert kept.batches == [{"a": (1, 0, 0)}]
    note(flush, "b")
    await clock.run_for(EVERY)
    assert kept.batches[1:] == [{"b": (1, 0, 0)}]
    running.cancel()
    await asyncio.wait([running])
    assert clock.sleeping == 0


@in_event_loop
async def test_when_many_contents_wait_they_are_added_at_once_and_nothing_is_dropped() -> None:
    clock, kept = ManualClock(), Kept()
    flush = flush_of(kept, capacity=3, clock=clock)
    running = asyncio.ensure_future(flush.run())
    await clock.run_for(0)
    note(flush, "a", "b", "c")
    await clock.run_for(0)
    assert kept.batches == []
    note(flush, "d", "e", "f")
    await clock.run_for(0)
    assert [sorted(batch) for batch in kept.batches] == [list("abcdef")]
    assert flush.tracker.dropped == 0
    running.cancel()
    await asyncio.wait([running])


@in_event_loop
async def test_while_the_catalog_is_down_memory_is_bounded_and_losses_are_counted() -> None:
    clock, kept = ManualClock(), Kept(failure=BusyError("down"))
    flush = flush_of(kept, capacity=2, clock=clock)
    running = asyncio.ensure_future(flush.run())
    for round_ in range(5):
        note(flush, *(f"{round_}-{number}" for number in range(10)))
        await clock.run_for(1)
        assert flush.tracker.waiting <= 4
    assert flush.failures <= 2, "being full is no reason to try without a pause"
    kept.failure = None
    await clock.run_for(2 * EVERY)
    added = sum(sum(counts) for batch in kept.batches for counts in batch.values())
    assert added + flush.tracker.dropped == sum(flush.tracker.totals) == 50
    assert added == flush.flushed == 4
    running.cancel()
    await asyncio.wait([running])


@in_event_loop
async def test_closing_waits_for_the_flush_under_way_and_adds_the_rest() -> None:
    clock, kept, opened = ManualClock(), Kept(), asyncio.Event()
    flush = flush_of(kept, clock=clock)
    add = kept.add

    async def slow(counts: Sequence[AccessCount], *, now: Timestamp, max_wait: Seconds | None = None) -> int:
        await opened.wait()
        return await add(counts, now=now, max_wait=max_wait)

    kept.add = slow  # type: ignore[method-assign]
    running = asyncio.ensure_future(flush.run())
    note(flush, "a")
    await clock.run_for(EVERY)
    note(flush, "b")
    running.cancel()
    await asyncio.wait([running])
    closing = asyncio.ensure_future(flush.close(max_wait=Seconds(0.5)))
    await clock.run_for(0)
    assert not closing.done()
    opened.set()
    await closing
    assert kept.batches == [{"a": (1, 0, 0)}, {"b": (1, 0, 0)}], "each exactly once"
    assert kept.waits[-1] == Seconds(0.5)


@in_event_loop
async def test_closing_does_not_fail_when_the_catalog_does() -> None:
    flush = flush_of(Kept(failure=BusyError("down")))
    note(flush, "a")
    with structlog.testing.capture_logs() as events:
        await flush.close(max_wait=Seconds(0.1))
    assert events[-1] == {"event": "access_counts_lost", "log_level": "warning", "contents": 1}


@in_event_loop
async def test_days_beyond_those_kept_are_trimmed() -> None:
    clock, kept = ManualClock(), Kept()
    flush = flush_of(kept, clock=clock)
    assert await flush.trim() == 0
    ((before, _),) = kept.trimmed
    assert before == day_of(clock.now()) - KEPT_DAYS + 1, "today counts as one of them"


class KeptInParts(Kept, DropsDays):
    """Can drop whole days."""

    async def drop_days(self, *, before_day: int) -> int:
        self.trimmed.append((before_day, 0))
        return 3


@in_event_loop
async def test_days_are_dropped_whole_where_they_can_be() -> None:
    clock, kept = ManualClock(), KeptInParts()
    assert await flush_of(kept, clock=clock).trim() == 3
    assert kept.trimmed == [(day_of(clock.now()) - KEPT_DAYS + 1, 0)]
