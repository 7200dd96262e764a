"""Copying a content's object to another placement, verified, up to the commit: steps 2 to 4 of moving.

Between two stores the bytes are streamed and their SHA-256 is compared. Within a store that copies by itself no byte
of content passes through us: what arrived is compared by its size, by the store's own checksum where it has one, and
by a probe of at most 64 KiB where the target can be read.
"""

import asyncio
from contextlib import aclosing, suppress

from thermocline.domain.content import ObjectAttributes, Record
from thermocline.domain.digests import Buffer, ContentDigest, digest_whole
from thermocline.domain.errors import (
    IntegrityError,
    IntentLostError,
    MoveLostError,
    ObjectMissingError,
    StorageError,
)
from thermocline.domain.keys import TOKEN_ENTROPY_BYTES, ObjectKey, new_token
from thermocline.domain.moves import ClaimedMove
from thermocline.domain.units import Bytes, later
from thermocline.ports.copies import CopiesWithin
from thermocline.ports.moves import CopiedMove, Moves
from thermocline.ports.object_store import ObjectHead, Upload
from thermocline.ports.records import Committed
from thermocline.services.admission import MemoryBudget
from thermocline.services.intent_keeping import HeldIntent
from thermocline.services.placements import Placement
from thermocline.services.transferring import EVICT_DELAY, Gathering, TransferParts, clean_up_after
from thermocline.services.turns import AT_ONCE, Turns
from thermocline.services.verifying import OFFLOAD_BYTES, fetch_verified, stream_verified

PROBE_BYTES = 64 * 1024
"""How many bytes of content a copy within a store may cost in all."""


