"""No commit is left out of the feed, in whatever order transactions take their numbers, commit, or roll back."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Self

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thermocline.adapters.catalog import postgres_change_feed
from thermocline.adapters.catalog.postgres_change_feed import PostgresChangeFeed
from thermocline.adapters.catalog.sql import SqlCatalog
from thermocline.testing.catalog import fresh_postgres_catalog
from thermocline.testing.contracts.running import in_event_loop
from thermocline.testing.servers.postgres import PostgresServer

pytestmark = pytest.mark.server
INSERT = "INSERT INTO changes (content_id, version, committed_at) VALUES (%s, 1, 0)"
MANY = 10_000


class Transaction:
    """One that announces, and then takes its time to commit."""

    def __init__(self, url: str) -> None:
        self.raw = psycopg.connect(url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.raw.close()

    def announce(self, content_id: str, count: int = 1) -> None:
        self.raw.execute("SELECT pg_current_xact_id()")  # as a commit that has locked its row
        for _ in range(count):
            self.raw.execute(INSERT, (content_id,))


@contextmanager
def two(url: str) -> Iterator[tuple[Transaction, Transaction]]:
    with Transaction(url) as one, Transaction(url) as other:
        yield one, other


@pytest.fixture(scope="module")
def url(postgres: PostgresServer) -> Iterator[str]:
    url = fresh_postgres_catalog(postgres)
    with Transaction(url) as first:
        # Of an empty feed nobody can tell whether something was dropped: its first look may be a gap.
        first.announce("first")
        first.raw.commit()
    yield url
    postgres.drop_database(url)


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[PostgresChangeFeed]:
    async with await SqlCatalog.open(url) as catalog:
        assert isinstance(catalog.changes, PostgresChangeFeed)
        yield catalog.changes


@in_event_loop
async def _late_commit(url: str) -> None:
    async with listening(url) as feed:
        position = await feed.position()
        with two(url) as (slow, quick):
            slow.announce("slow")
            quick.announce("quick")
            quick.raw.commit()
            page = await feed.since(position, limit=MANY)
            assert [change.content_id for change in page.changes] == ["quick"]
            assert (page.gap, page.position) == (False, position + 2)
            assert (await feed.since(page.position, limit=MANY)).changes == (), "told once"
            slow.raw.commit()
            late = await feed.since(page.position, limit=MANY)
            assert [change.content_id for change in late.changes] == ["slow"]
            assert (late.gap, late.position) == (False, page.position)
            assert (await feed.since(page.position, limit=MANY)).changes == ()


def test_what_commits_late_is_told_late(url: str) -> None:
    _late_commit(url)


@in_event_loop
async def _begin_amidst(url: str) -> None:
    with two(url) as (slow, quick):
        slow.announce("slow")
        quick.announce("quick")
        quick.raw.commit()
        async with listening(url) as feed:
            position = await feed.position()
            page = await feed.since(position, limit=MANY)
            assert (page.changes, page.gap) == ((), False)
            slow.raw.commit()
            page = await feed.since(page.position, limit=MANY)
            assert [change.content_id for change in page.changes] == ["slow"]


@in_event_loop
async def _youngest_fills_the_hole(url: str) -> None:
    async with listening(url) as feed:
        position = await feed.position()
        with two(url) as (old, young):
            old.announce("old")
            young.announce("young")  # the youngest transaction of all, with a number in the middle
            old.announce("old")
            old.raw.commit()
            page = await feed.since(position, limit=MANY)
            assert [change.content_id for change in page.changes] == ["old", "old"]
            young.raw.commit()
            page = await feed.since(page.position, limit=MANY)
            assert [change.content_id for change in page.changes] == ["young"]


def test_a_hole_is_not_given_up_while_the_youngest_transaction_may_fill_it(url: str) -> None:
    _youngest_fills_the_hole(url)


@in_event_loop
async def _commit_before_the_first_look(url: str) -> None:
    with two(url) as (slow, quick):
        slow.announce("slow")
        quick.announce("quick")
        quick.raw.commit()
        async with listening(url) as feed:
            position = await feed.position()
            slow.raw.commit()
            page = await feed.since(position, limit=MANY)
            assert [change.content_id for change in page.changes] == ["slow"]


def test_what_commits_between_the_first_position_and_the_first_look_is_heard(url: str) -> None:
    _commit_before_the_first_look(url)


def test_a_listener_that_begins_amidst_commits_hears_of_them(url: str) -> None:
    _begin_amidst(url)


@in_event_loop
async def _rollback(url: str) -> None:
    async with listening(url) as feed:
        position = await feed.position()
        with two(url) as (bad, quick):
            bad.announce("bad", count=5)
            quick.announce("quick")
            quick.raw.commit()
            position = (await feed.since(position, limit=MANY)).position
            assert len(feed._listeners[position].holes) == 5
            bad.raw.rollback()
            assert (await feed.since(position, limit=MANY)).changes == ()
            assert feed._listeners[position].holes == {}


def test_holes_of_what_was_rolled_back_are_given_up(url: str) -> None:
    _rollback(url)


@in_event_loop
async def _too_many(url: str) -> None:
    async with listening(url) as feed:
        position = await feed.position()
        with two(url) as (bulk, quick):
            bulk.announce("bulk", count=20)
            quick.announce("quick")
            quick.raw.commit()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(postgres_change_feed, "MOST_HOLES", 10)
                for _ in range(3):
                    page = await feed.since(position, limit=MANY)
                    assert page.gap, "as long as something may be missed, nothing may be remembered"
                    position = page.position
                bulk.raw.commit()
                told = await feed.since(position, limit=MANY)
                assert len(told.changes) == 20 or told.gap
                assert not (await feed.since(told.position, limit=MANY)).gap


def test_more_holes_than_are_kept_are_a_gap_until_they_are_settled(url: str) -> None:
    _too_many(url)


@in_event_loop
async def _failover(url: str) -> None:
    async with listening(url) as feed:
        page = await feed.since(await feed.position(), limit=MANY)
        assert not page.gap
        feed._listeners[page.position].timeline += 1
        assert (await feed.since(page.position, limit=MANY)).gap
        assert not (await feed.since(page.position, limit=MANY)).gap


def test_another_timeline_is_a_gap(url: str) -> None:
    _failover(url)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(("announce", "announce", "commit", "commit", "rollback", "look", "look", "begin")),
        st.integers(0, 3),
        st.integers(1, 4),
    ),
    max_size=40,
)


def test_whatever_the_order_nothing_is_left_out(url: str) -> None:
    with ExitStack() as stack:
        slots = [stack.enter_context(Transaction(url)) for _ in range(4)]

        @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
        @given(STEPS)
        @in_event_loop
        async def check(steps: list[tuple[str, int, int]]) -> None:
            for slot in slots:
                slot.raw.rollback()
            async with listening(url) as feed:
                await _follow(feed, slots, steps)

        check()


async def _follow(feed: PostgresChangeFeed, slots: list[Transaction], steps: list[tuple[str, int, int]]) -> None:
    position = await feed.position()
    pending: dict[int, list[str]] = {}
    untold: set[str] = set()
    names = (f"content/{number}" for number in range(10**6))

    async def look(limit: int) -> None:
        nonlocal position
        page = await feed.since(position, limit=limit)
        told = {str(change.content_id) for change in page.changes}
        assert told <= untold, "told twice, or before it was committed"
        assert not page.gap
        untold.difference_update(told)
        position = page.position

    for what, which, limit in steps:
        slot = slots[which]
        match what:
            case "announce":
                name = next(names)
                slot.announce(name)
                pending.setdefault(which, []).append(name)
            case "commit":
                slot.raw.commit()
                untold.update(pending.pop(which, ()))
            case "rollback":
                slot.raw.rollback()
                pending.pop(which, None)
            case "look":
                await look(limit)
            case _:
                # Another process begins to listen: from here on it is the one that must not miss anything.
                feed._listeners.clear()
                position = await feed.position()
                untold.clear()
    for which, slot in enumerate(slots):
        slot.raw.commit()
        untold.update(pending.pop(which, ()))
    for _ in range(len(steps) + 2):
        await look(3)
    assert untold == set()
