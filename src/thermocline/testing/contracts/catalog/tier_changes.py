"""Laws of `Moves.change_tiers`: moves that need no copy."""
# ruff: noqa: D102 - the name of a test states its law

import asyncio
from dataclasses import replace

import pytest

from thermocline.domain.content import Changes, Record
from thermocline.domain.content_id import ContentId
from thermocline.domain.heat import AccessCount
from thermocline.domain.moves import LedgerEntry, MoveForecast, TierChange, TierChanged
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Seconds, Timestamp, Usd, later
from thermocline.domain.work import OutboxKind
from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.steps import (
    EVERYTHING,
    EVICT_DELAY,
    PLACEMENT,
    OpenCatalog,
    Steps,
    one_process,
    some_id,
    two_processes,
)

DELETE, INVALIDATE = OutboxKind.DELETE_OBJECT, OutboxKind.INVALIDATE
HOT, WARM, COLD, ARCHIVE = StorageTier
MANY = 5000
FORECAST = MoveForecast(Usd(-0.125), Usd(1e-9))

_BY_POLICY = ("pinned", "asked for otherwise")
_REFUSED = (
    "revision", "placement", "tier", "same tier", "held", "expired", "deleted", "unknown", *_BY_POLICY
)  # fmt: skip


class TierChangesContract(CatalogContract):
    """Laws of `Moves.change_tiers`."""

    async def test_a_change_raises_the_version_and_is_booked_and_announced(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            before = (await steps.put(content_id, tier=WARM, chunk_digests=b"c" * 64)).record
            position = await steps.catalog.changes.position()
            steps.clock.advance(5)
            now = steps.clock.now()
            change = replace(_change(before, COLD), reason="cheaper", by_policy=True, forecast=FORECAST)
            await steps.catalog.accesses.add([AccessCount(content_id, cache=2, storage=3)], now=now)
            made = await steps.set_tiers([change])
            after = await steps.existing(content_id)
            assert after == replace(before, version=before.version + 1, tier=COLD, tier_since=now)
            assert made == [TierChanged(content_id, after.version)]
            assert await steps.ledger(content_id) == [
                LedgerEntry(
                    content_id, now, WARM, COLD, PLACEMENT, PLACEMENT, before.size, True, "cheaper", FORECAST, 3
                )
            ]
            page = await steps.catalog.changes.since(position, limit=10)
            assert [(change.content_id, change.version) for change in page.changes] == [(content_id, after.version)]
            assert await steps.take_all(DELETE) == []

    @pytest.mark.parametrize("to_tier", StorageTier)
    @pytest.mark.parametrize("from_tier", StorageTier)
    async def test_only_what_leaves_hot_is_evicted(
        self, open_catalog: OpenCatalog, from_tier: StorageTier, to_tier: StorageTier
    ) -> None:
        async with one_process(open_catalog) as steps:
            record = (await steps.put(some_id(), tier=from_tier)).record
            made = await steps.set_tiers([_change(record, to_tier)])
            assert len(made) == int(from_tier is not to_tier)
            now = steps.clock.now()
            assert await steps.take(INVALIDATE, now=Timestamp(later(now, EVICT_DELAY) - 1)) == []
            rows = await steps.take(INVALIDATE, now=later(now, EVICT_DELAY))
            expected = [(record.content_id, record.version + 1, False, False)]
            assert [(row.subject, row.version, row.hard, row.second_pass) for row in rows] == (
                expected if from_tier is HOT and to_tier is not HOT else []
            )

    @pytest.mark.parametrize("reason", _REFUSED)
    async def test_what_is_not_as_described_is_left_alone_and_the_rest_is_made(
        self, open_catalog: OpenCatalog, reason: str
    ) -> None:
        async with one_process(open_catalog) as steps:
            family = some_id()
            good = [(await steps.put(ContentId(f"{family}/{name}"), tier=HOT)).record for name in ("1", "9")]
            refused = await _refused(steps, ContentId(f"{family}/5"), reason)
            before = await steps.find(refused.content_id)
            move = await steps.catalog.records.describe(refused.content_id, now=steps.clock.now())
            position = await steps.catalog.changes.position()
            await steps.take_all(INVALIDATE)
            made = await steps.set_tiers([_change(good[1], COLD), refused, _change(good[0], COLD)])
            assert [change.content_id for change in made] == [record.content_id for record in good]
            assert await steps.find(refused.content_id) == before
            assert await steps.catalog.records.describe(refused.content_id, now=steps.clock.now()) == move
            assert await steps.ledger(refused.content_id) == []
            page = await steps.catalog.changes.since(position, limit=10)
            assert [change.content_id for change in page.changes] == [record.content_id for record in good]
            rows = await steps.take_all(INVALIDATE)
            assert sorted(row.subject for row in rows) == [record.content_id for record in good]
            # Alone it is refused too, and then nothing at all happens.
            position = await steps.catalog.changes.position()
            assert await steps.set_tiers([refused]) == []
            assert await steps.catalog.changes.position() == position

    @pytest.mark.parametrize("reason", _BY_POLICY)
    async def test_a_user_may_move_what_a_policy_may_not(self, open_catalog: OpenCatalog, reason: str) -> None:
        async with one_process(open_catalog) as steps:
            refused = await _refused(steps, some_id(), reason)
            assert len(await steps.set_tiers([replace(refused, by_policy=False)])) == 1

    async def test_a_change_drops_the_plan_and_who_works_on_it_cannot_commit(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id, bystander = some_id("a"), some_id("b")
            for each in (content_id, bystander):
                await steps.put(each, tier=WARM)
            move = await steps.begin_move(content_id, ARCHIVE)
            await steps.plan(bystander, ARCHIVE)
            assert len(await steps.set_tiers([_change(await steps.existing(content_id), HOT)])) == 1
            # Not even if the tier is as it was before.
            assert len(await steps.set_tiers([_change(await steps.existing(content_id), WARM)])) == 1
            assert await steps.commit_move(move) is None
            assert [claim.plan.content_id for claim in await steps.claim_moves()] == [bystander]

    async def test_of_several_changes_of_one_content_the_last_counts(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            record = (await steps.put(some_id(), tier=WARM)).record
            made = await steps.set_tiers([_change(record, tier) for tier in (COLD, HOT, ARCHIVE)])
            assert made == [TierChanged(record.content_id, record.version + 1)]
            assert (await steps.existing(record.content_id)).tier is ARCHIVE
            assert len(await steps.ledger(record.content_id)) == 1
            assert not await steps.set_tiers([])

    async def test_thousands_change_at_once_into_several_tiers(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            ids = sorted(some_id(f"{number:04}") for number in range(MANY))
            records: list[Record] = []
            for start in range(0, MANY, 1000):
                puts = (steps.put(each, tier=HOT) for each in ids[start : start + 1000])
                records += [committed.record for committed in await asyncio.gather(*puts)]
            tiers = (WARM, COLD, ARCHIVE)
            position = await steps.catalog.changes.position()
            changes = [_change(record, tiers[number % 3]) for number, record in enumerate(records)]
            made = await steps.set_tiers(reversed(changes))
            assert [change.content_id for change in made] == ids
            for number in (0, 1, 2, MANY - 1):
                assert (await steps.existing(ids[number])).tier is tiers[number % 3]
            assert len(await steps.ledger()) == MANY
            assert len(await steps.take(INVALIDATE)) == MANY
            assert await steps.catalog.changes.position() == position + MANY

    async def test_of_equal_batches_in_two_processes_each_change_is_made_once(self, open_catalog: OpenCatalog) -> None:
        async with two_processes(open_catalog) as (one, other):
            records = [(await one.put(some_id(), tier=WARM)).record for _ in range(30)]
            changes = [_change(record, COLD) for record in records]
            results = await asyncio.gather(
                *(steps.set_tiers(batch) for steps in (one, other) for batch in (changes, changes[::-1], changes[::2]))
            )
            made = sorted(change.content_id for result in results for change in result)
            assert made == sorted(record.content_id for record in records)
            assert len(await one.ledger()) == len(records)
            for record in records:
                assert (await other.existing(record.content_id)).version == record.version + 1

    async def test_the_ledger_is_newest_first_and_of_one_content_or_of_all(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id, other = some_id("a"), some_id("a/b")
            tier = WARM
            for each in (content_id, other):
                await steps.put(each, tier=tier)
            for to_tier in (COLD, HOT, WARM):
                for each in (content_id, other):
                    await steps.set_tiers([_change(await steps.existing(each), to_tier)])
            entries = await steps.ledger(content_id)
            assert [(entry.from_tier, entry.to_tier) for entry in entries] == [(HOT, WARM), (COLD, HOT), (WARM, COLD)]
            assert not any(entry.copied for entry in entries)
            everything = await steps.ledger()
            assert len(everything) == 6
            ledger = steps.catalog.moves.ledger
            assert await ledger(content_id=None, limit=2) == everything[:2]
            assert await ledger(content_id=content_id, limit=1) == entries[:1]
            assert await ledger(content_id=some_id(), limit=EVERYTHING) == []


def _change(record: Record, to_tier: StorageTier) -> TierChange:
    return TierChange(record.content_id, record.revision, record.placement, record.tier, to_tier)


async def _refused(steps: Steps, content_id: ContentId, reason: str) -> TierChange:
    """Make a content, and return a change of it to COLD that must not be made."""
    if reason == "unknown":
        return TierChange(content_id, 1, PLACEMENT, WARM, COLD)
    expires_at = later(steps.clock.now(), Seconds(10)) if reason == "expired" else None
    change = _change((await steps.put(content_id, tier=WARM, expires_at=expires_at)).record, COLD)
    match reason:
        case "revision":
            await steps.put(content_id, tier=WARM)
        case "placement":
            return replace(change, placement="elsewhere")
        case "tier":
            return replace(change, from_tier=HOT)
        case "same tier":
            return replace(change, to_tier=WARM)
        case "held":
            await steps.change(content_id, Changes(held=True))
        case "expired":
            steps.clock.advance(10)
        case "deleted":
            await steps.delete(content_id)
        case "pinned":
            await steps.change(content_id, Changes(pinned=True))
            return replace(change, by_policy=True)
        case _:
            assert await steps.plan(content_id, ARCHIVE)
            return replace(change, by_policy=True)
    return change