class Copier:
    """Copies objects between placements in bounded memory; a copy that is not committed leaves nothing behind."""

    def __init__(self, parts: TransferParts, moves: Moves, memory: MemoryBudget) -> None:
        self._parts = parts
        self._moves = moves
        self._memory = memory

    async def copy(
        self, claim: ClaimedMove, record: Record, source: Placement, target: Placement, turns: Turns = AT_ONCE
    ) -> Committed:
        """Copy the object of `record` and commit the move; every byte was verified on its way.

        The stores are spoken to when there is a turn for it. Raises `MoveLostError`, `IntegrityError` (the
        source is damaged), `ObjectMissingError`, `ObjectArchivedError`, and what the stores and the catalog
        raise.
        """
        now = self._parts.clock.now()
        token = new_token(now, self._parts.entropy(TOKEN_ENTROPY_BYTES))
        key = ObjectKey(self._parts.placements.installation, target.name, record.content_id, token)
        attributes = ObjectAttributes(
            record.content_id,
            token,
            record.headers.content_type,
            record.created_at,
            claim.plan.tier,
            previous_tier=record.tier,
            transitioned_at=now,
            sha256=record.digest,
            revision=record.revision,
        ).as_headers()
        part_size = target.store.part_size
        within = _copies_within(source, target)
        in_hand = part_size * 3 if within is None else PROBE_BYTES
        intent = await self._parts.keeper.declare(str(key), target.name)
        upload: Upload | None = None
        try:
            async with turns, self._memory.grant(min(record.size, in_hand)):
                intent.check()
                if within is not None:
                    await within.copy(
                        record.object_key,
                        str(key),
                        attributes,
                        size=record.size,
                        storage_class=target.storage_class,
                        check=intent.check,
                    )
                    await self._compare(within, key, record, target)
                elif record.size <= part_size:
                    data = await fetch_verified(source.store, record)
                    intent.check()
                    await target.store.put(str(key), data, attributes, storage_class=target.storage_class)
                else:
                    upload = await target.store.begin_upload(str(key), attributes, storage_class=target.storage_class)
                    await self._send(intent, upload, record, source, part_size)
                if within is None:
                    await self._check_arrived(key, record, target)
            return await self._commit(CopiedMove(claim, record, target.name, str(key)))
        except BaseException as exc:
            await clean_up_after(exc, self._parts, key, target, upload)
            raise
        finally:
            self._parts.keeper.let_go(intent)

    async def _send(
        self, intent: HeldIntent, upload: Upload, record: Record, source: Placement, part_size: int
    ) -> None:
        digest = ContentDigest()
        async with aclosing(stream_verified(source.store, record, 0, record.size)) as chunks:
            gathering = Gathering(chunks, part_size)
            while part := await gathering.next_part():
                intent.check()
                await _hash(digest, part)
                await upload.write(part)
        if digest.whole() != record.digest:
            raise _damaged(record, "its bytes are not those that were stored")
        intent.check()
        await upload.complete()

    async def _compare(self, within: CopiesWithin, key: ObjectKey, record: Record, target: Placement) -> None:
        """Raise unless the store's copy is, as far as can be told without reading it whole, what was stored."""
        is_read_whole = target.restores is None and 0 < record.size <= PROBE_BYTES
        if is_read_whole:
            # Small enough to read it whole, which tells more than any look at source and copy.
            data = b""
            with suppress(EOFError):
                data = await within.read_up_to(str(key), Bytes(record.size + 1))
            if len(data) == record.size and digest_whole(data) == record.digest:
                return
        probe = PROBE_BYTES // 2 if target.restores is None and record.size > PROBE_BYTES else 0
        (copy, here), (original, there) = await asyncio.gather(
            self._look(within, str(key), record, target, probe),
            self._look(within, record.object_key, record, target, probe),
        )
        # First the source: what is wrong with it is wrong with its copy, too.
        if original is None or original.size != record.size:
            found = "no bytes any more" if original is None else f"{original.size} bytes"
            raise _damaged(record, f"it has {found} where {record.size} were stored")
        self._check_size(copy, record, target)
        sums = {head.checksum for head in (original, copy) if head is not None and head.checksum is not None}
        if len(sums) > 1:
            raise StorageError(
                f"the store of placement {target.name!r} made a copy of {record.object_key!r} with another checksum"
            )
        if is_read_whole:
            raise _damaged(record, "its bytes are not those that were stored")
        if there != here or len(here) != probe:
            raise StorageError(f"the store of placement {target.name!r} copied other bytes than those of the source")

    async def _look(
        self, within: CopiesWithin, key: str, record: Record, target: Placement, probe: int
    ) -> tuple[ObjectHead | None, bytes]:
        """Return what the store knows of an object, and the last `probe` bytes that it should have: in one request."""
        if probe:
            with suppress(EOFError, ObjectMissingError):
                return await within.head_and_fetch(key, record.size - probe, record.size)
        return await target.store.head(key), b""

    async def _check_arrived(self, key: ObjectKey, record: Record, target: Placement) -> None:
        self._check_size(await target.store.head(str(key)), record, target)

    def _check_size(self, head: ObjectHead | None, record: Record, target: Placement) -> None:
        if head is None or head.size != record.size:
            found = "nothing" if head is None else f"{head.size} bytes"
            raise StorageError(
                f"the store of placement {target.name!r} shows {found} where {record.size} bytes were put"
            )

    async def _commit(self, move: CopiedMove) -> Committed:
        now = self._parts.clock.now()
        try:
            committed = await self._moves.commit_move(
                move,
                now=now,
                delete_at=later(now, self._parts.grace.objects),
                evict_at=later(now, EVICT_DELAY),
            )
        except IntentLostError as exc:
            raise MoveLostError(str(exc)) from exc
        if committed is None:
            raise MoveLostError(f"content {move.source.content_id!r} changed while it was copied; nothing was moved")
        return committed


def _copies_within(source: Placement, target: Placement) -> CopiesWithin | None:
    """Return the store that both are in, if it copies by itself."""
    store: object = target.store
    return store if source.store_name == target.store_name and isinstance(store, CopiesWithin) else None


def _damaged(record: Record, detail: str) -> IntegrityError:
    return IntegrityError(record.content_id, object_key=record.object_key, detail=detail)


async def _hash(digest: ContentDigest, part: Buffer) -> None:
    if len(part) < OFFLOAD_BYTES:
        digest.update(part)
    else:
        await asyncio.to_thread(digest.update, part)
