"""Laws of moves that race with everything else: one wins, and every object stays accounted for."""
# ruff: noqa: D102 - the name of a test states its law

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from thermocline.domain.content import Changes
from thermocline.domain.moves import TierChange
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Seconds, later
from thermocline.domain.work import OutboxKind
from thermocline.ports.moves import CopiedMove
from thermocline.ports.records import Committed
from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.steps import OpenCatalog, Steps, one_process, some_id, two_processes

HOT, WARM, COLD, ARCHIVE = StorageTier
ROUNDS = 8
WORKERS = 6

_Rival = Callable[[Steps, CopiedMove], Awaitable[int | None]]
"""Does something to the content of a move; returns the version that it committed, or None."""


async def _overwrite(steps: Steps, move: CopiedMove) -> int | None:
    return (await steps.put(move.source.content_id, tier=WARM)).record.version


async def _delete(steps: Steps, move: CopiedMove) -> int | None:
    return _version(await steps.delete(move.source.content_id))


async def _recreate(steps: Steps, move: CopiedMove) -> int | None:
    await steps.delete(move.source.content_id)
    return await _overwrite(steps, move)


async def _erase(steps: Steps, move: CopiedMove) -> int | None:
    return _version((await steps.erase(move.source.content_id)).committed)


async def _hold(steps: Steps, move: CopiedMove) -> int | None:
    return _version(await steps.change(move.source.content_id, Changes(held=True)))


async def _pin(steps: Steps, move: CopiedMove) -> int | None:
    return _version(await steps.change(move.source.content_id, Changes(pinned=True)))


async def _change_tier(steps: Steps, move: CopiedMove) -> int | None:
    source = move.source
    change = TierChange(source.content_id, source.revision, source.placement, source.tier, HOT)
    made = await steps.set_tiers([change])
    return made[0].version if made else None


RIVALS: dict[str, _Rival] = {
    "overwrite": _overwrite,
    "delete": _delete,
    "recreate": _recreate,
    "erase": _erase,
    "hold": _hold,
    "pin": _pin,
    "change of tier": _change_tier,
}
_MAY_FOLLOW = {"overwrite", "delete", "recreate", "erase", "hold", "pin"}
"""What happens all the same after the move: it does not compare."""


