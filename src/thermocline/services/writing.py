"""Writing content.

1. Declare an intent that names the new object key; hold it (renewed) until the end.
2. Send the bytes to the new key, each request only while the intent is surely live; SHA-256, chunk digests and
   size are computed on the way. One request up to the store's part size, else an upload in equal parts.
3. **Commit point**: one catalog transaction switches the record, ends the intent (or aborts) and queues the old
   object's deletion and an invalidation (`Records.commit_write`).
4. Before the acknowledgement: evict. After it, best effort: fill the cache for HOT.

A crash before 3 leaves an intent and perhaps an object: the intent cleaner removes both. A crash after 3 leaves
outbox rows. After a commit whose answer was lost nothing is deleted: the intent, if still there, says the truth.
Definite failures (bad input, a client that left, a condition) clean up at once; unclear ones (a timeout, a
cancellation) leave the intent to the cleaner, because a request may still be on its way.
"""

from contextlib import aclosing

from thermocline.domain.content import Receipt, Record, check_end, freeze_metadata
from thermocline.domain.digests import DIGEST_BYTES
from thermocline.domain.errors import InvalidInputError
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Bytes
from thermocline.services.admission import MemoryBudget
from thermocline.services.caching import ContentCache
from thermocline.services.prefilling import Prefiller
from thermocline.services.transferring import Body, Gathering, Transfer, TransferParts, WriteRequest, pieces_of


class WritingService:
    """Writes of contents: once acknowledged, durable and whole; otherwise without effect."""

    def __init__(
        self, transfers: TransferParts, cache: ContentCache, memory: MemoryBudget, prefiller: Prefiller
    ) -> None:
        self._transfers = transfers
        self._cache = cache
        self._memory = memory
        self._prefiller = prefiller

    async def store(self, request: WriteRequest, body: Body) -> Receipt:
        """Store `body` as the content; the receipt is the acknowledgement.

        Raises `DigestMismatchError`, `TruncatedBodyError`, `ContentTooLargeError`, `PreconditionFailedError`,
        `ContentHeldError`, `UnavailableError`; whatever `body` raises is passed on. Then nothing was stored,
        except that after `CommitUnknownError` it may have been.
        """
        metadata = freeze_metadata(request.metadata)
        self._check(request)
        placement = self._transfers.placements.of_tier(request.tier)
        part_size = placement.store.part_size
        # Up to three parts are in memory: one arriving, one being hashed and sent, one spare for regrouping.
        size = memoryview(body).nbytes if isinstance(body, bytearray | memoryview) else request.expected_size
        wanted = part_size * 3 if size is None else min(size, part_size * 3)
        async with (
            self._memory.grant(0 if isinstance(body, bytes) else wanted),
            aclosing(pieces_of(body, at_most=request.expected_size)) as pieces,
        ):
            gathering = Gathering(pieces, part_size)
            first = await gathering.next_part()
            transfer = Transfer(self._transfers, request, placement)
            is_whole = gathering.ended
            if is_whole:
                committed = await transfer.put_whole(first, metadata)
            else:
                committed = await transfer.upload(first, gathering, metadata)
        await self._cache.invalidate(request.content_id, committed.record.version)
        if is_whole and request.tier is StorageTier.HOT and self._cache.is_cacheable(committed.record):
            self._prefiller.offer(committed, bytes(first))
        return receipt_of(committed.record, created=committed.created)

    def part_size(self, tier: StorageTier) -> Bytes:
        """Return how much of a content of this tier is stored at one go."""
        return self._transfers.placements.of_tier(tier).store.part_size

    def _check(self, request: WriteRequest) -> None:
        if request.expected_size is not None:
            if request.expected_size < 0:
                raise InvalidInputError(f"a size cannot be negative: {request.expected_size}")
            self._transfers.check_size(request.expected_size)
        if request.expected_sha256 is not None and len(request.expected_sha256) != DIGEST_BYTES:
            raise InvalidInputError("sha256 must be the digest's 32 bytes; make them of text with bytes.fromhex")
        check_end(request.expires_at, self._transfers.clock.now())


def receipt_of(record: Record, *, created: bool) -> Receipt:
    """Return what acknowledges a write whose record this is."""
    return Receipt(
        content_id=record.content_id,
        revision=record.revision,
        version=record.version,
        object_key=record.object_key,
        etag=record.etag,
        size=record.size,
        tier=record.tier,
        created=created,
    )
