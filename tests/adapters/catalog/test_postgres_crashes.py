"""PostgreSQL killed, stopped, standing still in the middle of writes: nothing acknowledged is lost, all comes back."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from tests.counts import SOAK
from tests.postgres import postgres_server
from thermocline.adapters.catalog import postgres_runner
from thermocline.adapters.catalog.postgres_connections import PostgresDatabase, connect
from thermocline.adapters.catalog.sql import SqlCatalog
from thermocline.domain.content import Changes, Visibility
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import BusyError, CommitUnknownError, UnavailableError
from thermocline.domain.units import Seconds
from thermocline.domain.work import OutboxKind
from thermocline.ports.records import Committed
from thermocline.testing.catalog import fresh_postgres_catalog
from thermocline.testing.clock import ManualClock
from thermocline.testing.contracts.catalog.steps import Steps
from thermocline.testing.contracts.running import in_event_loop
from thermocline.testing.servers.postgres import PostgresServer

pytestmark = pytest.mark.server
ROUNDS = 30 if SOAK else 4
WRITERS = 8
BACK = 30.0
"""Longer than a restart takes on a busy machine."""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server(durable=True) as server:
        yield server


@pytest.fixture
def url(server: PostgresServer) -> Iterator[str]:
    url = fresh_postgres_catalog(server)
    yield url
    server.drop_database(url)


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[Steps]:
    async with await SqlCatalog.open(url, **options) as catalog:
        yield Steps(catalog, ManualClock())


async def once_back(steps: Steps) -> None:
    """Return once the catalog answers again, with nobody's help."""
    async with asyncio.timeout(BACK):
        while True:
            with contextlib.suppress(UnavailableError):
                await steps.catalog.check()
                await steps.put(ContentId("probe"))
                return
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("how", ["kill", "restart at once", "stop"])
@in_event_loop
async def test_nothing_acknowledged_is_lost(server: PostgresServer, url: str, how: str) -> None:
    async with opened(url) as steps, opened(url) as other:
        acknowledged: dict[ContentId, list[Committed]] = {}
        attempted: dict[ContentId, set[str]] = {}
        errors: list[Exception] = []
        going = True

        async def keep_writing(number: int) -> None:
            mine = (steps, other)[number % 2]
            for turn in itertools.count():
                if not going:
                    return
                thing = ContentId(f"{number}/{turn % 5}")
                write = mine.write_of(thing)
                try:
                    await mine.declare(write.object_key)
                    attempted.setdefault(thing, set()).add(write.object_key)
                    acknowledged.setdefault(thing, []).append(await mine.commit(write))
                except UnavailableError as exc:
                    errors.append(exc)
                    await asyncio.sleep(0.02)

        writers = [asyncio.ensure_future(keep_writing(number)) for number in range(WRITERS)]
        for _ in range(ROUNDS):
            await asyncio.sleep(random.uniform(0.1, 0.4))
            await asyncio.to_thread(server.stop if how == "stop" else server.kill)
            if how == "kill":
                await asyncio.sleep(0.1)
            server.launch()
            await asyncio.to_thread(server.wait_until_ready)
            await once_back(steps)
            await once_back(other)
        going = False
        await asyncio.gather(*writers)
        assert errors, "the server was not hit in the middle of anything"
        live = {}
        for thing, commits in acknowledged.items():
            record = await steps.existing(thing)
            assert record.revision >= max(commit.record.revision for commit in commits), "an acknowledged write is lost"
            assert record.object_key in attempted[thing]
            live[thing] = record.object_key
        # Every object that was ever committed is live, or queued for deletion; never both.
        queued = {row.subject for row in await steps.take_all(OutboxKind.DELETE_OBJECT)}
        committed = {commit.record.object_key for commits in acknowledged.values() for commit in commits}
        assert committed <= queued | set(live.values())
        assert not queued & set(live.values())


class BrokenError(psycopg.OperationalError):
    """The connection broke."""


class Breaks:
    """Breaks the writers' connection once, at one of their statements, before or after the server has done it."""

    def __init__(self) -> None:
        self.executed: list[str] = []
        self.at: int | None = None
        self.afterwards = False

    def is_now(self, text: str) -> bool:
        self.executed.append(text)
        if self.at is None or len(self.executed) <= self.at:
            return False
        self.at = None
        return True


@contextlib.contextmanager
def breaks() -> Iterator[Breaks]:
    """Let writers of catalogs that are opened in the block follow the plan."""
    plan = Breaks()

    class Breaking(psycopg.Connection[Any]):
        def execute(self, query: Any, *args: Any, **options: Any) -> Any:
            if not plan.is_now(str(query)):
                return super().execute(query, *args, **options)
            if plan.afterwards:
                super().execute(query, *args, **options)
            self.pgconn.finish()
            raise BrokenError("planned")

    def connect_breaking(database: PostgresDatabase, *, reads_only: bool = False) -> Any:
        raw = connect(database, reads_only=reads_only)
        if not reads_only:
            raw.__class__ = Breaking
        return raw

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgres_runner, "connect", connect_breaking)
        yield plan


