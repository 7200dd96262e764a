"""Exporting contents into a tree of files: each becomes a file below the target, with its time.

1. Go through the records in the order of their ids. 2. Skip files that are there already: same size and time. 3. Write
the others, some at once: each appears whole, with its time, or not at all, and never takes the place of another file
unless that was asked for.

A crash anywhere leaves whole files; the same call again goes on, because of 2. A full disk ends the work early and
says so in the report; an interrupt lets what is under way come to its end first.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from thermocline.domain.content import Record
from thermocline.domain.digests import Buffer
from thermocline.domain.errors import (
    BusyError,
    ContentNotFoundError,
    FileTreeError,
    IntegrityError,
    OutOfSpaceError,
    StorageError,
    UnavailableError,
)
from thermocline.domain.file_stamps import FileStamp, export_stamp
from thermocline.ports.clock import Clock
from thermocline.ports.file_trees import FileTree, FileTrees
from thermocline.services.fanning_out import FanOut
from thermocline.services.importing import ATTEMPTS, BUSY_ATTEMPTS, DEFAULT_JOBS, check_options
from thermocline.services.listing import MAX_PAGE, ListingService
from thermocline.services.stored_bytes import StoredBytes
from thermocline.services.tree_reports import Outcome, Tally, TreeProgress, TreeReport

LONGEST_NAME_BYTES = 255
"""Of one file or folder, on every file system in use."""


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How to export."""

    prefix: str
    """Empty, or ends with `/`."""
    jobs: int = DEFAULT_JOBS
    replace: bool = False
    """Replace files that differ from their content."""
    verify: bool = False
    """Read every file again and compare its digest with the content's."""
    dry_run: bool = False
    count_ahead: bool = True
    """Find out how much there is beside the work, where somebody wants to see progress."""


class _StoppedError(StorageError):
    """The export ends; nothing of a file under way stays."""


class ExportingService:
    """Exports into trees; safe to repeat, and to interrupt anywhere."""

    def __init__(self, trees: FileTrees, listing: ListingService, stored: StoredBytes, clock: Clock) -> None:
        self.trees = trees
        self.listing = listing
        self.stored = stored
        self.clock = clock

    async def run(
        self, path: str, options: ExportOptions, progress: Callable[[TreeProgress], None] | None = None
    ) -> TreeReport:
        """Export every content below the prefix into the folder at `path`, which is made if it is missing.

        The report tells what became of each kind. Raises `InvalidInputError` for options that cannot be,
        `FileTreeError` if the folder cannot be used; what concerns single contents is in the report.
        """
        check_options(options.prefix, options.jobs)
        async with self.trees.open(path, make=not options.dry_run, may_be_missing=options.dry_run) as tree:
            return await _Export(self, tree, options, progress).run()


