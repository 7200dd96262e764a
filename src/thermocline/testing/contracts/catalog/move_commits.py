"""Laws of `Moves.commit_move`: what it does, and all that makes the copy garbage."""
# ruff: noqa: D102 - the name of a test states its law

from dataclasses import replace

import pytest

from thermocline.domain.content import Changes, Record
from thermocline.domain.heat import AccessCount
from thermocline.domain.moves import LedgerEntry, MoveForecast
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Seconds, Timestamp, Usd, later
from thermocline.domain.work import OutboxKind
from thermocline.ports.moves import CopiedMove
from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.steps import (
    EVICT_DELAY,
    GRACE,
    LEASE,
    OTHER_PLACEMENT,
    PLACEMENT,
    OpenCatalog,
    Steps,
    new_key,
    one_process,
    some_id,
)

DELETE, INVALIDATE = OutboxKind.DELETE_OBJECT, OutboxKind.INVALIDATE
HOT, WARM, COLD, ARCHIVE = StorageTier
_LOST = (
    "overwritten", "deleted", "recreated", "held", "tier", "revision", "object key", "expired", "pinned", "replaced",
    "cancelled", "claimed", "postponed", "condemned", "withdrawn", "undeclared", "moved already",
)  # fmt: skip


class MoveCommitsContract(CatalogContract):
    """Laws of `Moves.commit_move`."""

    @pytest.mark.parametrize("from_tier", [HOT, WARM])
    async def test_a_move_switches_the_record_and_queues_what_follows(
        self, open_catalog: OpenCatalog, from_tier: StorageTier
    ) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            await steps.put(content_id, tier=from_tier, metadata={"a": 1}, chunk_digests=b"c" * 64)
            await steps.change(content_id, Changes(pinned=True))
            before = await steps.existing(content_id)
            forecast = MoveForecast(Usd(0.1), Usd(2.5e-7))
            move = await steps.begin_move(content_id, COLD, reason="rarely read", forecast=forecast)
            await steps.catalog.accesses.add([AccessCount(content_id, cache=2, storage=7)], now=steps.clock.now())
            await steps.take_all(INVALIDATE)
            position = await steps.catalog.changes.position()
            steps.clock.advance(5)
            now = steps.clock.now()
            committed = await steps.commit_move(move)
            assert committed is not None
            after = await steps.existing(content_id)
            assert after == replace(
                before,
                version=before.version + 1,
                placement=OTHER_PLACEMENT,
                object_key=move.object_key,
                tier=COLD,
                tier_since=now,
            )
            assert committed.record == replace(after, chunk_digests=None)
            assert not committed.created
            assert not await steps.is_named_by_intent(move.object_key)
            assert (await steps.catalog.moves.state()).waiting == 0
            assert await steps.ledger(content_id) == [
                LedgerEntry(
                    content_id,
                    now,
                    from_tier,
                    COLD,
                    PLACEMENT,
                    OTHER_PLACEMENT,
                    before.size,
                    by_policy=False,
                    reason="rarely read",
                    forecast=forecast,
                    storage_reads=7,
                )
            ]
            page = await steps.catalog.changes.since(position, limit=10)
            assert [(change.content_id, change.version) for change in page.changes] == [(content_id, after.version)]
            rows = await steps.take(INVALIDATE, now=later(now, EVICT_DELAY))
            expected = [(content_id, after.version, False)] if from_tier is HOT else []
            assert [(row.subject, row.version, row.hard) for row in rows] == expected
            assert await steps.take(DELETE, now=Timestamp(later(now, GRACE) - 1)) == []
            (row,) = await steps.take(DELETE, now=later(now, GRACE))
            assert (row.subject, row.placement) == (before.object_key, PLACEMENT)

    async def test_a_content_that_only_changes_its_placement_stays_in_its_tier(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            before = (await steps.put(content_id, tier=HOT)).record
            steps.clock.advance(5)
            assert await steps.commit_move(await steps.begin_move(content_id, HOT)) is not None
            after = await steps.existing(content_id)
            assert (after.tier, after.tier_since) == (HOT, before.tier_since)
            assert await steps.take_all(INVALIDATE) == []

    @pytest.mark.parametrize("how", _LOST)
    async def test_a_copy_that_came_too_late_changes_nothing(self, open_catalog: OpenCatalog, how: str) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            expires_at = later(steps.clock.now(), Seconds(10)) if how == "expired" else None
            await steps.put(content_id, tier=WARM, expires_at=expires_at)
            move = await steps.begin_move(content_id, ARCHIVE, by_policy=True)
            move = await _lose(steps, move, how)
            before = await _picture(steps, move)
            assert await steps.commit_move(move) is None
            assert await steps.commit_move(move) is None
            assert await _picture(steps, move) == before
            if how not in {"condemned", "withdrawn", "undeclared"}:
                assert await steps.is_named_by_intent(move.object_key)

    async def test_what_does_not_touch_bytes_or_treatment_does_not_disturb_a_move(
        self, open_catalog: OpenCatalog
    ) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            await steps.put(content_id, tier=WARM)
            move = await steps.begin_move(content_id, COLD)
            await steps.change(content_id, Changes(metadata={"a": 1}, pinned=True, held=True))
            await steps.change(content_id, Changes(held=False))
            # A lease that ran out is no loss as long as nobody else took the claim.
            await steps.expire_claims()
            assert await steps.commit_move(move) is not None
            record = await steps.existing(content_id)
            assert (record.metadata, record.pinned, record.object_key) == ({"a": 1}, True, move.object_key)

    async def test_a_pin_outlives_overwrites_and_moves_but_not_the_content(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            await steps.put(content_id)
            await steps.change(content_id, Changes(pinned=True))
            assert (await steps.put(content_id)).record.pinned
            await steps.commit_move(await steps.begin_move(content_id))
            assert (await steps.existing(content_id)).pinned
            await steps.delete(content_id)
            assert not (await steps.put(content_id)).record.pinned
            await steps.change(content_id, Changes(pinned=True, expires_at=later(steps.clock.now(), Seconds(1))))
            steps.clock.advance(1)
            assert not (await steps.put(content_id)).record.pinned


async def _lose(steps: Steps, move: CopiedMove, how: str) -> CopiedMove:
    """Let something come before the commit of a move."""
    content_id, catalog = move.source.content_id, steps.catalog
    match how:
        case "overwritten":
            await steps.put(content_id, tier=WARM)
        case "deleted":
            await steps.delete(content_id)
        case "recreated":
            await steps.delete(content_id)
            await steps.put(content_id, tier=WARM)
        case "held":
            await steps.change(content_id, Changes(held=True))
        case "pinned":
            await steps.change(content_id, Changes(pinned=True))
        case "tier":
            return replace(move, source=replace(move.source, tier=HOT))
        case "revision":
            return replace(move, source=replace(move.source, revision=move.source.revision - 1))
        case "object key":
            return replace(move, source=replace(move.source, object_key=new_key(content_id)))
        case "expired":
            steps.clock.advance(10)
        case "replaced":
            await steps.plan(content_id, COLD, by_policy=True)
        case "cancelled":
            await catalog.moves.cancel(content_id)
        case "claimed":
            await steps.expire_claims()
            assert len(await steps.claim_moves()) == 1
        case "postponed":
            await catalog.moves.postpone(move.claim, due_at=Timestamp(0), reason=None)
        case "condemned":
            await steps.expire_claims()
            assert len(await catalog.intents.condemn_expired(lease=LEASE, limit=10)) == 1
        case "withdrawn":
            assert await catalog.intents.withdraw(move.object_key, lease=LEASE) is not None
        case "undeclared":
            return replace(move, object_key=new_key(content_id, placement=OTHER_PLACEMENT))
        case _:
            await steps.expire_claims()
            assert await steps.commit_move(await steps.copied(await steps.claim_move(content_id))) is not None
    return move


async def _picture(steps: Steps, move: CopiedMove) -> tuple[Record | None, object, object, object, int, int]:
    """Return all that a commit might have changed."""
    outbox = {state.kind: state for state in await steps.catalog.outbox.state()}
    return (
        await steps.catalog.records.describe(move.source.content_id, now=steps.clock.now()),
        outbox,
        await steps.ledger(),
        await steps.catalog.moves.state(),
        await steps.catalog.intents.count(),
        await steps.catalog.changes.position(),
    )
