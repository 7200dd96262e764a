"""Laws of `PlannedMoves`."""
# ruff: noqa: D102 - the name of a test states its law

from thermocline.domain.moves import PlannedMove
from thermocline.domain.tiers import StorageTier
from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.steps import OpenCatalog, one_process, some_id

HOT, WARM, COLD, ARCHIVE = StorageTier


class PlannedMovesContract(CatalogContract):
    """Laws of `PlannedMoves`."""

    async def test_those_that_are_planned_are_told_as_they_are(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            asked, by_policy, unplanned, made, unasked = (some_id() for _ in range(5))
            for content_id in (asked, by_policy, unplanned, made, unasked):
                await steps.put(content_id)
            await steps.plan(asked, COLD, reason="please")
            await steps.plan(by_policy, ARCHIVE, reason="cheaper", by_policy=True)
            await steps.plan(unasked, COLD)
            await steps.plan(made, COLD)
            await steps.catalog.moves.cancel(made)
            planned = steps.catalog.planned
            found = await planned.among([by_policy, unplanned, made, some_id(), asked])
            assert found == {
                asked: PlannedMove(asked, COLD, "please"),
                by_policy: PlannedMove(by_policy, ARCHIVE, "cheaper", by_policy=True),
            }
            # A claim changes nothing about it, and neither does giving it up.
            for claim in await steps.claim_moves():
                assert claim.plan.content_id in await planned.among([claim.plan.content_id])
                await steps.catalog.moves.postpone(claim, due_at=None, reason="x")
            assert set(await planned.among([asked, by_policy])) == {asked, by_policy}
            assert await planned.among([]) == {}
