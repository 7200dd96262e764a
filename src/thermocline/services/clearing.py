"""Deleting everything under a prefix: each content as `services.deleting` does, some at once.

Records are gone through in the order of their ids, page by page; what is stored meanwhile may or may not be deleted.
An interrupt lets the deletions under way come to their end; the same call again goes on.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from thermocline.domain.content import Record
from thermocline.domain.errors import StorageError
from thermocline.domain.units import Bytes
from thermocline.services.deleting import DeletingService
from thermocline.services.fanning_out import FanOut
from thermocline.services.importing import DEFAULT_JOBS
from thermocline.services.listing import MAX_PAGE, ListingService

MOST_KEPT = 1000
"""So many are listed; the count goes on."""


@dataclass(frozen=True, slots=True)
class KeptContent:
    """A content that was not deleted, and why."""

    content_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class ClearReport:
    """What was deleted, or would be."""

    deleted: int
    deleted_bytes: Bytes
    kept: int
    """Held, or what could not be deleted."""
    problems: tuple[KeptContent, ...]
    """The first 1000 of those kept."""
    dry_run: bool
    stopped_by: StorageError | None
    """What ended the work early."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left."""
        return self.stopped_by is None and not self.kept

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON-ready values."""
        return {
            "deleted": self.deleted,
            "deleted_bytes": self.deleted_bytes,
            "kept": self.kept,
            "dry_run": self.dry_run,
            "problems": [{"content_id": kept.content_id, "reason": kept.reason} for kept in self.problems],
            "stopped": None if self.stopped_by is None else str(self.stopped_by),
            "complete": self.is_complete,
        }


class ClearingService:
    """Deletes by prefix; safe to repeat, and to interrupt anywhere."""

    def __init__(self, listing: ListingService, deleting: DeletingService) -> None:
        self.listing = listing
        self.deleting = deleting

    async def run(
        self,
        prefix: str,
        *,
        erase: bool = False,
        dry_run: bool = False,
        progress: Callable[[Record], None] | None = None,
    ) -> ClearReport:
        """Delete every content whose id starts with `prefix`; `erase` also takes their bytes without grace.

        `progress` hears of each content once it is deleted, or would be. Held contents are kept and reported.
        """
        return await _Clearing(self, prefix, progress, erase=erase, dry_run=dry_run).run()


class _Clearing:
    """One run."""

    def __init__(
        self,
        service: ClearingService,
        prefix: str,
        progress: Callable[[Record], None] | None,
        *,
        erase: bool,
        dry_run: bool,
    ) -> None:
        self._service = service
        self._prefix = prefix
        self._progress = progress
        self._erase = erase
        self._dry_run = dry_run
        self._fan: FanOut[Record] = FanOut(DEFAULT_JOBS)
        self._deleted = self._deleted_bytes = self._kept = 0
        self._problems: list[KeptContent] = []
        self._stopped_by: StorageError | None = None

    async def run(self) -> ClearReport:
        async with aclosing(self._pages()) as pages:
            await self._fan.run(pages, self._work)
        return ClearReport(
            deleted=self._deleted,
            deleted_bytes=Bytes(self._deleted_bytes),
            kept=self._kept,
            problems=tuple(self._problems),
            dry_run=self._dry_run,
            stopped_by=self._stopped_by,
        )

    async def _pages(self) -> AsyncGenerator[Sequence[Record]]:
        cursor: str | None = None
        while True:
            page = await self._service.listing.page(prefix=self._prefix, limit=MAX_PAGE, cursor=cursor)
            yield page.records
            cursor = page.next_cursor
            if cursor is None:
                return

    async def _work(self, record: Record) -> None:
        try:
            if self._dry_run:
                gone = not record.held
                if not gone:
                    self._keep(record, "it is on hold")
            elif self._erase:
                gone = (await self._service.deleting.erase(record.content_id)).existed
            else:
                gone = await self._service.deleting.delete(record.content_id)
        except StorageError as exc:
            if exc.retryable:
                self._stopped_by = self._stopped_by or exc
                self._fan.stop()
            else:
                self._keep(record, str(exc))
            return
        if gone:
            self._deleted += 1
            self._deleted_bytes += record.size
            if self._progress is not None:
                self._progress(record)

    def _keep(self, record: Record, reason: str) -> None:
        self._kept += 1
        if len(self._problems) < MOST_KEPT:
            self._problems.append(KeptContent(record.content_id, reason))
