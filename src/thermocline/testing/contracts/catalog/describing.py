"""Laws of `Records.describe`."""
# ruff: noqa: D102 - the name of a test states its law

from dataclasses import replace

from thermocline.domain.heat import AccessCount
from thermocline.domain.moves import MoveStatus
from thermocline.domain.restores import RestoreStage
from thermocline.domain.tiers import StorageTier
from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.restores import wanted
from thermocline.testing.contracts.catalog.steps import LEASE, OpenCatalog, one_process, some_id

HOT, WARM, COLD, ARCHIVE = StorageTier


class DescribingContract(CatalogContract):
    """Laws of `Records.describe`."""

    async def test_what_is_not_there_is_not_described(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            assert await steps.catalog.records.describe(content_id, now=steps.clock.now()) is None
            await steps.put(content_id)
            await steps.delete(content_id)
            assert await steps.catalog.records.describe(content_id, now=steps.clock.now()) is None

    async def test_a_description_adds_to_what_is_found(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id, now = some_id(), steps.clock.now()
            await steps.put(content_id, metadata={"a": 1}, chunk_digests=b"c" * 64)
            record = await steps.existing(content_id)
            described = await steps.catalog.records.describe(content_id, now=now)
            assert described is not None
            assert (described.restore, described.move) == (None, None)
            assert described.access is not None
            assert (described.access.reads_total, described.access.last_read_at) == (0, None)
            assert replace(described, access=None) == record
            assert await steps.plan(content_id, ARCHIVE, reason="why")
            await steps.catalog.restores.request(wanted(record), now=now, lease=LEASE, daily_budget=None)
            await steps.catalog.accesses.add([AccessCount(content_id, cache=2, storage=3)], now=now)
            described = await steps.catalog.records.describe(content_id, now=now)
            assert described is not None
            assert described.move == MoveStatus(ARCHIVE, "why", now, now, 0, None)
            assert described.restore is not None
            assert described.restore.stage is RestoreStage.REQUESTED
            assert described.access is not None
            assert (described.access.reads_total, described.access.last_read_at) == (5, now)
            # None of it is a change of the content.
            assert await steps.existing(content_id) == record

    async def test_a_restore_of_a_replaced_object_is_not_the_contents(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id, now = some_id(), steps.clock.now()
            record = (await steps.put(content_id)).record
            await steps.catalog.restores.request(wanted(record), now=now, lease=LEASE, daily_budget=None)
            await steps.put(content_id)
            described = await steps.catalog.records.describe(content_id, now=now)
            assert described is not None
            assert described.restore is None