MOST_STATEMENTS = 12
"""More than any of the commits below has."""


@pytest.mark.parametrize("afterwards", [False, True])
@pytest.mark.parametrize("what", ["create", "overwrite", "delete", "change"])
@in_event_loop
async def test_a_connection_that_breaks_at_any_statement_leaves_the_old_state_or_the_new(
    url: str, what: str, *, afterwards: bool
) -> None:
    """Only a break at COMMIT reaches the caller, as unknown; before it the transaction runs again by itself."""
    with breaks() as plan:
        async with opened(url, connections=2) as steps:
            reached = True
            for at in range(MOST_STATEMENTS):
                thing = ContentId(f"{at}")
                before = None if what == "create" else (await steps.put(thing)).record
                write = steps.write_of(thing)
                await steps.declare(write.object_key)
                await steps.take_all(OutboxKind.DELETE_OBJECT)
                await steps.take_all(OutboxKind.INVALIDATE)
                position = await steps.catalog.changes.position()
                plan.executed.clear()
                plan.at, plan.afterwards = at, afterwards
                try:
                    match what:
                        case "delete":
                            await steps.delete(thing)
                        case "change":
                            await steps.change(thing, Changes(visibility=Visibility.PRIVATE))
                        case _:
                            await steps.commit(write)
                    unknown = False
                except CommitUnknownError:
                    unknown = True
                    assert plan.executed[-1] == "COMMIT"
                reached, plan.at = plan.at is None, None
                happened = await steps.find(thing) != before
                assert happened == (afterwards or not unknown)
                deletions = [row.subject for row in await steps.take_all(OutboxKind.DELETE_OBJECT)]
                replaces = happened and what in {"overwrite", "delete"}
                assert deletions == ([before.object_key] if replaces and before is not None else [])
                invalidations = await steps.take_all(OutboxKind.INVALIDATE)
                assert len(invalidations) == int(happened and what != "create")
                assert len((await steps.catalog.changes.since(position, limit=10)).changes) == int(happened)
                ends_intent = happened and what in {"create", "overwrite"}
                assert await steps.is_named_by_intent(write.object_key) == (not ends_intent)
            assert not reached, "the enumeration ends beyond the last statement"


@in_event_loop
async def test_idle_connections_that_died_are_replaced_unnoticed(server: PostgresServer, url: str) -> None:
    async with opened(url) as steps:
        things = [ContentId(str(number)) for number in range(20)]
        for _ in range(2):
            await asyncio.gather(*(steps.put(thing) for thing in things))
            assert None not in await asyncio.gather(*(steps.find(thing) for thing in things))
            server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'thermocline'"
            )


@in_event_loop
async def test_a_server_that_stands_still_is_not_waited_for(server: PostgresServer, url: str) -> None:
    async with opened(url, max_wait=Seconds(1.0), connections=2) as steps:
        await steps.put(ContentId("thing"))
        server.pause()
        try:
            loop = asyncio.get_running_loop()
            began = loop.time()
            results = await asyncio.gather(
                *(steps.find(ContentId("thing")) for _ in range(3)),
                *(steps.put(ContentId(str(number))) for number in range(5)),
                return_exceptions=True,
            )
            assert loop.time() - began < 20
            assert all(isinstance(result, UnavailableError) for result in results), results
        finally:
            server.resume()
        await once_back(steps)
        assert await steps.find(ContentId("thing")) is not None


@in_event_loop
async def test_a_flood_is_turned_away(url: str) -> None:
    async with opened(url, max_waiting=10) as steps:
        results = await asyncio.gather(*(steps.put(ContentId(str(n))) for n in range(100)), return_exceptions=True)
        assert any(isinstance(result, Committed) for result in results)
        assert all(isinstance(result, BusyError | Committed) for result in results)


@in_event_loop
async def test_a_locked_row_is_not_waited_for_longer_than_allowed(url: str) -> None:
    async with opened(url, busy_timeout=Seconds(0.3)) as steps:
        thing = ContentId("thing")
        await steps.put(thing)
        with psycopg.connect(url) as rival:
            rival.execute("SELECT 1 FROM contents FOR UPDATE")
            with pytest.raises(UnavailableError, match="locked for too long"):
                await steps.put(thing)
            assert await steps.find(thing) is not None, "readers do not wait for writers"
        await steps.put(thing)
