"""Laws of `Totals`."""
# ruff: noqa: D102 - the name of a test states its law

from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Bytes, Timestamp
from thermocline.domain.work import QuarantineTotals, TierTotals
from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.steps import PLACEMENT, OpenCatalog, new_key, one_process, some_id


class TotalsContract(CatalogContract):
    """Laws of `Totals`."""

    async def test_every_tier_tells_what_is_live_in_it(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            totals = steps.catalog.totals
            assert await totals.tiers() == [TierTotals(tier, 0, Bytes(0)) for tier in StorageTier]
            overwritten, deleted = some_id(), some_id()
            await steps.put(some_id(), b"12345", tier=StorageTier.COLD)
            await steps.put(some_id(), b"", tier=StorageTier.COLD)
            for content_id in (overwritten, deleted):
                await steps.put(content_id, b"123", tier=StorageTier.HOT)
            await steps.put(overwritten, b"1234567", tier=StorageTier.WARM)
            await steps.delete(deleted)
            assert {tier.tier: (tier.count, tier.size) for tier in await totals.tiers()} == {
                StorageTier.HOT: (0, 0),
                StorageTier.WARM: (1, 7),
                StorageTier.COLD: (2, 5),
                StorageTier.ARCHIVE: (0, 0),
            }

    async def test_sums_are_larger_than_32_bits(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            for _ in range(2):
                await steps.put(some_id(), size=Bytes(5 * 2**40), tier=StorageTier.ARCHIVE)
            archive = (await steps.catalog.totals.tiers())[-1]
            assert archive == TierTotals(StorageTier.ARCHIVE, 2, Bytes(10 * 2**40))

    async def test_quarantine_is_counted_until_it_is_empty(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            totals, sweeps = steps.catalog.totals, steps.catalog.sweeps
            assert await totals.quarantine() == QuarantineTotals(0, None)
            keys = [new_key(some_id()) for _ in range(2)]
            for moment, key in enumerate(keys, start=5):
                await sweeps.quarantine_unnamed([key], placement=PLACEMENT, delete_at=Timestamp(moment))
            assert await totals.quarantine() == QuarantineTotals(2, Timestamp(5))
            await sweeps.release(keys)
            assert await totals.quarantine() == QuarantineTotals(0, None)