class _Export:
    """One run."""

    def __init__(
        self,
        service: ExportingService,
        tree: FileTree,
        options: ExportOptions,
        progress: Callable[[TreeProgress], None] | None,
    ) -> None:
        self._service = service
        self._tree = tree
        self._options = options
        self._tally = Tally(progress, dry_run=options.dry_run)
        self._counts_ahead = options.count_ahead and progress is not None
        self._fan: FanOut[Record] = FanOut(options.jobs)
        self._files_on_the_way: list[str] = []

    async def run(self) -> TreeReport:
        counting = asyncio.ensure_future(self._count()) if self._counts_ahead else None
        try:
            async with aclosing(self._records()) as pages:
                await self._fan.run(pages, self._work)
        finally:
            if counting is not None:
                counting.cancel()
                await asyncio.wait([counting])
        return self._tally.report()

    async def _count(self) -> None:
        """Find out how much there is, ahead of the work, so that progress has an end."""
        contents = size = 0
        try:
            async for page in self._pages():
                contents += len(page)
                size += sum(record.size for record in page)
        except StorageError:
            return  # the work itself meets the same, and tells it
        self._tally.set_total(contents, size)

    async def _records(self) -> AsyncGenerator[Sequence[Record]]:
        try:
            async for page in self._pages():
                yield [record for record in page if self._can_be_file(record)]
        except UnavailableError as exc:
            self._stop(exc)

    async def _pages(self) -> AsyncGenerator[Sequence[Record]]:
        cursor: str | None = None
        while True:
            page = await self._service.listing.page(prefix=self._options.prefix, limit=MAX_PAGE, cursor=cursor)
            yield page.records
            cursor = page.next_cursor
            if cursor is None:
                return

    def _can_be_file(self, record: Record) -> bool:
        """Whether the content's name can be a file's here; otherwise that is noted.

        A content `a` beside `a/b` would be a file and a folder of one name: the file, which comes first, stays.
        """
        path = self._path(record)
        while self._files_on_the_way and not path.startswith(self._files_on_the_way[-1]):
            self._files_on_the_way.pop()
        blocking = next((file for file in self._files_on_the_way if path.startswith(f"{file}/")), None)
        if blocking is not None:
            reason = f"the content {self._options.prefix + blocking!r} is a file where this needs a folder"
        elif any(len(name.encode()) > LONGEST_NAME_BYTES for name in path.split("/")):
            reason = f"a part of its name is longer than the {LONGEST_NAME_BYTES} bytes that a file's name can have"
        else:
            self._files_on_the_way.append(path)
            return True
        self._tally.note(path, Outcome.REFUSED, record.size, reason=reason)
        return False

    async def _work(self, record: Record) -> None:
        try:
            await self._persist(record)
        except (_StoppedError, ContentNotFoundError):
            return  # a content that was deleted meanwhile never was there
        except OutOfSpaceError as exc:
            self._stop(exc)
        except FileTreeError as exc:
            self._note(record, Outcome.REFUSED, reason=str(exc))
        except StorageError as exc:
            if exc.retryable:
                self._stop(exc)
            else:
                self._note(record, Outcome.FAILED, reason=str(exc))

    async def _persist(self, record: Record) -> None:
        """Write one file; again if something did not answer."""
        left = {BusyError: BUSY_ATTEMPTS, UnavailableError: ATTEMPTS}
        while True:
            try:
                return await self._settle(record)
            except OutOfSpaceError:
                raise
            except UnavailableError as exc:
                kind = BusyError if isinstance(exc, BusyError) else UnavailableError
                left[kind] -= 1
                if not left[kind]:
                    raise
                await self._service.clock.sleep(exc.retry_after)
            if self._fan.stopping:
                raise _StoppedError

    async def _settle(self, record: Record) -> None:
        options, path = self._options, self._path(record)
        there = await self._tree.look(path)
        digest = record.digest
        if there == export_stamp(record):
            outcome = Outcome.UNCHANGED
        elif there is not None and not options.replace:
            raise FileTreeError("a file that differs has its name; --force replaces it")
        else:
            outcome = Outcome.COPIED if there is None else Outcome.REPLACED
            if not options.dry_run:
                digest = await self._write(path, record)
        if options.verify and not (options.dry_run and outcome is not Outcome.UNCHANGED):
            if await self._tree.digest(path) != digest:
                raise IntegrityError(
                    record.content_id, object_key=record.object_key, detail="the file does not hold its bytes"
                )
            self._tally.verified += 1
        self._note(record, outcome)

    async def _write(self, path: str, record: Record) -> bytes:
        """Write the file; return the digest that it must have."""
        async with self._service.stored.open(record) as content:
            stamp: FileStamp = export_stamp(content.record)
            body = content.body if isinstance(content.body, bytes) else self._pieces(content.body)
            await self._tree.write(path, body, stamp, replace=self._options.replace)
            return content.record.digest

    async def _pieces(self, chunks: AsyncIterator[Buffer]) -> AsyncIterator[Buffer]:
        async for chunk in chunks:
            if self._fan.stopping:
                raise _StoppedError
            yield chunk

    def _path(self, record: Record) -> str:
        return record.content_id.removeprefix(self._options.prefix)

    def _note(self, record: Record, outcome: Outcome, *, reason: str = "") -> None:
        self._tally.note(self._path(record), outcome, record.size, reason=reason)

    def _stop(self, exc: StorageError) -> None:
        if self._tally.stopped_by is None:
            self._tally.stopped_by = exc
        self._fan.stop()
