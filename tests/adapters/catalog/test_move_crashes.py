"""Death at every statement of a move, a restore, an erasure: it happened whole or not at all; refusals undo nothing."""

from pathlib import Path

import pytest

from tests.adapters.catalog.faulty_connection import faults
from tests.adapters.catalog.test_crashes import close, opened
from thermocline.domain.content import Changes, Record
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import CommitUnknownError, ContentHeldError, RestoreBudgetError
from thermocline.domain.moves import TierChange
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Usd
from thermocline.domain.work import OutboxKind
from thermocline.ports.moves import CopiedMove
from thermocline.testing.catalog import fresh_sqlite_catalog
from thermocline.testing.clock import ManualClock
from thermocline.testing.contracts.catalog.restores import wanted
from thermocline.testing.contracts.catalog.steps import LEASE, OTHER_PLACEMENT, Steps, new_key
from thermocline.testing.contracts.running import in_event_loop

HOT, WARM, COLD, ARCHIVE = StorageTier
THING = ContentId("thing")
HELD = ContentId("held")
BUDGET = Usd(1.0)
MOST_STATEMENTS = 24


@pytest.mark.parametrize("what", ["move", "tier", "plan", "restore", "erase"])
@in_event_loop
async def test_death_between_two_statements_leaves_the_old_state_or_the_new(tmp_path: Path, what: str) -> None:
    path, clock = tmp_path / "catalog.db", ManualClock()
    outcomes = set()
    for after in range(MOST_STATEMENTS + 1):
        fresh_sqlite_catalog(path)
        with faults() as plan:
            steps = await opened(path, clock)
            move = await _begun(steps)
            before = await _picture(steps, move)
            plan.die_at = len(plan.executed) + after
            try:
                await _do(steps, move, what)
                acknowledged = True
            except CommitUnknownError:
                acknowledged = False
            await close(steps)
        steps = await opened(path, clock)
        happened = await _picture(steps, move) != before
        assert happened or not acknowledged
        if happened:
            await _check_whole(steps, move, before, what)
        await close(steps)
        outcomes.add((acknowledged, happened))
        if acknowledged:
            break
    # It died before each statement in turn, until there was none left to die before.
    assert outcomes == {(False, False), (True, True)}


@in_event_loop
async def test_a_refused_move_has_nothing_to_undo(tmp_path: Path) -> None:
    path, clock = tmp_path / "catalog.db", ManualClock()
    fresh_sqlite_catalog(path)
    with faults() as plan:
        steps = await opened(path, clock)
        move = await _begun(steps)
        await steps.put(HELD)
        held = (await steps.change(HELD, Changes(held=True))).record  # type: ignore[union-attr]  # it is there
        lost = CopiedMove(move.claim, move.source, OTHER_PLACEMENT, new_key(THING, placement=OTHER_PLACEMENT))
        await steps.declare(lost.object_key, placement=OTHER_PLACEMENT)
        await steps.plan(THING, ARCHIVE)
        await steps.catalog.intents.withdraw(move.object_key, lease=LEASE)
        plan.executed.clear()
        assert await steps.commit_move(lost) is None
        assert await steps.commit_move(move) is None
        assert await steps.set_tiers([_change(held, COLD)]) == []
        with pytest.raises(ContentHeldError):
            await steps.erase(HELD)
        restores = steps.catalog.restores
        for cost in (2.0, 0.6):
            request = restores.request(
                wanted(move.source, cost=Usd(cost)), now=clock.now(), lease=LEASE, daily_budget=Usd(0.5)
            )
            with pytest.raises(RestoreBudgetError):
                await request
        verbs = {text.split(maxsplit=1)[0] for text in plan.executed}
        # A refusal that changed something would spoil the group that it is committed with.
        assert verbs == {"BEGIN", "SELECT", "COMMIT"}
        await close(steps)


async def _begun(steps: Steps) -> CopiedMove:
    await steps.put(THING, tier=HOT)
    await steps.take_all(OutboxKind.INVALIDATE)
    return await steps.begin_move(THING, COLD)


def _change(record: Record, tier: StorageTier) -> TierChange:
    return TierChange(record.content_id, record.revision, record.placement, record.tier, tier)


async def _do(steps: Steps, move: CopiedMove, what: str) -> None:
    match what:
        case "move":
            assert await steps.commit_move(move) is not None
        case "tier":
            assert len(await steps.set_tiers([_change(move.source, WARM)])) == 1
        case "plan":
            assert await steps.plan(THING, ARCHIVE)
        case "restore":
            requested = await steps.catalog.restores.request(
                wanted(move.source), now=steps.clock.now(), lease=LEASE, daily_budget=BUDGET
            )
            assert requested is not None
        case _:
            assert (await steps.erase(THING)).committed is not None


async def _picture(steps: Steps, move: CopiedMove) -> tuple[object, ...]:
    """Return everything that may change, and that reading does not."""
    now, catalog = steps.clock.now(), steps.catalog
    return (
        await catalog.records.describe(THING, now=now),
        await catalog.moves.state(),
        await catalog.outbox.state(),
        await catalog.intents.count(),
        await catalog.changes.position(),
        await steps.ledger(),
        await catalog.restores.find(move.source.object_key, now=now),
        await catalog.restores.state(now=now),
    )


async def _check_whole(steps: Steps, move: CopiedMove, before: tuple[object, ...], what: str) -> None:
    """Check that all of the effect is there."""
    record = await steps.find(THING)
    deletions = [row.subject for row in await steps.take(OutboxKind.DELETE_OBJECT)]
    invalidations = await steps.take(OutboxKind.INVALIDATE)
    waiting = (await steps.catalog.moves.state()).waiting
    ledger = await steps.ledger(THING)
    told = await steps.catalog.changes.position() - int(str(before[4]))
    restores = await steps.catalog.restores.state(now=steps.clock.now())
    found = (deletions, len(invalidations), waiting, len(ledger), told, restores.requested, restores.spent_today > 0)
    old = move.source.object_key
    assert (
        found
        == {
            "move": ([old], 1, 0, 1, 1, 0, False),
            "tier": ([], 1, 0, 1, 1, 0, False),
            "plan": ([], 0, 1, 0, 0, 0, False),
            "restore": ([], 0, 1, 0, 0, 1, True),
            "erase": ([old], 1, 0, 0, 1, 0, False),
        }[what]
    )
    assert (None if record is None else (record.object_key, record.tier)) == {
        "move": (move.object_key, COLD),
        "tier": (old, WARM),
        "plan": (old, HOT),
        "restore": (old, HOT),
        "erase": None,
    }[what]
    assert await steps.is_named_by_intent(move.object_key) == (what != "move")
