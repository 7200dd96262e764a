"""What is planned for some contents: who decides about many asks before it plans."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Protocol

from thermocline.domain.content_id import ContentId
from thermocline.domain.moves import PlannedMove


class PlannedMoves(Protocol):
    """A look at the plans of `Moves`."""

    @abstractmethod
    async def among(self, content_ids: Sequence[ContentId]) -> Mapping[ContentId, PlannedMove]:
        """Return the plan of each of these contents that has one, without its forecast."""
