"""Scrubbing: every object is read and verified again, at a set rate, so that damage is found before a reader does.

A pass goes through the records in id order. Where it has come is kept in the catalog after each small step, large
contents in slices of whole chunks; so restarts and elections go on where others stopped, and no step outlives its
election. A crash repeats one step. Nothing is changed: what is damaged is logged, counted and, as the record still
names it, found again by `fsck`. What is archived is passed over and counted: reading it costs a restore.
"""

import json
from contextlib import aclosing
from dataclasses import dataclass, replace

import structlog

from thermocline.domain.content import Record
from thermocline.domain.content_id import ContentId
from thermocline.domain.digests import CHUNK_BYTES
from thermocline.domain.errors import (
    IntegrityError,
    ObjectArchivedError,
    ObjectMissingError,
    UnavailableError,
    UnsafePathError,
)
from thermocline.domain.units import Bytes, Seconds, Timestamp, elapsed
from thermocline.domain.work import Cursor
from thermocline.ports.clock import Clock
from thermocline.ports.cursors import Cursors
from thermocline.ports.records import Records
from thermocline.services.placements import Placements
from thermocline.services.verifying import stream_verified

log = structlog.get_logger(__name__)

SCRUB = "scrub"
"""The cursor of a pass."""
PERIOD = Seconds(2.0)
"""How often the scrub does a step: each saves its cursor, which costs the catalog a commit."""
LONGEST_STEP = Seconds(10.0)
"""Far below the lease of an election, whatever the rate and however slow the store."""
BURST = Seconds(2 * PERIOD)
"""Of how much time the allowance is kept: one that was not used for an hour is not made up for in a burst."""
MOST_BYTES = Bytes(64 * 2**20)
"""Of one step in one large content."""
OBJECT_COST = Bytes(16 * 2**10)
"""What opening an object counts for beside its bytes: many small ones are no less work for a disk."""
PAGE = 500
ATTEMPTS = 3
"""How often an object that its store cannot read is tried before it counts as damaged."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a pass goes on: after a content, or within the one that comes next."""

    after: str = ""
    object_key: str = ""
    offset: int = 0

    def __str__(self) -> str:
        return json.dumps([self.after, self.object_key, self.offset])

    @classmethod
    def parse(cls, text: str) -> "_Place":
        return cls(*json.loads(text)) if text else cls()


class ScrubbingService:
    """Re-reads everything once every `every`, at most `rate` bytes a second over all processes (one is elected)."""

    def __init__(
        self, records: Records, placements: Placements, cursors: Cursors, clock: Clock, *, rate: Bytes, every: Seconds
    ) -> None:
        self._records = records
        self._placements = placements
        self._cursors = cursors
        self._clock = clock
        self._rate = rate
        self._every = every
        self._allowance = 0.0
        """How many bytes may be read now; below zero after a step that read a little more."""
        self._refilled_at = clock.monotonic()
        self._failed_key = ""
        self._failures = 0
        self.verified = 0
        self.skipped = 0
        self.read_bytes = Bytes(0)
        self.findings = 0

    @property
    def is_on(self) -> bool:
        """Whether the settings want it."""
        return self._rate > 0

    async def state(self) -> Cursor | None:
        """Return how far the present or last pass has come; None before the first."""
        return await self._cursors.load(SCRUB)

    async def run(self) -> int:
        """Do one step; return how many objects, or slices of large ones, it verified (0: it must wait)."""
        if not self.is_on or not self._refill():
            return 0
        cursor = await self._cursors.load(SCRUB)
        now = self._clock.now()
        if cursor is None or cursor.ended_at is not None:
            if cursor is not None and 0 <= elapsed(cursor.begun_at, now) < self._every:
                return 0
            cursor = Cursor("", now)
        steps = 0
        until = self._clock.monotonic() + LONGEST_STEP
        # Expired contents too: until they are deleted somebody may put them on hold.
        page = await self._records.page(
            prefix="", tier=None, after=_Place.parse(cursor.position).after, limit=PAGE, now=Timestamp(0)
        )
        try:
            for listed in page:
                cursor = await self._scrub(listed, cursor)
                steps += 1
                in_the_middle = _Place.parse(cursor.position).offset > 0
                if in_the_middle or self._allowance <= 0 or self._clock.monotonic() >= until:
                    break
            else:
                if len(page) < PAGE:
                    log.info("scrub_ended", verified=cursor.done, skipped=cursor.skipped, findings=cursor.findings)
                    cursor = replace(cursor, position="", ended_at=self._clock.now())
        finally:
            await self._cursors.save(SCRUB, cursor)
        return steps

    def _refill(self) -> bool:
        now = self._clock.monotonic()
        most = max(self._rate * BURST, CHUNK_BYTES)
        self._allowance = min(self._allowance + self._rate * (now - self._refilled_at), most)
        self._refilled_at = now
        return self._allowance > 0

    async def _scrub(self, listed: Record, cursor: Cursor) -> Cursor:
        """Verify one content, or a slice of it; return the cursor behind it."""
        place, passed = _Place.parse(cursor.position), str(_Place(listed.content_id))
        self._allowance -= OBJECT_COST
        record = await self._records.find(listed.content_id)  # with its chunk digests
        if record is None:
            return replace(cursor, position=passed)
        start = place.offset if place.object_key == record.object_key else 0
        end = self._end_of_slice(record, start)
        findings = cursor.findings
        try:
            await self._verify(record, start, end)
        except ObjectArchivedError:
            self.skipped += 1
            return replace(cursor, position=passed, skipped=cursor.skipped + 1)
        except (IntegrityError, ObjectMissingError, UnsafePathError) as exc:
            findings += await self._confirm(record, str(exc))
        except UnavailableError as exc:
            if not await self._is_only_this_object(record):
                raise
            findings += await self._confirm(record, str(exc))
        else:
            if end < record.size:
                return replace(cursor, position=str(_Place(place.after, record.object_key, end)))
        self.verified += 1
        return replace(cursor, position=passed, done=cursor.done + 1, findings=findings)

    def _end_of_slice(self, record: Record, start: int) -> int:
        if not record.chunk_digests:
            return record.size  # nothing to verify a part of it by
        chunks = max(int(min(self._allowance, MOST_BYTES)) // CHUNK_BYTES, 1)
        return min(start + chunks * CHUNK_BYTES, record.size)

    async def _verify(self, record: Record, start: int, end: int) -> None:
        store = self._placements.named(record.placement).store
        if not record.size:
            if await store.head(record.object_key) is None:
                raise ObjectMissingError(record.object_key)
            return
        async with aclosing(stream_verified(store, record, start, end)) as chunks:
            async for chunk in chunks:
                self._allowance -= len(chunk)
                self.read_bytes = Bytes(self.read_bytes + len(chunk))

    async def _is_only_this_object(self, record: Record) -> bool:
        """Whether the store answers, but has failed to read this object often enough."""
        store = self._placements.named(record.placement).store
        await store.head(record.object_key)  # raises if the store as a whole does not answer
        if self._failed_key != record.object_key:
            self._failed_key, self._failures = record.object_key, 0
        self._failures += 1
        return self._failures >= ATTEMPTS

    async def _confirm(self, record: Record, detail: str) -> int:
        """Count and log a finding, unless the content has moved on meanwhile; how many."""
        current = await self._records.find(ContentId(record.content_id))
        if current is None or current.object_key != record.object_key:
            return 0
        self.findings += 1
        log.error("scrub_found_damage", content_id=record.content_id, object_key=record.object_key, detail=detail)
        return 1
