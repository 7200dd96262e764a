"""Copying a content's object to another placement, verified, up to the commit: steps 2 to 4 of moving."""

import asyncio
from contextlib import aclosing

from thermocline.domain.content import ObjectAttributes, Record
from thermocline.domain.digests import Buffer, ContentDigest
from thermocline.domain.errors import IntegrityError, IntentLostError, MoveLostError, StorageError
from thermocline.domain.keys import TOKEN_ENTROPY_BYTES, ObjectKey, new_token
from thermocline.domain.moves import ClaimedMove
from thermocline.domain.units import later
from thermocline.ports.moves import CopiedMove, Moves
from thermocline.ports.object_store import Upload
from thermocline.ports.records import Committed
from thermocline.services.admission import MemoryBudget
from thermocline.services.intent_keeping import HeldIntent
from thermocline.services.placements import Placement
from thermocline.services.transferring import EVICT_DELAY, Gathering, TransferParts, clean_up_after
from thermocline.services.verifying import OFFLOAD_BYTES, fetch_verified, stream_verified


class Copier:
    """Copies objects between placements in bounded memory; a copy that is not committed leaves nothing behind."""

    def __init__(self, parts: TransferParts, moves: Moves, memory: MemoryBudget) -> None:
        self._parts = parts
        self._moves = moves
        self._memory = memory

    async def copy(self, claim: ClaimedMove, record: Record, source: Placement, target: Placement) -> Committed:
        """Copy the object of `record` and commit the move; every byte was verified on its way.

        Raises `MoveLostError`, `IntegrityError` (the source is damaged), `ObjectMissingError`,
        `ObjectArchivedError`, and what the stores and the catalog raise.
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
        async with self._memory.grant(min(record.size, part_size * 3)):
            intent = await self._parts.keeper.declare(str(key), target.name)
            upload: Upload | None = None
            try:
                intent.check()
                if record.size <= part_size:
                    data = await fetch_verified(source.store, record)
                    intent.check()
                    await target.store.put(str(key), data, attributes, storage_class=target.storage_class)
                else:
                    upload = await target.store.begin_upload(str(key), attributes, storage_class=target.storage_class)
                    await self._send(intent, upload, record, source, part_size)
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
            raise IntegrityError(
                record.content_id, object_key=record.object_key, detail="its bytes are not those that were stored"
            )
        intent.check()
        await upload.complete()

    async def _check_arrived(self, key: ObjectKey, record: Record, target: Placement) -> None:
        head = await target.store.head(str(key))
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


async def _hash(digest: ContentDigest, part: Buffer) -> None:
    if len(part) < OFFLOAD_BYTES:
        digest.update(part)
    else:
        await asyncio.to_thread(digest.update, part)
