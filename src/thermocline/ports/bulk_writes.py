"""Many writes that share their transactions: what they cost, and nothing else, differs from single ones."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

from thermocline.domain.errors import StorageError
from thermocline.domain.units import Seconds, Timestamp
from thermocline.ports.records import Committed, Write


class BulkWrites(Protocol):
    """The catalog's part of writing many small contents. Both methods are one transaction, all or nothing."""

    @abstractmethod
    async def declare(self, object_keys: Sequence[str], placement: str, *, lease: Seconds) -> None:
        """Durably name objects that are about to be uploaded, as `Intents.declare` does for one."""

    @abstractmethod
    async def commit(
        self, writes: Sequence[Write], *, now: Timestamp, delete_at: Timestamp, evict_at: Timestamp
    ) -> Sequence[Committed | StorageError]:
        """Switch each record to its new object, as `Records.commit_write` does for one; answers are in the same order.

        A write that is refused (`PreconditionFailedError`, `ContentHeldError`, `IntentLostError`) has no effect and is
        answered with its error; the others are committed. Raises `UnavailableError`, also if a content is created by
        somebody else meanwhile: then none is. No two writes may be of one content (`ValueError`).
        """
