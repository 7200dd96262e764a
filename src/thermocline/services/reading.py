"""Reading content: memory, then the shared cache if there is one, then the catalog, then the object store.

1. Look in memory. 2. Miss: take the lease of memory, then look in the shared cache. 3. Miss: take its lease too, or
wait for what another process fills (`sharing`); then read the record. 4. Fetch and verify; misses for one content
coalesce. 5. Offer the bytes to the caches under the leases. What is never cached (COLD, ARCHIVE) takes no shared lease:
so the record is looked at before, and read again under it.

Content in an archive class is refused with the time at which it may be readable (`ContentArchivedError`); reading it
asks for its restore if the caller has the right to change it. The store's refusal is the truth, not our records.

An object that is gone raced an overwrite or a move: the record is re-read once, past every cache. If it still
names the missing object, that is damage (`IntegrityError`), never "not found". Reads never write (I6).

What is no longer fresh is kept for a while: if its record still is the same, storage need not be read again; if catalog
or storage do not answer, it is served as it is, up to a stated age.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress

from thermocline.domain.cache_types import content_key
from thermocline.domain.content import Record, Visibility
from thermocline.domain.content_id import ContentId
from thermocline.domain.digests import CHUNK_BYTES, Buffer
from thermocline.domain.errors import (
    ConfigurationError,
    ContentArchivedError,
    ContentNotFoundError,
    ContentTooLargeError,
    IntegrityError,
    ObjectArchivedError,
    ObjectMissingError,
    RestoreBudgetError,
    UnavailableError,
)
from thermocline.domain.restores import RestoreStage
from thermocline.domain.units import Bytes, Seconds
from thermocline.ports.cache import CacheEntry
from thermocline.ports.clock import Clock
from thermocline.ports.records import Records
from thermocline.services.absences import Absences
from thermocline.services.admission import MemoryBudget
from thermocline.services.caching import ContentCache
from thermocline.services.loaded import Loaded, loaded_from
from thermocline.services.open_contents import OpenContent, resolve_range
from thermocline.services.placements import Placements
from thermocline.services.restoring import RestoringService
from thermocline.services.sharing import SharedCache
from thermocline.services.tracking import AccessTracker, ReadKind
from thermocline.services.turns import AT_ONCE, Turns
from thermocline.services.verifying import anext_or_none, fetch_verified, stream_verified

NO_WAIT = Seconds(0.0)
STREAM_CHUNKS = 2
"""Chunks that a stream holds at least: one being sent, one being read."""


class ReadingService:
    """Reads of contents; every byte given out was verified."""

    def __init__(
        self,
        records: Records,
        placements: Placements,
        cache: ContentCache,
        memory: MemoryBudget,
        tracker: AccessTracker,
        restoring: RestoringService,
        clock: Clock,
        *,
        max_buffered: Bytes,
    ) -> None:
        self._records = records
        self._placements = placements
        self._cache = cache
        self._memory = memory
        self._tracker = tracker
        self._restoring = restoring
        self._clock = clock
        self._max_buffered = max_buffered
        self.damaged = 0
        self.revived = 0
        """Reads whose bytes were cached, no longer fresh, but still those of the record."""

    def hit(self, content_id: str) -> CacheEntry | None:
        """Return the content from memory, counted as a read, or None, counted as a miss."""
        value = self._cache.held.meet(content_id)
        if value is None:
            self._cache.held.misses += 1
            return None
        value.hits += 1  # of which the tracker hears: it listens to what memory holds
        return value.entry

    async def look(self, content_id: ContentId) -> Loaded | None:
        """Return the content from the caches, asking the shared one too, counted as a read; or None."""
        if self._cache.shared is None:
            return None
        found = await self._cache.find(content_id)
        if found is None:
            return None
        expires_at = found.entry.expires_at
        if expires_at is not None and self._clock.now() >= expires_at:
            return None
        loaded = loaded_from(found)
        self.note(content_id, loaded)
        return loaded

    async def stat(self, content_id: ContentId) -> Record:
        """Return the current record. Raises `ContentNotFoundError`."""
        record = await self._records.find(content_id)
        if record is None or not record.is_alive(self._clock.now()):
            raise ContentNotFoundError(content_id)
        return record

    def check_absence(self, content_id: ContentId, *, by_stranger: bool = False) -> None:
        """Return unless it was learnt a moment ago that there is no such content. Raises `ContentNotFoundError`.

        To a stranger private content is not there, and is said to be so as fast.
        """
        if self._absences(by_stranger=by_stranger).knows(content_id):
            raise ContentNotFoundError(content_id)

    async def find(self, content_id: ContentId, *, by_stranger: bool = False) -> Record:
        """Return the record for a read of the content; that there is none may have been learnt a moment ago.

        Raises `ContentNotFoundError`, and to a stranger for private content.
        """
        self.check_absence(content_id, by_stranger=by_stranger)
        absences = self._absences(by_stranger=by_stranger)
        mark = absences.mark()
        record = await self._records.find(content_id)
        is_there = record is not None and record.is_alive(self._clock.now())
        if record is None or not is_there or (by_stranger and record.visibility is not Visibility.PUBLIC):
            absences.note(content_id, mark)
            raise ContentNotFoundError(content_id)
        return record

    def _absences(self, *, by_stranger: bool) -> Absences:
        return self._cache.hidden if by_stranger else self._cache.absences

    async def stale(self, content_id: ContentId) -> Loaded | None:
        """Return the content as it is cached, fresh or not, counted as a read; for when storage does not answer."""
        loaded = await self._cache.stale(content_id)
        if loaded is not None:
            self.note(content_id, loaded)
        return loaded

    async def retrieve(
        self, content_id: ContentId, *, may_restore: bool = False, wait: Seconds = NO_WAIT
    ) -> CacheEntry:
        """Return the whole content, verified; raises what `load` does."""
        return (await self.load(content_id, may_restore=may_restore, wait=wait)).entry

    async def load(
        self,
        content_id: ContentId,
        *,
        may_restore: bool = False,
        wait: Seconds = NO_WAIT,
        known: Record | None = None,
    ) -> Loaded:
        """Return the whole content, verified, and what served it.

        `known` is its record as it was a moment ago, of a caller that has looked into the caches before.

        Raises `ContentNotFoundError`, `IntegrityError`, `ContentTooLargeError`, `ContentArchivedError`; with
        `may_restore` (the caller may change the content) its restore is then on its way, and is waited for if it
        comes within `wait`; whoever waits is told `RestoreBudgetError` where that is why it is not.
        """
        deadline, waited_for = self._clock.monotonic() + wait, None
        while True:
            try:
                return await self._retrieve(content_id, known, may_restore=may_restore)
            except ContentArchivedError:
                remaining = Seconds(deadline - self._clock.monotonic())
                if remaining <= 0 or not may_restore:
                    raise
                record = await self.stat(content_id)
                # Refused again although it arrived: more waiting would not help, unless it was overwritten meanwhile.
                if record.object_key == waited_for:
                    raise
            waited_for = record.object_key
            await self._restoring.wait(record, within=remaining, refused=True)

    async def _retrieve(self, content_id: ContentId, known: Record | None, *, may_restore: bool) -> Loaded:
        entry = self.hit(content_id)
        if entry is not None:
            return Loaded(entry, ReadKind.MEMORY)
        if known is None and (loaded := await self.look(content_id)) is not None:
            return loaded
        joined = content_id in self._cache.flights
        try:
            loaded = await self.bring(content_id, known)
        except ObjectArchivedError as exc:
            raise await self._archived(content_id, exc, may_restore=may_restore) from exc
        except UnavailableError:
            stale = await self.stale(content_id)
            if stale is None:
                raise
            return stale
        self.note(content_id, loaded._replace(kind=ReadKind.MEMORY) if joined else loaded)
        return loaded

    def note(self, content_id: ContentId, loaded: Loaded) -> None:
        """Count a read by what served it, and what storage did not have to."""
        self._tracker.note(content_id, loaded.kind)
        if loaded.kind is ReadKind.REDIS:
            self._cache.shared_bytes += len(loaded.entry.payload)
        elif loaded.kind is ReadKind.MEMORY:
            self._cache.memory_bytes += len(loaded.entry.payload)

    async def bring(self, content_id: ContentId, known: Record | None, turns: Turns = AT_ONCE) -> Loaded:
        """Read the content into the caches, together with all who read it now; it counts as no read.

        What comes from a store is read when there is a turn for it. Raises as `load`, but `ObjectArchivedError` for an
        object that must be restored first.
        """
        flight = self._cache.flights.get(content_id)
        if flight is None:
            flight = asyncio.get_running_loop().create_task(self._load(content_id, known, turns))
            self._cache.flights[content_id] = flight
            flight.add_done_callback(lambda done: self._land(content_id, done))
        # Shielded: one impatient reader must not cancel the read that others wait for.
        loaded = await asyncio.shield(flight)
        expires_at = loaded.entry.expires_at
        if expires_at is not None and self._clock.now() >= expires_at:
            raise ContentNotFoundError(content_id)  # it ended while the read was under way
        return loaded

    def _land(self, content_id: str, flight: asyncio.Task[Loaded]) -> None:
        if self._cache.flights.get(content_id) is flight:
            del self._cache.flights[content_id]
        if not flight.cancelled():
            flight.exception()  # seen, also when every reader has left

    def is_buffered(self, record: Record) -> bool:
        """Whether whole reads of this content are best done by `retrieve` (cached, coalesced) rather than `open`."""
        return record.size <= CHUNK_BYTES or self._cache.is_cacheable(record)

    @asynccontextmanager
    async def open(
        self, content_id: ContentId, start: int = 0, end: int | None = None, *, may_restore: bool = False
    ) -> AsyncIterator[OpenContent]:
        """Open the bytes `[start, end)`, cut to the content's end; memory stays bounded whatever the size.

        The first chunk is read and verified before the block is entered.
        Raises `ContentNotFoundError`, `IntegrityError`, `InvalidRangeError` (no byte lies in the range),
        `ContentArchivedError` as `retrieve` does.
        """
        opened, content = await self._begin(content_id, start, end, may_restore=may_restore)
        try:
            yield content
        finally:
            await opened.__aexit__(None, None, None)

    async def _begin(
        self, content_id: ContentId, start: int, end: int | None, *, may_restore: bool
    ) -> tuple[AbstractAsyncContextManager[OpenContent], OpenContent]:
        record = await self.stat(content_id)
        try:
            opened = self._open_record(record, start, end)
            content = await opened.__aenter__()
        except ObjectMissingError:
            record = await self._reread(record)
            opened = self._open_record(record, start, end)
            try:
                content = await opened.__aenter__()
            except ObjectMissingError as exc:
                raise self._missing(record) from exc
            except ObjectArchivedError as exc:
                raise await self._archived(content_id, exc, may_restore=may_restore) from exc
        except ObjectArchivedError as exc:
            raise await self._archived(content_id, exc, may_restore=may_restore) from exc
        return opened, content

    async def _archived(
        self, content_id: ContentId, refused: ObjectArchivedError, *, may_restore: bool
    ) -> ContentArchivedError:
        """Return what tells the caller when to come back, after asking for the restore if that is the caller's right.

        A budget that is spent refuses the restore, not the answer.
        """
        record = await self.stat(content_id)
        if record.object_key != refused.key:
            return ContentArchivedError(content_id, eta=self._clock.now())  # moved or replaced since: come back at once
        if not self._restoring.needs_restore(record):
            where = record.placement
            raise ConfigurationError(
                f"objects of the placement {where!r} must be restored before they are read, but the settings do not "
                f"say how; add [placements.{where}.restore] again"
            )
        status = await self._restoring.status(record)
        if may_restore and self._restoring.policy.on_read and status.stage is not RestoreStage.REQUESTED:
            with suppress(RestoreBudgetError):
                status = await self._restoring.request(record, refused=True)
        # Readable by now, though it was refused a moment ago: come back at once.
        eta = self._clock.now() if status.stage is RestoreStage.READABLE else status.eta
        return ContentArchivedError(content_id, eta=eta)

    @asynccontextmanager
    async def _open_record(self, record: Record, start: int, end: int | None) -> AsyncIterator[OpenContent]:
        first, last = resolve_range(record.size, start, end)
        store = self._placements.named(record.placement).store
        async with self._memory.grant(min(STREAM_CHUNKS * CHUNK_BYTES, max(last - first, 1))):
            stream = stream_verified(store, record, first, last)
            async with aclosing(stream):
                try:
                    head = await anext_or_none(stream)
                except IntegrityError:
                    self.damaged += 1
                    raise
                self._tracker.note(record.content_id, ReadKind.STORAGE)
                async with aclosing(self._from(head, stream)) as chunks:
                    yield OpenContent(record, first, last, chunks)

    async def _from(self, head: Buffer | None, rest: AsyncIterator[Buffer]) -> AsyncGenerator[Buffer]:
        if head is not None:
            yield head
        try:
            async for chunk in rest:
                yield chunk
        except IntegrityError:
            self.damaged += 1
            raise

    async def _load(self, content_id: ContentId, known: Record | None, turns: Turns) -> Loaded:
        shared = self._cache.shared
        if shared is not None:
            return await self._load_shared(shared, content_id, known, turns)
        token = await self._cache.begin_fill(content_id)
        began = self._clock.monotonic()
        try:
            record, payload, kind = await self._read_source(content_id, turns)
        except BaseException:
            if token is not None:
                await self._cache.give_up_fill(content_id, token)
            raise
        if token is None:
            return Loaded(self._cache.entry_of(record, payload), kind)
        cost = Seconds(self._clock.monotonic() - began)
        return Loaded(await self._cache.fill(token, record, payload, fetch_cost=cost, by_miss=True), kind)

    async def _load_shared(
        self, shared: SharedCache, content_id: ContentId, known: Record | None, turns: Turns
    ) -> Loaded:
        token = self._cache.new_token()
        await self._cache.lease_memory(content_id, token)
        turn: CacheEntry | bool = False
        try:
            seen = known or await self.find(content_id)
            if self._cache.is_cacheable(seen):
                turn = await shared.take_turn(content_key(content_id), token)
            if isinstance(turn, CacheEntry):
                await self._cache.keep(content_id, token, turn)
                return Loaded(turn, ReadKind.REDIS)
            began = self._clock.monotonic()
            if turn:
                async with shared.keeping(content_key(content_id), token):
                    record, payload, kind = await self._read_source(content_id, turns)
            else:
                record, payload, kind = await self._read_source(content_id, turns)
        except BaseException:
            await self._cache.give_up_fill(content_id, token, shared=turn is True)
            raise
        cost = Seconds(self._clock.monotonic() - began)
        entry = await self._cache.fill(token, record, payload, shared=turn, fetch_cost=cost, by_miss=True)
        return Loaded(entry, kind)

    async def _read_source(self, content_id: ContentId, turns: Turns) -> tuple[Record, bytes, ReadKind]:
        """Return the record and its verified bytes, of this moment or later, and what had the bytes."""
        record = await self.find(content_id)
        held = await self._cache.held_bytes(record)
        if held is not None:
            self.revived += 1
            return record, held, ReadKind.MEMORY
        try:
            return record, await self._fetch(record, turns), ReadKind.STORAGE
        except ObjectMissingError:
            record = await self._reread(record)
            try:
                return record, await self._fetch(record, turns), ReadKind.STORAGE
            except ObjectMissingError as exc:
                raise self._missing(record) from exc

    async def _fetch(self, record: Record, turns: Turns) -> bytes:
        if record.size > self._max_buffered:
            raise ContentTooLargeError(
                f"content {record.content_id!r} has {record.size} bytes, more than the {self._max_buffered} that are "
                "read into memory at once; use open_content to stream it, or raise [limits] max_buffered"
            )
        store = self._placements.named(record.placement).store
        async with turns, self._memory.grant(record.size):
            try:
                return await fetch_verified(store, record)
            except IntegrityError:
                self.damaged += 1
                raise

    async def _reread(self, record: Record) -> Record:
        """Return the record that replaced `record`; raises `IntegrityError` if it still names the missing object."""
        current = await self.stat(record.content_id)
        if current.object_key == record.object_key:
            raise self._missing(record)
        return current

    def _missing(self, record: Record) -> IntegrityError:
        self.damaged += 1
        return IntegrityError(record.content_id, object_key=record.object_key, detail="its object is missing")
