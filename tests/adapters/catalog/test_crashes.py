"""Death at every statement, and of whole processes: a commit happened whole or not at all."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.adapters.catalog.faulty_connection import faults
from thermocline.adapters.catalog.sql import SqlCatalog
from thermocline.domain.content import Changes, Condition, Visibility
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import (
    CommitUnknownError,
    ContentHeldError,
    IntentLostError,
    PreconditionFailedError,
    UnavailableError,
)
from thermocline.domain.units import Seconds
from thermocline.domain.work import OutboxKind
from thermocline.ports.records import Committed
from thermocline.testing.catalog import fresh_sqlite_catalog
from thermocline.testing.clock import ManualClock
from thermocline.testing.contracts.catalog.steps import LEASE, PLACEMENT, Steps
from thermocline.testing.contracts.running import in_event_loop

THING = ContentId("thing")
OVERWRITE_STATEMENTS = 9
"""BEGIN, lock, switch, end the intent, an outbox row, drop the plan, another row, announce, COMMIT."""


async def opened(path: Path, clock: ManualClock) -> Steps:
    catalog = await SqlCatalog.open(f"sqlite:///{path}", database_clock=clock.now, unsafe_fast=True)
    return Steps(catalog, clock)


async def close(steps: Steps) -> None:
    assert isinstance(steps.catalog, SqlCatalog)
    await steps.catalog.aclose()


@pytest.mark.parametrize("what", ["overwrite", "delete", "change"])
@pytest.mark.parametrize("after", range(OVERWRITE_STATEMENTS + 1))
@in_event_loop
async def test_death_between_two_statements_leaves_the_old_state_or_the_new(
    tmp_path: Path, what: str, after: int
) -> None:
    path, clock = tmp_path / "catalog.db", ManualClock()
    fresh_sqlite_catalog(path)
    with faults() as plan:
        steps = await opened(path, clock)
        before = (await steps.put(THING)).record
        write = steps.write_of(THING)
        await steps.declare(write.object_key)
        position = await steps.catalog.changes.position()
        plan.die_at = len(plan.executed) + after
        try:
            match what:
                case "overwrite":
                    await steps.commit(write)
                case "delete":
                    await steps.delete(THING)
                case _:
                    await steps.change(THING, Changes(visibility=Visibility.PRIVATE))
            acknowledged = True
        except CommitUnknownError:
            acknowledged = False
        await close(steps)
    steps = await opened(path, clock)
    record = await steps.find(THING)
    happened = record != before
    assert happened or not acknowledged
    assert acknowledged or after < OVERWRITE_STATEMENTS
    deletions = [row.subject for row in await steps.take(OutboxKind.DELETE_OBJECT)]
    invalidations = await steps.take(OutboxKind.INVALIDATE)
    live = await steps.catalog.intents.renew([write.object_key], lease=LEASE)
    page = await steps.catalog.changes.since(position, limit=10)
    assert deletions == ([before.object_key] if happened and what != "change" else [])
    assert len(invalidations) == len(page.changes) == int(happened)
    assert (not live) == (happened and what == "overwrite")
    await close(steps)


BULK_STATEMENTS = 12
"""BEGIN, floor, intents, lock; create; of the overwritten one switch, an outbox row, drop the plan, another row; end
the intents, announce, COMMIT."""


@pytest.mark.parametrize("after", range(BULK_STATEMENTS + 1))
@in_event_loop
async def test_death_in_many_writes_leaves_all_of_them_or_none(tmp_path: Path, after: int) -> None:
    path, clock = tmp_path / "catalog.db", ManualClock()
    fresh_sqlite_catalog(path)
    with faults() as plan:
        steps = await opened(path, clock)
        before = (await steps.put(THING)).record
        writes = [steps.write_of(ContentId("new")), steps.write_of(THING)]
        keys = [write.object_key for write in writes]
        await steps.catalog.bulk.declare(keys, PLACEMENT, lease=LEASE)
        plan.die_at = len(plan.executed) + after
        now = clock.now()
        try:
            await steps.catalog.bulk.commit(writes, now=now, delete_at=now, evict_at=now)
            acknowledged = True
        except CommitUnknownError:
            acknowledged = False
        await close(steps)
    steps = await opened(path, clock)
    made = [
        record is not None and record != before for record in [await steps.find(write.content_id) for write in writes]
    ]
    live = await steps.catalog.intents.renew(keys, lease=LEASE)
    assert made in ([True, True], [False, False])
    assert made[0] or not acknowledged
    assert acknowledged or after < BULK_STATEMENTS
    assert sorted(live) == ([] if made[0] else sorted(keys))
    assert [row.subject for row in await steps.take(OutboxKind.DELETE_OBJECT)] == [before.object_key] * made[0]
    await close(steps)


@in_event_loop
async def test_a_refused_commit_has_nothing_to_undo(tmp_path: Path) -> None:
    path, clock = tmp_path / "catalog.db", ManualClock()
    fresh_sqlite_catalog(path)
    with faults() as plan:
        steps = await opened(path, clock)
        await steps.put(THING)
        held = ContentId("held")
        await steps.put(held)
        await steps.change(held, Changes(held=True))
        given_up = steps.write_of(THING)
        await steps.declare(given_up.object_key)
        await steps.catalog.intents.withdraw(given_up.object_key, lease=LEASE)
        plan.executed.clear()
        never = Condition(if_revision=frozenset())
        for refused, error in (
            (steps.commit(steps.write_of(THING)), IntentLostError),
            (steps.commit(given_up), IntentLostError),
            (steps.commit(steps.write_of(THING, condition=never)), PreconditionFailedError),
            (steps.commit(steps.write_of(held)), ContentHeldError),
            (steps.delete(held), ContentHeldError),
            (steps.delete(THING, condition=never), PreconditionFailedError),
            (steps.change(THING, Changes(), condition=never), PreconditionFailedError),
        ):
            with pytest.raises(error):
                await refused
        # A refusal that changed something would spoil the group that it is committed with.
        assert [text.split(maxsplit=1)[0] for text in plan.executed] == ["BEGIN", "SELECT", "COMMIT"] * 7
        await close(steps)


WRITER = """
import asyncio, sys
from thermocline.adapters.catalog.sql import SqlCatalog, system_time
from thermocline.domain.content_id import ContentId
from thermocline.testing.clock import ManualClock
from thermocline.testing.contracts.catalog.steps import Steps

