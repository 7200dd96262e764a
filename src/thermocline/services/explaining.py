"""Explaining where a content is: why, what would change that, and what it costs a month here and elsewhere.

What would change it is found by deciding again, as if days of silence had passed or reads had come. Nothing is changed.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from thermocline.domain.content_id import ContentId
from thermocline.ports.clock import Clock
from thermocline.ports.columns import ColumnChunk, Columns
from thermocline.ports.moves import Moves
from thermocline.services.describing import DescribingService
from thermocline.services.explanations import Explanation

if TYPE_CHECKING:
    from thermocline.services.chunk_decisions import Decider

SEARCH_CHUNK: Final = 16


class ExplainingService:
    """Answers for single contents what the policy would answer for all."""

    def __init__(
        self,
        columns: Columns,
        moves: Moves,
        describing: DescribingService,
        clock: Clock,
        decider: "Callable[[], Awaitable[Decider]]",
    ) -> None:
        self._columns = columns
        self._moves = moves
        self._describing = describing
        self._clock = clock
        self._decider = decider

    async def explain(self, content_id: ContentId) -> Explanation:
        """Return why the content has its tier, and what would change that. Raises `ContentNotFoundError`."""
        record = await self._describing.describe(content_id)
        decider = await self._decider()
        from thermocline.services.single_decisions import decide_on_one  # imported with the decider, in a thread

        entries = await self._moves.ledger(content_id=content_id, limit=1)
        chunk = await self._chunk_with(content_id, decider.bounds_of(content_id)[0])
        found = (
            None
            if chunk is None
            else await asyncio.to_thread(decide_on_one, decider, chunk, content_id, self._clock.now())
        )
        return Explanation(
            record,
            decider.policy,
            decider.note,
            entries[0] if entries else None,
            None if found is None else found.verdict,
            () if found is None else found.turns,
            () if found is None else found.costs,
            0.0 if found is None else found.expected_reads_per_month,
        )

    async def _chunk_with(self, content_id: str, after: str) -> ColumnChunk | None:
        """Return the chunk that has the content; None if it is gone."""
        async with aclosing(
            self._columns.sweep(now=self._clock.now(), after=after, until=content_id, chunk=SEARCH_CHUNK)
        ) as chunks:
            async for chunk in chunks:
                if chunk.last == content_id:
                    return chunk
        return None