class MoveRacesContract(CatalogContract):
    """Laws of `Moves.commit_move` among many."""

    @pytest.mark.parametrize("rival", RIVALS)
    @pytest.mark.parametrize("first", ["move", "rival"])
    async def test_whatever_comes_first_decides(self, open_catalog: OpenCatalog, rival: str, first: str) -> None:
        async with one_process(open_catalog) as steps:
            move = await _begun(steps)
            if first == "rival":
                await RIVALS[rival](steps, move)
                assert await steps.commit_move(move) is None
            else:
                assert await steps.commit_move(move) is not None
                assert (await RIVALS[rival](steps, move) is not None) == (rival in _MAY_FOLLOW)
            await _all_accounted_for(steps, move)

    @pytest.mark.parametrize("rival", RIVALS)
    async def test_a_race_with_another_process_leaves_every_object_accounted_for(
        self, open_catalog: OpenCatalog, rival: str
    ) -> None:
        async with two_processes(open_catalog) as (one, other):
            for number in range(ROUNDS):
                move = await _begun(one)
                racers: list[Awaitable[object]] = [one.commit_move(move), RIVALS[rival](other, move)]
                results = await asyncio.gather(*(racers if number % 2 else reversed(racers)))
                committed, version = results if number % 2 else reversed(results)
                if isinstance(committed, Committed) and isinstance(version, int):
                    # Both happened: then the move came first, because it compares.
                    assert rival in _MAY_FOLLOW
                    assert committed.record.version < version
                else:
                    assert committed is not None or version is not None
                await _all_accounted_for(one, move)

    async def test_of_many_commits_of_one_move_exactly_one_wins(self, open_catalog: OpenCatalog) -> None:
        async with two_processes(open_catalog) as (one, other):
            for _ in range(ROUNDS):
                first = await _begun(one)
                moves = [first]
                for _ in range(WORKERS - 1):
                    await one.expire_claims()
                    moves.append(await one.copied(await other.claim_move(first.source.content_id)))
                results = await asyncio.gather(
                    *(steps.commit_move(move) for move in moves for steps in (one, other)), return_exceptions=True
                )
                won = [result for result in results if result is not None]
                assert len(won) == 1
                # The latest claim: every earlier one was lost to it.
                assert isinstance(won[0], Committed)
                assert won[0].record.object_key == moves[-1].object_key
                await _all_accounted_for(one, *moves)
                assert len(await one.ledger(first.source.content_id)) == 1

    async def test_a_move_and_its_cancelling_cannot_both_succeed(self, open_catalog: OpenCatalog) -> None:
        async with two_processes(open_catalog) as (one, other):
            for number in range(ROUNDS):
                move = await _begun(one)
                racers: list[Awaitable[object]] = [
                    one.commit_move(move),
                    other.catalog.moves.cancel(move.source.content_id),
                ]
                results = await asyncio.gather(*(racers if number % 2 else reversed(racers)))
                committed, cancelled = results if number % 2 else reversed(results)
                assert (committed is None) == bool(cancelled)
                await _all_accounted_for(one, move)

    async def test_a_copy_is_never_live_and_condemned(self, open_catalog: OpenCatalog) -> None:
        async with two_processes(open_catalog) as (one, other):
            for number in range(ROUNDS):
                move = await _begun(one)
                racers: list[Awaitable[object]] = [
                    one.commit_move(move),
                    other.catalog.intents.withdraw(move.object_key, lease=Seconds(60)),
                ]
                results = await asyncio.gather(*(racers if number % 2 else reversed(racers)))
                committed, condemned = results if number % 2 else reversed(results)
                assert (committed is None) == (condemned is not None)
                live = (await one.existing(move.source.content_id)).object_key
                assert live == (move.source.object_key if committed is None else move.object_key)

    async def test_content_that_expires_while_it_is_copied_ends_all_the_same(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            await steps.put(content_id, tier=WARM, expires_at=later(steps.clock.now(), Seconds(10)))
            early, late = await steps.begin_move(content_id), some_id()
            assert await steps.commit_move(early) is not None
            await steps.put(late, tier=WARM, expires_at=later(steps.clock.now(), Seconds(10)))
            move = await steps.begin_move(late)
            steps.clock.advance(10)
            assert await steps.commit_move(move) is None
            records = steps.catalog.records
            assert sorted(await records.expired(now=steps.clock.now(), limit=10)) == sorted([content_id, late])
            for each in (early, move):
                assert await steps.delete(each.source.content_id, only_expired=True) is not None
                await _all_accounted_for(steps, each)
            assert (await steps.catalog.moves.state()).waiting == 0


async def _begun(steps: Steps) -> CopiedMove:
    content_id = some_id()
    await steps.put(content_id, tier=WARM)
    return await steps.begin_move(content_id, COLD, by_policy=True)


def _version(committed: Committed | None) -> int | None:
    return None if committed is None else committed.record.version


async def _all_accounted_for(steps: Steps, *moves: CopiedMove) -> None:
    """Check that each object is live, or named by one thing that will see to its end; never two of those."""
    content_id = moves[0].source.content_id
    record = await steps.find(content_id)
    queued = Counter(
        row.subject
        for row in await steps.take_all(OutboxKind.DELETE_OBJECT)
        if row.subject.rpartition("/")[0].endswith(content_id)
    )
    live = Counter() if record is None else Counter([record.object_key])
    copies = {move.object_key for move in moves}
    intents = Counter({key: int(await steps.is_named_by_intent(key)) for key in copies})
    named = live + queued + intents
    assert set(named.values()) == {1}, named
    assert set(named) >= copies | {moves[0].source.object_key}
