"""Adopting objects where they lie: contents whose objects somebody else made, without copying a byte.

1. Declare an intent for the object's key, as if it were an upload: whatever happens, nothing deletes it (the key is
   not ours, see `Placements.delete`). 2. Read it once, for the digests; look whether it was replaced meanwhile.
3. **Commit point**: the record is made or switched, as by any write, and the object as it was read is noted. 4. Evict.

A crash before 3 leaves an intent, which the cleaner drops. What becomes of the object once its content has ended is
told in `services.releasing`: it stays, unless the settings of its store say otherwise. Nobody else may change it from
now on: a read would find that its bytes are not those of the digest.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from thermocline.domain.content import Visibility
from thermocline.domain.digests import ContentDigest
from thermocline.domain.errors import FileTreeError, IntegrityError, StorageError
from thermocline.domain.file_stamps import stamped_metadata
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Bytes, later
from thermocline.ports.object_store import ObjectHead
from thermocline.ports.records import Write
from thermocline.services.caching import ContentCache
from thermocline.services.object_trees import ObjectTree
from thermocline.services.placements import Placement, stamp_of
from thermocline.services.storing_files import Candidate, Storer, headers_of
from thermocline.services.transferring import CLEANUP_LEASE, EVICT_DELAY, TransferParts
from thermocline.services.tree_reports import Outcome
from thermocline.services.verifying import OFFLOAD_BYTES


@dataclass(frozen=True, slots=True)
class FileAdopter:
    """What adopting takes; `in_tier` makes it ready for one tree."""

    transfers: TransferParts
    cache: ContentCache

    def in_tier(self, tree: ObjectTree, tier: StorageTier, visibility: Visibility) -> "TreeAdopter":
        """Return what adopts the objects of the tree like this."""
        return TreeAdopter(self, tree, tier, visibility)


class TreeAdopter(Storer):
    """Adopts the objects of one tree: what is returned as stored is committed, and was read once."""

    def __init__(self, parts: FileAdopter, tree: ObjectTree, tier: StorageTier, visibility: Visibility) -> None:
        self.part_size = tree.store.part_size
        self._transfers = parts.transfers
        self._cache = parts.cache
        self._tree = tree
        self._tier = tier
        self._visibility = visibility

    async def store(self, candidate: Candidate) -> Outcome:
        """Adopt one object. Raises `FileTreeError` if no placement fits it, and what committing raises."""
        transfers, key = self._transfers, self._tree.key_of(candidate.path)
        head = await self._tree.head(candidate.path)
        tier, placement = self._place_of(key, head)
        await self._clear_up(key)
        intent = await transfers.keeper.declare(key, placement.name)
        try:
            digest, content_type = await self._read(candidate.path, head)
            intent.check()
            now = transfers.clock.now()
            committed = await transfers.records.commit_write(
                Write(
                    content_id=candidate.content_id,
                    placement=placement.name,
                    object_key=key,
                    digest=digest.whole(),
                    chunk_digests=digest.chunks(),
                    size=Bytes(digest.size),
                    headers=headers_of(content_type, candidate.path),
                    metadata=stamped_metadata(candidate.stamp),
                    tier=tier,
                    visibility=self._visibility,
                    expires_at=None,
                    adopted=stamp_of(head),
                ),
                now=now,
                delete_at=later(now, transfers.grace.objects),
                evict_at=later(now, EVICT_DELAY),
            )
        finally:
            transfers.keeper.let_go(intent)
        await self._cache.invalidate(candidate.content_id, committed.record.version)
        return Outcome.COPIED if committed.created else Outcome.REPLACED

    async def store_small(self, group: Sequence[Candidate]) -> Sequence[Outcome | StorageError | None]:
        """Adopt objects side by side; for each, what became of it."""
        return await asyncio.gather(*map(self._store_or_tell, group))

    async def verify(self, candidate: Candidate) -> None:
        """Read the object again. Raises `IntegrityError` if it is not what the record says."""
        record = await self._transfers.records.find(candidate.content_id)
        if record is None or record.digest != await self._tree.digest(candidate.path):
            key = "" if record is None else record.object_key
            raise IntegrityError(candidate.content_id, object_key=key, detail="it is not what lies there now")

    async def _store_or_tell(self, candidate: Candidate) -> Outcome | StorageError:
        try:
            return await self.store(candidate)
        except StorageError as exc:
            return exc

    def _place_of(self, key: str, head: ObjectHead) -> tuple[StorageTier, Placement]:
        """Return the wanted tier if it means where the object lies, else the first that does, and its placement."""
        placements = self._transfers.placements
        for tier in (self._tier, *StorageTier):
            placement = placements.of_tier(tier)
            if (placement.store_name, placement.storage_class) == (self._tree.store_name, head.storage_class):
                return tier, placement
        raise FileTreeError(
            f"object {key!r} lies in class {head.storage_class!r} of the store {self._tree.store_name!r}, where no "
            "tier is placed; add a placement for it and let a tier use it, or import without '--in-place'"
        )

    async def _clear_up(self, key: str) -> None:
        """Drop the intent of an earlier attempt, if it was killed or failed; one at work beside us fails at it."""
        claim = await self._transfers.intents.withdraw(key, lease=CLEANUP_LEASE)
        if claim is not None:
            await self._transfers.intents.settle([claim], again_in=None)

    async def _read(self, path: str, head: ObjectHead) -> tuple[ContentDigest, str | None]:
        """Read the object as it was seen. Raises `FileChangedError` if it is another by the end."""
        digest = ContentDigest()
        file = self._tree.as_seen(path, head)
        self._transfers.check_size(file.stamp.size)
        async for piece in file:
            if len(piece) < OFFLOAD_BYTES:
                digest.update(piece)
            else:
                await asyncio.to_thread(digest.update, piece)
        return digest, file.content_type
