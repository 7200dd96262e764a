"""`PlannedMoves` in SQL."""

from collections.abc import Mapping, Sequence

from sqlalchemy import select

from thermocline.adapters.catalog.dialects import is_listed, texts_parameter
from thermocline.adapters.catalog.schema import moves
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Runner
from thermocline.domain.content_id import ContentId
from thermocline.domain.moves import PlannedMove
from thermocline.domain.tiers import StorageTier
from thermocline.ports.planned_moves import PlannedMoves

AMONG = Statement(
    select(moves.c.content_id, moves.c.tier, moves.c.reason, moves.c.by_policy).where(
        is_listed(moves.c.content_id, "content_ids")
    )
)


class SqlPlannedMoves(PlannedMoves):
    """Rows of the table `moves`."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def among(self, content_ids: Sequence[ContentId]) -> Mapping[ContentId, PlannedMove]:
        """Return the plan of each of these contents that has one, without its forecast."""
        if not content_ids:
            return {}
        listed = {"content_ids": texts_parameter(sorted(content_ids))}
        rows = await self._runner.read(lambda connection: connection.all(AMONG, listed))
        return {
            ContentId(row[0]): PlannedMove(ContentId(row[0]), StorageTier(row[1]), row[2], bool(row[3])) for row in rows
        }
