"""Bringing files of a tree into the store: small ones in groups that share their transactions, others in parts."""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from thermocline.domain.content import Record, StoredHeaders, Visibility
from thermocline.domain.content_id import ContentId
from thermocline.domain.digests import Buffer
from thermocline.domain.errors import IntegrityError, InvalidMetadataError, StorageError
from thermocline.domain.file_stamps import FileStamp, stamped_metadata
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Bytes
from thermocline.ports.file_trees import FileTree, OpenFile, WholeFile
from thermocline.ports.records import Committed, Records
from thermocline.services.admission import MemoryBudget
from thermocline.services.bulk_writing import BulkItem, BulkWriter
from thermocline.services.content_types import guess_content_type
from thermocline.services.stored_bytes import StoredBytes
from thermocline.services.transferring import WriteRequest
from thermocline.services.tree_reports import Outcome
from thermocline.services.writing import WritingService

LARGE_AT_ONCE = 4
"""Files that need several parts: each takes memory for three of them."""
PARTS_PER_UPLOAD = 3

_headers = lru_cache(maxsize=1024)(StoredHeaders)  # checking them is most of the price, and types are few


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that may have to be stored."""

    path: str
    stamp: FileStamp
    content_id: ContentId
    record: Record | None
    """What has its id already."""


class StoppedError(StorageError):
    """The work ends; for a write under way that is a client who left, so it cleans up at once."""


class FileStorer:
    """What storing files takes; `in_tier` makes it ready for one tree."""

    def __init__(
        self, writing: WritingService, bulk: BulkWriter, records: Records, stored: StoredBytes, memory: MemoryBudget
    ) -> None:
        self.writing = writing
        self.bulk = bulk
        self.records = records
        self.stored = stored
        self.memory = memory

    def in_tier(
        self, tree: FileTree, tier: StorageTier, visibility: Visibility, *, is_stopping: Callable[[], bool]
    ) -> "TreeStorer":
        """Return what stores the files of the tree like this. `is_stopping` ends files under way."""
        return TreeStorer(self, tree, tier, visibility, is_stopping)


class Storer(Protocol):
    """What brings the files of one tree into the store, one way or another."""

    part_size: Bytes
    """Larger files go alone."""

    @abstractmethod
    async def store(self, candidate: Candidate) -> Outcome:
        """Store one file of any size; what is returned as stored is durable."""

    @abstractmethod
    async def store_small(self, group: Sequence[Candidate]) -> Sequence[Outcome | StorageError | None]:
        """Store files that together were at most a part; for each, what became of it, or None to store it alone."""

    @abstractmethod
    async def verify(self, candidate: Candidate) -> None:
        """Read both sides again. Raises `IntegrityError` if they differ."""


class TreeStorer(Storer):
    """Stores the files of one tree: what is returned as stored is durable."""

    def __init__(
        self,
        parts: FileStorer,
        tree: FileTree,
        tier: StorageTier,
        visibility: Visibility,
        is_stopping: Callable[[], bool],
    ) -> None:
        self.part_size = parts.writing.part_size(tier)
        """Larger files go in parts."""
        self._parts = parts
        self._tree = tree
        self._tier = tier
        self._visibility = visibility
        self._is_stopping = is_stopping
        at_once = max(1, min(LARGE_AT_ONCE, parts.memory.capacity // (PARTS_PER_UPLOAD * self.part_size)))
        self._large = asyncio.Semaphore(at_once)

    async def store(self, candidate: Candidate) -> Outcome:
        """Store one file of any size. Raises `FileTreeError`, `StoppedError`, and what writing raises."""
        if candidate.stamp.size <= self.part_size:
            (answer,) = await self.store_small([candidate])
            if isinstance(answer, StorageError):
                raise answer
            if answer is not None:
                return answer
        async with self._large, self._tree.open(candidate.path) as file:
            receipt = await self._parts.writing.store(
                self._request(candidate, file.stamp, file.content_type), self._pieces(file)
            )
        return _outcome(created=receipt.created)

    async def store_small(self, group: Sequence[Candidate]) -> Sequence[Outcome | StorageError | None]:
        """Store files that together were at most a part; for each, what became of it.

        None: it has become too large for this. Raises `BusyError` if there is no memory for them.
        """
        async with self._parts.memory.grant(sum(candidate.stamp.size for candidate in group)):
            files = await self._tree.read([candidate.path for candidate in group], at_most=self.part_size)
            items = [
                BulkItem(self._request(candidate, file.stamp, file.content_type), file.data)
                for candidate, file in zip(group, files, strict=True)
                if isinstance(file, WholeFile)
            ]
            answers = iter(await self._parts.bulk.store(items))
        return [_answer(next(answers)) if isinstance(file, WholeFile) else file for file in files]

    async def verify(self, candidate: Candidate) -> None:
        """Read both sides again. Raises `IntegrityError` if they differ."""
        record = await self._parts.records.find(candidate.content_id)
        source = await self._tree.digest(candidate.path)
        if record is None or await self._parts.stored.digest(record) != source:
            key = "" if record is None else record.object_key
            raise IntegrityError(candidate.content_id, object_key=key, detail="it is not what the file holds now")

    async def _pieces(self, file: OpenFile) -> AsyncIterator[Buffer]:
        async for piece in file:
            if self._is_stopping():
                raise StoppedError
            yield piece

    def _request(self, candidate: Candidate, stamp: FileStamp, content_type: str | None) -> WriteRequest:
        return WriteRequest(
            content_id=candidate.content_id,
            tier=self._tier,
            headers=headers_of(content_type, candidate.path),
            metadata=stamped_metadata(stamp),
            visibility=self._visibility,
        )


def headers_of(content_type: str | None, path: str) -> StoredHeaders:
    """Return the stored headers of a file: of the type that its tree tells, if that is one, else by its name."""
    if content_type is not None:
        try:
            return _headers(content_type)
        except InvalidMetadataError:
            return _headers(guess_content_type(path))
    return _headers(guess_content_type(path))


def _answer(answer: Committed | StorageError) -> Outcome | StorageError:
    return answer if isinstance(answer, StorageError) else _outcome(created=answer.created)


def _outcome(*, created: bool) -> Outcome:
    return Outcome.COPIED if created else Outcome.REPLACED
