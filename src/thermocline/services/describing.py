"""Describing content: its record, how it is read, its restore and its planned move, as people ask for it."""

from dataclasses import replace

from thermocline.domain.content import Record
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import ContentNotFoundError
from thermocline.domain.restores import ARCHIVED
from thermocline.ports.clock import Clock
from thermocline.ports.records import Records
from thermocline.services.restoring import RestoringService


class DescribingService:
    """What is known of contents; costs more than what a read needs to know."""

    def __init__(self, records: Records, restoring: RestoringService, clock: Clock) -> None:
        self._records = records
        self._restoring = restoring
        self._clock = clock

    async def describe(self, content_id: ContentId) -> Record:
        """Return the record with all that belongs to it. Raises `ContentNotFoundError`."""
        now = self._clock.now()
        record = await self._records.describe(content_id, now=now)
        if record is None or not record.is_alive(now):
            raise ContentNotFoundError(content_id)
        if not self._restoring.needs_restore(record):
            return replace(record, restore=None)
        return record if record.restore is not None else replace(record, restore=ARCHIVED)
