"""`Totals` in SQL."""

from collections.abc import Sequence

from sqlalchemy import func, select

from thermocline.adapters.catalog.record_rows import as_timestamp
from thermocline.adapters.catalog.schema import contents, is_live, quarantine
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Runner
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Bytes
from thermocline.domain.work import QuarantineTotals, TierTotals
from thermocline.ports.totals import Totals

TIERS = Statement(
    select(contents.c.tier, func.count(), func.sum(contents.c.size)).where(is_live).group_by(contents.c.tier)
)
QUARANTINE = Statement(select(func.count(), func.min(quarantine.c.delete_at)).select_from(quarantine))


class SqlTotals(Totals):
    """Sums over the index `ix_contents_tier`, which has the sizes for this, and over the table `quarantine`."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def tiers(self) -> Sequence[TierTotals]:
        """Return how much live content each tier has, for every tier."""
        rows = await self._runner.read(lambda connection: connection.all(TIERS, {}))
        found = {row[0]: row for row in rows}
        return [
            TierTotals(tier, int(found[tier.value][1]), Bytes(int(found[tier.value][2])))
            if tier.value in found
            else TierTotals(tier, 0, Bytes(0))
            for tier in StorageTier
        ]

    async def quarantine(self) -> QuarantineTotals:
        """Return how many objects wait in quarantine."""
        row = await self._runner.read(lambda connection: connection.first(QUARANTINE, {}))
        return QuarantineTotals(row[0], as_timestamp(row[1])) if row else QuarantineTotals(0, None)
