"""Importing a tree of files: each becomes a content, with its type and its time.

1. Walk the tree in the order of its paths; look the records of a page of files up at once. 2. Skip what is there
already: same size, and the same source time in the record's metadata. 3. Read and store the others, some at once,
each as `services.writing` does: acknowledged means durable.

A crash anywhere leaves whole contents, and what one write leaves (see there). The same call again goes on, because of
2. A full disk, or a dependency that stays down, ends the work early and says so in the report; an interrupt lets what
is under way come to its end first.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import lru_cache

from thermocline.domain.content import Changes, Record, StoredHeaders, Visibility
from thermocline.domain.content_id import ContentId, parse_content_id, parse_prefix
from thermocline.domain.digests import Buffer
from thermocline.domain.errors import (
    BusyError,
    FileChangedError,
    IntegrityError,
    InvalidContentIdError,
    InvalidInputError,
    OutOfSpaceError,
    StorageError,
    UnavailableError,
)
from thermocline.domain.exclusions import Exclusions
from thermocline.domain.file_stamps import FileStamp, source_stamp, stamped_metadata
from thermocline.domain.tiers import StorageTier
from thermocline.ports.clock import Clock
from thermocline.ports.file_trees import EntryKind, FileTree, FileTrees, OpenFile, TreeEntry
from thermocline.ports.records import Records
from thermocline.services.admission import MemoryBudget
from thermocline.services.changing import ChangingService
from thermocline.services.content_types import guess_content_type
from thermocline.services.fanning_out import FanOut
from thermocline.services.stored_bytes import StoredBytes
from thermocline.services.transferring import WriteRequest
from thermocline.services.tree_reports import Outcome, Tally, TreeProgress, TreeReport
from thermocline.services.writing import WritingService

DEFAULT_JOBS = 32
"""Files under way at once: twice the folder store's writers, so that none waits for the event loop. Small files took
7.1 s with 32, 8.4 s with 16, more with 8 and with 64 (10,000 of them, two cores, median of 9, November 2026)."""
MOST_JOBS = 256
ATTEMPTS = 3
CHANGED_ATTEMPTS = 2
"""What changes while it is read twice in a row is a log or a database at work."""
BUSY_ATTEMPTS = 20
"""Each has waited `[limits] max_wait` already: whoever imports in bulk lets others go first for minutes."""
LARGE_AT_ONCE = 4
"""Files that need several parts: each takes memory for three of them."""
PARTS_PER_UPLOAD = 3

_OUTCOMES = {
    EntryKind.LINK: Outcome.LEFT_OUT,
    EntryKind.SPECIAL: Outcome.LEFT_OUT,
    EntryKind.OWN: Outcome.LEFT_OUT,
    EntryKind.EXCLUDED: Outcome.EXCLUDED,
    EntryKind.UNREADABLE: Outcome.FAILED,
    EntryKind.TOO_LONG: Outcome.REFUSED,
}


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How to import."""

    prefix: str
    """Empty, or ends with `/`."""
    tier: StorageTier
    visibility: Visibility
    exclude: Sequence[str] = ()
    jobs: int = DEFAULT_JOBS
    checksum: bool = False
    """Decide by digest what is there already, not by size and time."""
    verify: bool = False
    """Read every file and its content again, and compare."""
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A file that may have to be stored."""

    path: str
    stamp: FileStamp
    content_id: ContentId
    record: Record | None
    """What has its id already."""


class _StoppedError(StorageError):
    """The import ends; for a write under way that is a client who left, so it cleans up at once."""


class ImportingService:
    """Imports of trees; safe to repeat, and to interrupt anywhere."""

    def __init__(
        self,
        trees: FileTrees,
        writing: WritingService,
        changing: ChangingService,
        records: Records,
        stored: StoredBytes,
        memory: MemoryBudget,
        clock: Clock,
    ) -> None:
        self.trees = trees
        self.writing = writing
        self.changing = changing
        self.records = records
        self.stored = stored
        self.memory = memory
        self.clock = clock

    async def run(
        self, path: str, options: ImportOptions, progress: Callable[[TreeProgress], None] | None = None
    ) -> TreeReport:
        """Import every file of the tree at `path`; the report tells what became of each kind.

        Raises `InvalidInputError` for options that cannot be, `FileTreeError` if there is no such tree; what concerns
        single files is in the report.
        """
        check_options(options.prefix, options.jobs)
        async with self.trees.open(path) as tree:
            return await _Import(self, tree, options, progress).run()


class _Import:
    """One run."""

    def __init__(
        self,
        service: ImportingService,
        tree: FileTree,
        options: ImportOptions,
        progress: Callable[[TreeProgress], None] | None,
    ) -> None:
        self._service = service
        self._tree = tree
        self._options = options
        self._tally = Tally(progress, dry_run=options.dry_run)
        self._counts_ahead = progress is not None
        self._leave_out = Exclusions(options.exclude).excludes
        self._fan: FanOut[_Candidate] = FanOut(options.jobs)
        self._part_size = service.writing.part_size(options.tier)
        at_once = max(1, min(LARGE_AT_ONCE, service.memory.capacity // (PARTS_PER_UPLOAD * self._part_size)))
        self._large = asyncio.Semaphore(at_once)

    async def run(self) -> TreeReport:
        counting = asyncio.ensure_future(self._count()) if self._counts_ahead else None
        try:
            async with aclosing(self._candidates()) as pages:
                await self._fan.run(pages, self._work)
        finally:
            if counting is not None:
                counting.cancel()
                await asyncio.wait([counting])
        return self._tally.report()

    async def _count(self) -> None:
        """Find out how much there is, ahead of the work, so that progress has an end."""
        files = size = 0
        try:
            async for page in self._tree.walk(self._leave_out):
                stamps = [entry.stamp for entry in page if entry.stamp is not None]
                files += len(stamps)
                size += sum(stamp.size for stamp in stamps)
        except StorageError:
            return  # the work itself meets the same, and tells it
        self._tally.set_total(files, size)

    async def _candidates(self) -> AsyncGenerator[Sequence[_Candidate]]:
        async for page in self._tree.walk(self._leave_out):
            wanted = [found for entry in page if (found := self._named(entry)) is not None]
            try:
                records = await self._find([content_id for _, _, content_id in wanted])
            except UnavailableError as exc:
                self._stop(exc)
                return
            candidates = [
                _Candidate(path, stamp, content_id, record)
                for (path, stamp, content_id), record in zip(wanted, records, strict=True)
            ]
            yield [candidate for candidate in candidates if not self._is_settled(candidate)]

    def _named(self, entry: TreeEntry) -> tuple[str, FileStamp, ContentId] | None:
        """Return what may be imported; note everything else."""
        if entry.kind is not EntryKind.FILE or entry.stamp is None:
            self._tally.note(entry.path, _OUTCOMES[entry.kind], reason=entry.detail)
            return None
        try:
            return entry.path, entry.stamp, parse_content_id(self._options.prefix + entry.path)
        except InvalidContentIdError as exc:
            self._tally.note(entry.path, Outcome.REFUSED, entry.stamp.size, reason=str(exc))
            return None

    async def _find(self, content_ids: Sequence[ContentId]) -> Sequence[Record | None]:
        now = self._service.clock.now()
        records = await asyncio.gather(*map(self._service.records.find, content_ids))
        return [record if record is not None and record.is_alive(now) else None for record in records]

    def _is_settled(self, candidate: _Candidate) -> bool:
        """Whether nothing is left to do; then it is noted."""
        options, record = self._options, candidate.record
        if options.checksum or options.verify:
            return False
        if record is not None and source_stamp(record) == candidate.stamp:
            self._note(candidate, Outcome.UNCHANGED)
        elif options.dry_run:
            self._note(candidate, Outcome.COPIED if record is None else Outcome.REPLACED)
        else:
            return False
        return True

    async def _work(self, candidate: _Candidate) -> None:
        try:
            try:
                await self._settle(candidate)
            except StorageError as exc:
                await self._persist(candidate, exc)
        except _StoppedError:
            return
        except OutOfSpaceError as exc:
            self._stop(exc)
        except StorageError as exc:
            if exc.retryable:
                self._stop(exc)
            else:
                self._note(candidate, Outcome.FAILED, reason=str(exc))

    async def _persist(self, candidate: _Candidate, exc: StorageError) -> None:
        """Settle one file that failed, if it changed meanwhile or something did not answer. Raises what stays."""
        left = {FileChangedError: CHANGED_ATTEMPTS, BusyError: BUSY_ATTEMPTS, StorageError: ATTEMPTS}
        while True:
            again = isinstance(exc, FileChangedError) or (exc.retryable and not isinstance(exc, OutOfSpaceError))
            kind = next(kind for kind in left if isinstance(exc, kind))
            left[kind] -= 1
            if not again or not left[kind]:
                raise exc
            if isinstance(exc, UnavailableError):
                await self._service.clock.sleep(exc.retry_after)
            if self._fan.stopping:
                raise _StoppedError
            try:
                return await self._settle(candidate)
            except StorageError as failure:
                exc = failure

    async def _settle(self, candidate: _Candidate) -> None:
        options, record = self._options, candidate.record
        if record is not None and await self._is_there(candidate, record):
            outcome = Outcome.UNCHANGED
        elif options.dry_run:
            outcome = Outcome.COPIED if record is None else Outcome.REPLACED
        else:
            outcome = await self._store(candidate)
        if options.verify and not (options.dry_run and outcome is not Outcome.UNCHANGED):
            await self._verify(candidate)
        self._note(candidate, outcome)

    async def _is_there(self, candidate: _Candidate, record: Record) -> bool:
        stamp = source_stamp(record)
        if not self._options.checksum:
            return stamp == candidate.stamp
        if record.size != candidate.stamp.size or await self._tree.digest(candidate.path) != record.digest:
            return False
        if stamp != candidate.stamp and not self._options.dry_run:
            await self._service.changing.change(
                candidate.content_id, Changes(metadata=stamped_metadata(candidate.stamp))
            )
        return True

    async def _store(self, candidate: _Candidate) -> Outcome:
        writing, size = self._service.writing, candidate.stamp.size
        if size <= self._part_size:
            memory = self._service.memory
            granted = await memory.take(size)  # `grant` does the same, for a price that shows in small files
            try:
                whole = await self._tree.read(candidate.path, at_most=self._part_size)
                if whole is not None:
                    request = self._request(candidate, whole.stamp)
                    return _outcome(created=(await writing.store_whole(request, whole.data)).created)
            finally:
                memory.give_back(granted)
        async with self._large, self._tree.open(candidate.path) as file:
            receipt = await writing.store(self._request(candidate, file.stamp), self._pieces(file))
        return _outcome(created=receipt.created)

    async def _pieces(self, file: OpenFile) -> AsyncIterator[Buffer]:
        async for piece in file:
            if self._fan.stopping:
                raise _StoppedError
            yield piece

    def _request(self, candidate: _Candidate, stamp: FileStamp) -> WriteRequest:
        options = self._options
        return WriteRequest(
            content_id=candidate.content_id,
            tier=options.tier,
            headers=_headers(guess_content_type(candidate.path)),
            metadata=stamped_metadata(stamp),
            visibility=options.visibility,
        )

    async def _verify(self, candidate: _Candidate) -> None:
        """Read both sides again. Raises `IntegrityError` if they differ."""
        record = await self._service.records.find(candidate.content_id)
        source = await self._tree.digest(candidate.path)
        if record is None or await self._service.stored.digest(record) != source:
            key = "" if record is None else record.object_key
            raise IntegrityError(candidate.content_id, object_key=key, detail="it is not what the file holds now")
        self._tally.verified += 1

    def _note(self, candidate: _Candidate, outcome: Outcome, *, reason: str = "") -> None:
        self._tally.note(candidate.path, outcome, candidate.stamp.size, reason=reason)

    def _stop(self, exc: StorageError) -> None:
        if self._tally.stopped_by is None:
            self._tally.stopped_by = exc
        self._fan.stop()


_headers = lru_cache(maxsize=1024)(StoredHeaders)  # checking them is most of the price, and types are few


def folder_prefix(prefix: str) -> str:
    """Return the prefix of a folder's contents: the slash at its end may be left out."""
    return prefix if not prefix or prefix.endswith("/") else f"{prefix}/"


def check_options(prefix: str, jobs: int) -> None:
    """Raise `InvalidInputError` for a prefix that no id can begin with, and for too few or too many jobs."""
    parse_prefix(prefix)
    if prefix:
        parse_content_id(prefix + "x")
    if not 1 <= jobs <= MOST_JOBS:
        raise InvalidInputError(f"jobs must be from 1 to {MOST_JOBS}, not {jobs}")


def _outcome(*, created: bool) -> Outcome:
    return Outcome.COPIED if created else Outcome.REPLACED
