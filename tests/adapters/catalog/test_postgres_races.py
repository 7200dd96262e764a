"""Races that only a database with several writers has: each is led to its worst moment, statement by statement."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg
import pytest

from thermocline.adapters.catalog import postgres_runner
from thermocline.adapters.catalog.postgres_connections import PostgresDatabase, connect
from thermocline.adapters.catalog.sql import SqlCatalog
from thermocline.domain.content import Condition
from thermocline.domain.content_id import ContentId
from thermocline.domain.heat import AccessCount
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Seconds, Timestamp
from thermocline.domain.work import OutboxKind
from thermocline.testing.catalog import fresh_postgres_catalog
from thermocline.testing.clock import ManualClock
from thermocline.testing.contracts.catalog.steps import EVERYTHING, LEASE, Steps, some_id
from thermocline.testing.contracts.running import in_event_loop
from thermocline.testing.servers.postgres import PostgresServer

pytestmark = pytest.mark.server
WAIT = 20.0


class Stops:
    """Lets a thread stand still just before a statement, and tells when it has come there."""

    def __init__(self) -> None:
        self._before: str | None = None
        self.reached = threading.Event()
        self.go_on = threading.Event()

    def stop_before(self, words: str) -> None:
        self._before = words
        self.reached.clear()
        self.go_on.clear()

    def pass_by(self, text: str) -> None:
        words = self._before
        if words is not None and words in text:
            self._before = None
            self.reached.set()
            assert self.go_on.wait(WAIT), f"nobody let {words!r} go on"


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    url = fresh_postgres_catalog(postgres)
    yield url
    postgres.drop_database(url)


@contextmanager
def stops() -> Iterator[Stops]:
    """Let catalogs that are opened in the block stop where they are told."""
    plan = Stops()

    class Stopping(psycopg.Connection[Any]):
        def execute(self, query: Any, *args: Any, **options: Any) -> Any:
            plan.pass_by(str(query))
            return super().execute(query, *args, **options)

    def connect_stopping(database: PostgresDatabase, *, reads_only: bool = False) -> Any:
        raw = connect(database, reads_only=reads_only)
        raw.__class__ = Stopping
        return raw

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgres_runner, "connect", connect_stopping)
        yield plan
        plan.go_on.set()


@asynccontextmanager
async def opened(url: str, clock: ManualClock) -> AsyncIterator[Steps]:
    async with await SqlCatalog.open(url, database_clock=clock.now) as catalog:
        yield Steps(catalog, clock)


async def reached(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, WAIT)


async def is_blocked(postgres: PostgresServer) -> None:
    """Return once somebody waits for a lock."""
    question = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    for _ in range(400):
        if (await asyncio.to_thread(postgres.execute, question))[0][0]:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("nobody waits for a lock")


@in_event_loop
async def _forgetting_meets_a_write(url: str, postgres: PostgresServer) -> None:
    clock = ManualClock()
    thing = ContentId("thing")
    with stops() as plan:
        async with opened(url, clock) as one, opened(url, clock) as other:
            await one.put(thing)
            deleted = await one.delete(thing)
            assert deleted is not None
            write = one.write_of(thing)
            await one.declare(write.object_key)
            plan.stop_before("INSERT INTO changes")  # the row is a record again, uncommitted
            writing = asyncio.ensure_future(one.commit(write))
            await reached(plan.reached)
            forgetting = asyncio.ensure_future(
                other.catalog.records.forget_tombstones(deleted_before=Timestamp(clock.now() + 1), limit=EVERYTHING)
            )
            await is_blocked(postgres)
            plan.go_on.set()
            committed = await writing
            assert await forgetting == 0
            assert await other.find(thing) == committed.record, "forgetting took a live record"


def test_forgetting_never_takes_what_was_written_again(url: str, postgres: PostgresServer) -> None:
    _forgetting_meets_a_write(url, postgres)


def test_a_creation_that_waited_for_a_forgotten_tombstone_goes_above_its_revision(
    url: str, postgres: PostgresServer
) -> None:
    @in_event_loop
    async def check() -> None:
        clock = ManualClock()
        thing = ContentId("thing")
        with stops() as plan:
            async with opened(url, clock) as one, opened(url, clock) as other:
                clock.jump(3600)
                await one.put(thing)
                deleted = await one.delete(thing)
                assert deleted is not None
                clock.jump(-3600)  # the database's clock is set back: only the floor keeps revisions apart
                plan.stop_before("UPDATE installation")  # the tombstone is gone, the floor not raised yet
                forgetting = asyncio.ensure_future(
                    one.catalog.records.forget_tombstones(
                        deleted_before=Timestamp(clock.now() + 2 * 3600 * 10**6), limit=EVERYTHING
                    )
                )
                await reached(plan.reached)
                writing = asyncio.ensure_future(other.put(thing))
                await is_blocked(postgres)
                plan.go_on.set()
                assert await forgetting == 1
                assert (await writing).record.revision >= deleted.record.version

    check()


def test_a_plan_never_outlives_the_bytes_that_it_was_made_for(url: str, postgres: PostgresServer) -> None:
    @in_event_loop
    async def check() -> None:
        clock = ManualClock()
        thing = ContentId("thing")
        with stops() as plan:
            async with opened(url, clock) as one, opened(url, clock) as other:
                await one.put(thing)
                plan.stop_before("INSERT INTO changes")  # deleted, uncommitted; its plans were dropped already
                deleting = asyncio.ensure_future(one.delete(thing))
                await reached(plan.reached)
                planning = asyncio.ensure_future(other.plan(thing, StorageTier.COLD))
                await is_blocked(postgres)
                plan.go_on.set()
                await deleting
                assert not await planning
                assert await other.claim_moves() == []

    check()


def test_of_two_creations_of_many_the_later_overwrites(url: str) -> None:
    """The same new contents in two batches, in opposite orders: both succeed, and no object is unnamed."""

    @in_event_loop
    async def check() -> None:
        clock = ManualClock()
        async with opened(url, clock) as one, opened(url, clock) as other:
            ids = [some_id(str(number)) for number in range(20)]
            batches = [[steps.write_of(each) for each in order] for steps, order in ((one, ids), (other, ids[::-1]))]
            for steps, writes in zip((one, other), batches, strict=True):
                await steps.catalog.bulk.declare([write.object_key for write in writes], "standard", lease=LEASE)
            now = clock.now()
            await asyncio.gather(
                *(
                    steps.catalog.bulk.commit(writes, now=now, delete_at=now, evict_at=now)
                    for steps, writes in zip((one, other), batches, strict=True)
                )
            )
            live = {(await one.existing(each)).object_key for each in ids}
            written = {write.object_key for writes in batches for write in writes}
            queued = [row.subject for row in await one.take_all(OutboxKind.DELETE_OBJECT)]
            assert sorted(queued) == sorted(written - live)

    check()


@pytest.mark.parametrize("what", ["outbox", "moves", "intents"])
def test_claims_that_run_at_once_share_nothing_and_wait_for_nobody(url: str, what: str) -> None:
    @in_event_loop
    async def check() -> None:
        clock = ManualClock()
        async with opened(url, clock) as one, opened(url, clock) as other:
            for number in range(40):
                content_id = some_id(str(number))
                await one.put(content_id)
                match what:
                    case "outbox":
                        await one.put(content_id)
                    case "moves":
                        assert await one.plan(content_id)
                    case _:
                        await one.declare(one.write_of(content_id).object_key, lease=Seconds(1))
            clock.advance(10_000)
            claim: Callable[[Steps], Any] = {
                "outbox": lambda steps: steps.catalog.outbox.claim(
                    OutboxKind.DELETE_OBJECT, now=clock.now(), lease=LEASE, limit=3
                ),
                "moves": lambda steps: steps.claim_moves(limit=3),
                "intents": lambda steps: steps.catalog.intents.condemn_expired(lease=LEASE, limit=3),
            }[what]
            claims = await asyncio.gather(*(claim(steps) for steps in (one, other) * 6))
            assert all(len(rows) <= 3 for rows in claims), "a claim took more than its limit"
            taken = [_name(row) for rows in claims for row in rows]
            assert len(taken) == len(set(taken))
            rest = await claim(one)
            while rest:
                taken += [_name(row) for row in rest]
                rest = await claim(one)
            assert len(taken) == len(set(taken)) == 40

    check()


def _name(row: Any) -> str:
    return str(getattr(row, "subject", None) or getattr(row, "object_key", None) or row.plan.content_id)


def test_conditional_creations_leave_exactly_one(url: str) -> None:
    @in_event_loop
    async def check() -> None:
        clock = ManualClock()
        async with opened(url, clock) as one, opened(url, clock) as other:
            for _ in range(10):
                thing = some_id()
                results = await asyncio.gather(
                    *(
                        steps.put(thing, condition=Condition(if_absent=True))
                        for _ in range(8)
                        for steps in (one, other)
                    ),
                    return_exceptions=True,
                )
                assert sum(not isinstance(result, BaseException) for result in results) == 1

    check()


def test_the_first_flushes_of_a_day_make_its_partition_together(url: str, postgres: PostgresServer) -> None:
    @in_event_loop
    async def check() -> None:
        clock = ManualClock()
        async with opened(url, clock) as one, opened(url, clock) as other:
            thing = ContentId("thing")
            await one.put(thing)
            for _ in range(3):
                await asyncio.gather(
                    *(
                        steps.catalog.accesses.add([AccessCount(thing, 1, 0)], now=clock.now())
                        for steps in (one, other) * 3
                    )
                )
                clock.advance(86_400)
        listed = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'access_days'::regclass"
        assert postgres.execute(listed, database=url.rpartition("/")[2]) == [(3,)]

    check()
