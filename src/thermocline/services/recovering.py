"""Whether the catalog is a restored backup, and what that forbids until somebody confirms it.

While a catalog recovers, the stores know more than it does: objects of contents that were written after the backup
are unknown to it. So nothing is deleted by itself: no sweep, no emptying of the quarantine, no queued deletion, no
expiry, and no forgetting of deletions, which tell what is older. Users go on reading, writing, deleting and erasing;
what their deletions promise waits. The catalog itself says so, in a flag that every backup carries: who copies a
backup into place by hand is under the same rules. The flag is never set on a catalog in use, so whoever has asked
and was told "no" needs no lock.

It ends when a person says so, and not before the stores were looked through (`services.adopting`).
"""

import structlog

from thermocline.domain.errors import StorageError
from thermocline.ports.cursors import Cursors
from thermocline.ports.recovery import Recovery

log = structlog.get_logger(__name__)

ADOPTION = "adoption"
"""The cursor of looking through the stores."""
PAUSED_JOBS = ("delete_objects", "expire", "forget_tombstones", "empty_quarantine", "sweep_orphans", "share_sweeps")
ADVICE = (
    "the catalog is a restored backup: nothing is deleted until you run 'thermocline fsck --repair' and then "
    "'thermocline fsck --sweep --confirm'"
)


class RecoveringService:
    """Asks the catalog each time: fails closed, and hears at once of a confirmation elsewhere."""

    def __init__(self, recovery: Recovery, cursors: Cursors) -> None:
        self._recovery = recovery
        self._cursors = cursors

    async def is_recovering(self) -> bool:
        """Whether deletions must wait."""
        return await self._recovery.is_recovering()

    async def confirm(self) -> bool:
        """End the recovery; whether there was one. Raises `StorageError` if the stores were not looked through."""
        if not await self._recovery.is_recovering():
            return False
        looked = await self._cursors.load(ADOPTION)
        if looked is None or looked.ended_at is None:
            raise StorageError(
                "the catalog is a restored backup, and its stores were not yet looked through to their end; run "
                "'thermocline fsck --repair' first; nothing was swept"
            )
        confirmed = await self._recovery.confirm()
        log.info("recovery_confirmed")
        return confirmed