async def main(url, name):
    async with await SqlCatalog.open(url) as catalog:
        steps = Steps(catalog, ManualClock(system_time()))
        async def write(lane):
            number = 0
            while True:
                number += 1
                committed = await steps.put(ContentId(f"{name}/{lane}"), metadata={"number": number})
                print(lane, number, committed.record.object_key, flush=True)
        await asyncio.gather(*(write(lane) for lane in range(4)))

asyncio.run(main(*sys.argv[1:]))
"""


def test_what_a_killed_process_acknowledged_is_there(tmp_path: Path) -> None:
    url = fresh_sqlite_catalog(tmp_path / "catalog.db")
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, url, name], stdout=subprocess.PIPE, text=True)
        for name in ("one", "other")
    ]
    acknowledged: dict[str, tuple[int, set[str]]] = {}
    for name, writer in zip(("one", "other"), writers, strict=True):
        with writer:
            assert writer.stdout is not None
            lines = [writer.stdout.readline() for _ in range(60)]
            os.kill(writer.pid, signal.SIGKILL)
            lines += writer.stdout.readlines()
        for line in lines:
            if line.endswith("\n"):
                lane, number, key = line.split()
                _, keys = acknowledged.get(f"{name}/{lane}", (0, set()))
                acknowledged[f"{name}/{lane}"] = (int(number), keys | {key})
    assert len(acknowledged) == 8
    asyncio.run(_check(url, acknowledged))


async def _check(url: str, acknowledged: dict[str, tuple[int, set[str]]]) -> None:
    async with await SqlCatalog.open(url) as catalog:
        steps = Steps(catalog, ManualClock())
        queued = {row.subject for row in await steps.take(OutboxKind.DELETE_OBJECT)}
        for name, (number, keys) in acknowledged.items():
            record = await steps.existing(ContentId(name))
            # At most one commit more than was told: its acknowledgement died with the process.
            assert record.metadata["number"] in {number, number + 1}
            # Every object is the record's or queued for deletion, never both.
            assert keys <= queued | {record.object_key}
            assert record.object_key not in queued


COUNTER = """
import asyncio, sys
from thermocline.adapters.catalog.sql import SqlCatalog, system_time
from thermocline.domain.content import Condition
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import PreconditionFailedError
from thermocline.testing.clock import ManualClock
from thermocline.testing.contracts.catalog.steps import Steps

async def main(url):
    async with await SqlCatalog.open(url, unsafe_fast=True) as catalog:
        steps = Steps(catalog, ManualClock(system_time()))
        done = 0
        while done < 40:
            record = await steps.existing(ContentId("counter"))
            condition = Condition(if_revision=frozenset({record.revision}))
            counted = {"count": record.metadata["count"] + 1}
            try:
                await steps.put(record.content_id, metadata=counted, condition=condition)
            except PreconditionFailedError:
                continue
            done += 1

asyncio.run(main(*sys.argv[1:]))
"""


def test_processes_that_count_with_conditions_lose_no_count(tmp_path: Path) -> None:
    url = fresh_sqlite_catalog(tmp_path / "catalog.db")

    async def put(steps: Steps) -> Committed:
        return await steps.put(ContentId("counter"), metadata={"count": 0})

    async def with_catalog() -> None:
        async with await SqlCatalog.open(url, unsafe_fast=True) as catalog:
            await put(Steps(catalog, ManualClock()))

    asyncio.run(with_catalog())
    counters = [subprocess.Popen([sys.executable, "-c", COUNTER, url]) for _ in range(2)]
    for counter in counters:
        with counter:
            assert counter.wait() == 0

    async def check() -> None:
        async with await SqlCatalog.open(url) as catalog:
            record = await Steps(catalog, ManualClock()).existing(ContentId("counter"))
            assert record.metadata == {"count": 80}

    asyncio.run(check())


@in_event_loop
async def test_a_catalog_that_another_process_keeps_locked_is_busy(tmp_path: Path) -> None:
    url = fresh_sqlite_catalog(tmp_path / "catalog.db")
    clock = ManualClock()
    async with (
        await SqlCatalog.open(url, unsafe_fast=True) as one,
        await SqlCatalog.open(url, unsafe_fast=True, busy_timeout=Seconds(0.01)) as other,
    ):
        with pytest.raises(UnavailableError, match="locked"):
            await one._runner.write(lambda _connection: _put_in_another_loop(other, clock))
        await Steps(other, clock).put(THING)


def _put_in_another_loop(other: SqlCatalog, clock: ManualClock) -> None:
    """Run inside a transaction of one catalog: the other cannot begin one."""

    async def attempt() -> None:
        await Steps(other, clock).put(THING)

    asyncio.run(attempt())
