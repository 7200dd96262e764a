"""Importing a tree of files: each becomes a content, with its type and its time.

1. Walk the tree in the order of its paths; look the records of a page of files up at once. 2. Skip what is there
already: same size, and the same source time in the record's metadata. 3. Read and store the others, some at once,
small ones in groups that share their transactions (`services.bulk_writing`): acknowledged means durable. What fails in
a group is tried again alone.

A crash anywhere leaves whole contents, and what one write leaves (see there). The same call again goes on, because of
2. A full disk, or a dependency that stays down, ends the work early and says so in the report; an interrupt lets what
is under way come to its end first.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import pairwise

from thermocline.domain.content import Changes, Record, Visibility
from thermocline.domain.content_id import ContentId, parse_content_id, parse_prefix
from thermocline.domain.errors import (
    BusyError,
    FileChangedError,
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
from thermocline.ports.file_trees import EntryKind, FileTree, FileTrees, TreeEntry
from thermocline.ports.records import Records
from thermocline.services.adopting_files import FileAdopter
from thermocline.services.changing import ChangingService
from thermocline.services.fanning_out import FanOut
from thermocline.services.object_trees import ObjectTree
from thermocline.services.storing_files import Candidate, FileStorer, StoppedError, Storer
from thermocline.services.tree_reports import Outcome, Tally, TreeProgress, TreeReport

DEFAULT_JOBS = 64
"""Files under way at once: two groups, so that one is sent while the other is read and committed."""
GROUP = 32
"""So many small files share their transactions at most (decision 18)."""
MOST_JOBS = 256
ATTEMPTS = 3
CHANGED_ATTEMPTS = 2
"""What changes while it is read twice in a row is a log or a database at work."""
BUSY_ATTEMPTS = 20
"""Each has waited `[limits] max_wait` already: whoever imports in bulk lets others go first for minutes."""
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
    in_place: bool = False
    """Leave the bytes where they are; only for what lies in an object store."""
    count_ahead: bool = True
    """Find out how much there is beside the work, where somebody wants to see progress."""


class ImportingService:
    """Imports of trees; safe to repeat, and to interrupt anywhere."""

    def __init__(
        self,
        trees: FileTrees,
        storing: FileStorer,
        adopting: FileAdopter,
        changing: ChangingService,
        records: Records,
        clock: Clock,
    ) -> None:
        self.trees = trees
        self.storing = storing
        self.adopting = adopting
        self.changing = changing
        self.records = records
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
        self._counts_ahead = options.count_ahead and progress is not None
        self._last_id = ""
        """Of the page before: what has an id up to here was looked up."""
        self._leave_out = Exclusions(options.exclude).excludes
        # At least two groups, so that one is sent while the other is committed.
        self._group = max(1, min(GROUP, options.jobs // 2))
        self._fan: FanOut[Sequence[Candidate]] = FanOut(options.jobs // self._group)
        self._storing = self._storer()

    async def run(self) -> TreeReport:
        counting = asyncio.ensure_future(self._count()) if self._counts_ahead else None
        try:
            async with aclosing(self._candidates()) as pages:
                await self._fan.run(pages, self._work_on_group)
        finally:
            if counting is not None:
                counting.cancel()
                await asyncio.wait([counting])
        return self._tally.report()

    def _storer(self) -> Storer:
        options, service = self._options, self._service
        if not options.in_place:
            return service.storing.in_tier(
                self._tree, options.tier, options.visibility, is_stopping=lambda: self._fan.stopping
            )
        if not isinstance(self._tree, ObjectTree):
            raise InvalidInputError("only what lies in an object store can stay in place; import a folder without it")
        return service.adopting.in_tier(self._tree, options.tier, options.visibility)

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

    async def _candidates(self) -> AsyncGenerator[Sequence[Sequence[Candidate]]]:
        async for page in self._tree.walk(self._leave_out):
            wanted = [found for entry in page if (found := self._named(entry)) is not None]
            try:
                records = await self._find([content_id for _, _, content_id in wanted])
            except UnavailableError as exc:
                self._stop(exc)
                return
            candidates = [
                Candidate(path, stamp, content_id, record)
                for (path, stamp, content_id), record in zip(wanted, records, strict=True)
            ]
            yield list(self._groups([candidate for candidate in candidates if not self._is_settled(candidate)]))

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
        """Return the live records of the ids; in one look where they come in order and there are none at all."""
        if not content_ids:
            return []
        records, now = self._service.records, self._service.clock.now()
        after, self._last_id = self._last_id, content_ids[-1]
        if all(first.encode() < second.encode() for first, second in pairwise((after, *content_ids))):
            ahead = await records.page(prefix=self._options.prefix, tier=None, after=after, limit=1, now=now)
            if not ahead or ahead[0].content_id.encode() > self._last_id.encode():
                return [None] * len(content_ids)
        else:
            self._last_id = max(after, *content_ids, key=str.encode)  # some stores list in no order
        found = await asyncio.gather(*map(records.find, content_ids))
        return [record if record is not None and record.is_alive(now) else None for record in found]

    def _is_settled(self, candidate: Candidate) -> bool:
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

    def _groups(self, candidates: Sequence[Candidate]) -> Iterator[Sequence[Candidate]]:
        """Yield groups of files that together are at most a part; those that need more than storing go alone."""
        group: list[Candidate] = []
        size = 0
        for candidate in candidates:
            alone = self._options.checksum or self._options.verify or candidate.stamp.size > self._storing.part_size
            if group and (alone or len(group) == self._group or size + candidate.stamp.size > self._storing.part_size):
                yield group
                group, size = [], 0
            if alone:
                yield [candidate]
            else:
                group.append(candidate)
                size += candidate.stamp.size
        if group:
            yield group

    async def _work_on_group(self, group: Sequence[Candidate]) -> None:
        if len(group) == 1:
            await self._work(group[0], None)
            return
        try:
            answers = await self._storing.store_small(group)
        except StorageError as exc:
            answers = [exc] * len(group)
        for candidate, answer in zip(group, answers, strict=True):
            if isinstance(answer, Outcome):
                self._note(candidate, answer)
        for candidate, answer in zip(group, answers, strict=True):
            if not isinstance(answer, Outcome) and not self._fan.stopping:
                await self._work(candidate, answer)

    async def _work(self, candidate: Candidate, failure: StorageError | None) -> None:
        """Settle one file, which may have failed once, and note what becomes of it."""
        try:
            try:
                if failure is None:
                    await self._settle(candidate)
            except StorageError as exc:
                failure = exc
            if failure is not None:
                await self._persist(candidate, failure)
        except StoppedError:
            return
        except OutOfSpaceError as exc:
            self._stop(exc)
        except StorageError as exc:
            if exc.retryable:
                self._stop(exc)
            else:
                self._note(candidate, Outcome.FAILED, reason=str(exc))

    async def _persist(self, candidate: Candidate, exc: StorageError) -> None:
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
                raise StoppedError
            try:
                return await self._settle(candidate)
            except StorageError as failure:
                exc = failure

    async def _settle(self, candidate: Candidate) -> None:
        options, record = self._options, candidate.record
        if record is not None and await self._is_there(candidate, record):
            outcome = Outcome.UNCHANGED
        elif options.dry_run:
            outcome = Outcome.COPIED if record is None else Outcome.REPLACED
        else:
            outcome = await self._storing.store(candidate)
        if options.verify and not (options.dry_run and outcome is not Outcome.UNCHANGED):
            await self._storing.verify(candidate)
            self._tally.verified += 1
        self._note(candidate, outcome)

    async def _is_there(self, candidate: Candidate, record: Record) -> bool:
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

    def _note(self, candidate: Candidate, outcome: Outcome, *, reason: str = "") -> None:
        self._tally.note(candidate.path, outcome, candidate.stamp.size, reason=reason)

    def _stop(self, exc: StorageError) -> None:
        if self._tally.stopped_by is None:
            self._tally.stopped_by = exc
        self._fan.stop()


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
