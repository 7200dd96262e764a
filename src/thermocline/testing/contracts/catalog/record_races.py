"""Laws of `Records` over sequences and races of commits: revisions only grow, nothing is lost, one condition wins."""
# ruff: noqa: D102 - the name of a test states its law

import asyncio
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thermocline.domain.content import ALWAYS, Changes, Condition, Record
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import ContentHeldError, PreconditionFailedError
from thermocline.domain.units import Seconds, Timestamp, later
from thermocline.domain.work import OutboxKind
from thermocline.ports.records import Committed
from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.steps import (
    EVERYTHING,
    OpenCatalog,
    Steps,
    one_process,
    some_id,
    two_processes,
)
from thermocline.testing.contracts.running import in_event_loop

DELETE = OutboxKind.DELETE_OBJECT
_RANDOM = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
WRITERS = 12


class RecordRacesContract(CatalogContract):
    """Laws of `Records`: many commits."""

    async def test_revisions_and_versions_grow_whatever_the_clock_does(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            seen: list[tuple[int, int]] = []
            for jump in (0, 0, -3600, 10, -7200, 0):
                steps.clock.jump(jump)
                for _ in range(2):
                    record = (await steps.put(content_id)).record
                    seen.append((record.revision, record.version))
                    changed = await steps.change(content_id, Changes(metadata={"a": 1}))
                    assert changed is not None
                    assert changed.record.revision == record.revision
                    seen.append((record.revision, changed.record.version))
                deleted = await steps.delete(content_id)
                assert deleted is not None
                seen.append((deleted.record.revision, deleted.record.version))
                await steps.catalog.records.forget_tombstones(
                    deleted_before=Timestamp(steps.clock.now() + 1), limit=EVERYTHING
                )
            versions = [version for _, version in seen]
            assert versions == sorted(set(versions))
            revisions = list(dict.fromkeys(revision for revision, _ in seen))
            assert revisions == sorted(set(revisions))

    async def test_a_revision_follows_the_databases_clock(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            steps.clock.advance(12.345678)
            record = (await steps.put(some_id())).record
            assert record.revision == record.version == steps.clock.now()

    async def test_forgetting_takes_old_tombstones_only(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            ids = [some_id() for _ in range(4)]
            for content_id in ids:
                await steps.put(content_id)
            for content_id in ids[:3]:
                steps.clock.advance(10)
                await steps.delete(content_id)
            forget = steps.catalog.records.forget_tombstones
            third = steps.clock.now()
            assert await forget(deleted_before=Timestamp(third - 20_000_000), limit=10) == 0
            assert await forget(deleted_before=third, limit=1) == 1
            assert await forget(deleted_before=third, limit=10) == 1
            assert await forget(deleted_before=third, limit=10) == 0
            assert await steps.find(ids[3]) is not None

    async def test_concurrent_unconditional_writes_all_succeed_and_lose_no_object(
        self, open_catalog: OpenCatalog
    ) -> None:
        async with two_processes(open_catalog) as (one, other):
            content_id = some_id()
            commits = await asyncio.gather(*(steps.put(content_id) for steps in (one, other) for _ in range(WRITERS)))
            winner = await one.existing(content_id)
            assert sum(committed.created for committed in commits) == 1
            assert len({committed.record.revision for committed in commits}) == 2 * WRITERS
            assert max(committed.record.revision for committed in commits) == winner.revision
            replaced = {committed.record.object_key for committed in commits} - {winner.object_key}
            queued = [row.subject for row in await one.take_all(DELETE)]
            assert sorted(queued) == sorted(replaced)

    async def test_of_concurrent_conditional_writes_exactly_one_wins_even_with_equal_bytes(
        self, open_catalog: OpenCatalog
    ) -> None:
        async with two_processes(open_catalog) as (one, other):
            for first in (True, False):
                content_id = some_id()
                condition = Condition(if_absent=True)
                if not first:
                    condition = Condition(if_revision=frozenset({(await one.put(content_id)).record.revision}))
                results = await asyncio.gather(
                    *(
                        steps.put(content_id, b"same", condition=condition)
                        for steps in (one, other)
                        for _ in range(WRITERS)
                    ),
                    return_exceptions=True,
                )
                won = [result for result in results if isinstance(result, Committed)]
                lost = [result for result in results if isinstance(result, PreconditionFailedError)]
                assert (len(won), len(lost)) == (1, 2 * WRITERS - 1)
                assert await other.existing(content_id) == won[0].record

    async def test_a_delete_and_a_write_that_race_leave_no_object_unnamed(self, open_catalog: OpenCatalog) -> None:
        async with two_processes(open_catalog) as (one, other):
            content_id = some_id()
            first = await one.put(content_id)
            results = await asyncio.gather(
                *(one.put(content_id) for _ in range(3)), *(other.delete(content_id) for _ in range(3))
            )
            written = {first.record.object_key} | {result.record.object_key for result in results if result is not None}
            record = await one.find(content_id)
            live = set() if record is None else {record.object_key}
            queued = [row.subject for row in await one.take_all(DELETE)]
            assert sorted(queued) == sorted(written - live)

    async def test_an_acknowledged_commit_is_seen_by_every_process(self, open_catalog: OpenCatalog) -> None:
        async with two_processes(open_catalog) as (one, other):
            content_id = some_id()
            for _ in range(20):
                committed = await one.put(content_id)
                assert await other.find(content_id) == committed.record
                one, other = other, one  # noqa: PLW2901 - they take turns

    async def test_many_look_ups_at_once_find_each_its_own(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            ids = [some_id(f"{number}") for number in range(30)]
            for content_id in ids[::2]:
                await steps.put(content_id)
            unwanted = asyncio.ensure_future(steps.find(ids[0]))
            await asyncio.sleep(0)
            unwanted.cancel()
            found = await asyncio.gather(*(steps.find(content_id) for content_id in ids * 40))
            expected = [content_id if index % 2 == 0 else None for index, content_id in enumerate(ids)] * 40
            assert [None if record is None else record.content_id for record in found] == expected

    async def test_a_cancelled_commit_happens_whole_or_not_at_all(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            happened = 0
            for turns in range(12):
                write = steps.write_of(some_id())
                await steps.declare(write.object_key)
                task = asyncio.ensure_future(steps.commit(write))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                # Once this is answered the commit has happened, or never will.
                withdrawn = await steps.catalog.intents.withdraw(write.object_key, lease=Seconds(60))
                record = await steps.find(write.content_id)
                assert (record is None) == (withdrawn is not None)
                happened += record is not None
            assert happened <= 12

    def test_a_record_behaves_like_its_model(self, open_catalog: OpenCatalog) -> None:
        @_RANDOM
        @given(st.lists(_actions, max_size=15))
        @in_event_loop
        async def check(actions: list[tuple[str, str, bool]]) -> None:
            async with one_process(open_catalog) as steps:
                model = _Model(some_id())
                for name, condition, flag in actions:
                    await _step(steps, model, name, condition, flag=flag)
                    assert await steps.find(model.content_id) == model.record

        check()


_actions = st.tuples(
    st.sampled_from(("put", "put", "delete", "change", "expire", "wait", "hold", "forget")),
    st.sampled_from(("always", "always", "is-current", "is-older", "exists", "absent")),
    st.booleans(),
)


@dataclass
class _Model:
    """What is known of one content, by rules simple enough to be believed."""

    content_id: ContentId
    record: Record | None = None
    highest: int = 0
    past: list[int] = field(default_factory=list)
    expected_deletions: list[str] = field(default_factory=list)

    def condition(self, name: str) -> Condition:
        match name:
            case "is-current":
                return Condition(if_revision=frozenset({self.record.revision if self.record else 1}))
            case "is-older":
                return Condition(if_revision=frozenset(self.past))
            case "exists":
                return Condition(if_exists=True)
            case "absent":
                return Condition(if_absent=True)
            case _:
                return ALWAYS

    def take_over(self, record: Record | None, revision: int, version: int) -> None:
        assert version > self.highest
        self.highest = version
        if self.record is not None:
            assert revision >= self.record.revision
            self.past.append(self.record.revision)
        self.record = record


async def _step(steps: Steps, model: _Model, name: str, condition_name: str, *, flag: bool) -> None:
    now, old = steps.clock.now(), model.record
    alive = old is not None and old.is_alive(now)
    condition = model.condition(condition_name)
    allowed = condition.holds_for(old.revision if old is not None and alive else None)
    blocked = old is not None and old.held
    match name:
        case "wait":
            steps.clock.advance(7)
        case "forget":
            await steps.catalog.records.forget_tombstones(deleted_before=Timestamp(now + 1), limit=EVERYTHING)
        case "put":
            await _put(steps, model, condition, allowed=allowed, blocked=blocked, created=not alive, expires=flag)
        case "delete":
            if not allowed:
                await _refused(steps.delete(model.content_id, condition=condition), PreconditionFailedError)
            elif blocked:
                await _refused(steps.delete(model.content_id, condition=condition), ContentHeldError)
            else:
                deleted = await steps.delete(model.content_id, condition=condition)
                assert (deleted is None) == (old is None)
                if deleted is not None:
                    model.take_over(None, deleted.record.revision, deleted.record.version)
        case _:
            changes = {
                "change": Changes(metadata={"flag": flag}),
                "hold": Changes(held=flag),
                "expire": Changes(expires_at=later(now, Seconds(5))) if flag else Changes(never_expires=True),
            }[name]
            await _change(steps, model, changes, condition, allowed=allowed, alive=alive)


async def _put(
    steps: Steps, model: _Model, condition: Condition, *, allowed: bool, blocked: bool, created: bool, expires: bool
) -> None:
    expires_at = later(steps.clock.now(), Seconds(10)) if expires else None
    putting = steps.put(model.content_id, condition=condition, expires_at=expires_at)
    if not allowed:
        await _refused(putting, PreconditionFailedError)
    elif blocked:
        await _refused(putting, ContentHeldError)
    else:
        committed = await putting
        assert committed.created == created
        model.take_over(committed.record, committed.record.revision, committed.record.version)


async def _change(
    steps: Steps, model: _Model, changes: Changes, condition: Condition, *, allowed: bool, alive: bool
) -> None:
    old = model.record
    changing = steps.change(model.content_id, changes, condition=condition)
    ends_earlier = (
        old is not None
        and changes.expires_at is not None
        and (old.expires_at is None or changes.expires_at < old.expires_at)
    )
    if old is None or not alive:
        assert await changing is None
    elif not allowed:
        await _refused(changing, PreconditionFailedError)
    elif old.held and ends_earlier:
        await _refused(changing, ContentHeldError)
    else:
        committed = await changing
        assert committed is not None
        changed = await steps.existing(model.content_id)
        assert (changed.object_key, changed.revision) == (old.object_key, old.revision)
        model.take_over(changed, changed.revision, committed.record.version)


async def _refused(attempt: object, error: type[Exception]) -> None:
    try:
        await attempt  # type: ignore[misc]
    except error:
        return
    raise AssertionError(f"{error.__name__} was not raised")
