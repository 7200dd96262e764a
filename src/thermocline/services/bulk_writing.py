"""Writing many small contents: the steps of `services.writing`, with one transaction where many can share it.

1. Declare the intents of all, in one transaction; hold them until the end.
2. Send each object, while its own intent is surely live.
3. **Commit point** of all that were sent: one transaction, in which each is checked, switched, or refused, as alone.
4. Before the acknowledgement: evict each. They are not offered to the cache, because nobody has asked for them.

A crash or a failure leaves of each what it would have left alone: before 3 an intent and perhaps an object.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thermocline.domain.errors import StorageError
from thermocline.domain.units import later
from thermocline.ports.bulk_writes import BulkWrites
from thermocline.ports.object_store import NewObject, PutsMany
from thermocline.ports.records import Committed
from thermocline.services.caching import ContentCache
from thermocline.services.intent_keeping import HeldIntent
from thermocline.services.placements import Placement
from thermocline.services.transferring import EVICT_DELAY, Transfer, TransferParts, WriteRequest, clean_up_after


@dataclass(frozen=True, slots=True)
class BulkItem:
    """One content of many: what is known of it and its bytes, at most a part of its store."""

    request: WriteRequest
    """Its metadata is frozen already."""
    data: bytes


class BulkWriter:
    """Writes of many contents at once; each acknowledged one is durable and whole, each other one without effect."""

    def __init__(self, bulk: BulkWrites, transfers: TransferParts, cache: ContentCache) -> None:
        self._bulk = bulk
        self._transfers = transfers
        self._cache = cache

    async def store(self, items: Sequence[BulkItem]) -> Sequence[Committed | StorageError]:
        """Store contents of one tier and of different ids; each is answered as `WritingService.store` would.

        After `CommitUnknownError` it may have been stored. The caller accounts for the memory.
        """
        if not items:
            return []
        placement = self._transfers.placements.of_tier(items[0].request.tier)
        flights = [_Flight(Transfer(self._transfers, item.request, placement), item) for item in items]
        for flight in flights:
            await flight.examine()
        sound = [flight for flight in flights if flight.failure is None]
        if sound:
            await self._transfer(sound, placement)
        for flight in flights:
            if flight.committed is not None:
                await self._cache.invalidate(flight.item.request.content_id, flight.committed.record.version)
        return [flight.answer() for flight in flights]

    async def _transfer(self, flights: "Sequence[_Flight]", placement: Placement) -> None:
        keys = [str(flight.transfer.key) for flight in flights]
        keeper = self._transfers.keeper
        try:
            intents = await keeper.declare_all(self._bulk, keys, placement.name)
        except StorageError as exc:
            for flight in flights:
                flight.failure = exc
            return
        try:
            await self._send(flights, intents, placement)
            await self._commit([flight for flight in flights if flight.failure is None])
        finally:
            for intent in intents:
                keeper.let_go(intent)
        for flight in flights:
            if flight.failure is not None:
                await clean_up_after(flight.failure, self._transfers, flight.transfer.key, placement, None)

    async def _send(self, flights: "Sequence[_Flight]", intents: Sequence[HeldIntent], placement: Placement) -> None:
        store = placement.store
        if not isinstance(store, PutsMany):
            sending = (flight.send(intent) for flight, intent in zip(flights, intents, strict=True))
            await asyncio.gather(*sending)
            return
        ready: list[tuple[_Flight, NewObject]] = []
        for flight, intent in zip(flights, intents, strict=True):
            try:
                ready.append((flight, flight.transfer.as_object(intent, flight.item.data)))
            except StorageError as exc:
                flight.failure = exc
        try:
            answers = await store.put_all([new for _, new in ready], storage_class=placement.storage_class)
        except StorageError as exc:
            answers = [exc] * len(ready)
        for (flight, _), answer in zip(ready, answers, strict=True):
            flight.failure = answer

    async def _commit(self, flights: "Sequence[_Flight]") -> None:
        if not flights:
            return
        now = self._transfers.clock.now()
        writes = [flight.transfer.as_write(flight.metadata) for flight in flights]
        try:
            answers = await self._bulk.commit(
                writes, now=now, delete_at=later(now, self._transfers.grace.objects), evict_at=later(now, EVICT_DELAY)
            )
        except StorageError as exc:
            answers = [exc] * len(flights)
        for flight, answer in zip(flights, answers, strict=True):
            if isinstance(answer, StorageError):
                flight.failure = answer
            else:
                flight.committed = answer


class _Flight:
    """One content on its way, and what became of it."""

    def __init__(self, transfer: Transfer, item: BulkItem) -> None:
        self.transfer = transfer
        self.item = item
        self.failure: StorageError | None = None
        self.committed: Committed | None = None

    @property
    def metadata(self) -> Mapping[str, Any]:
        return self.item.request.metadata or {}

    async def examine(self) -> None:
        """Compute the digests; what was announced otherwise ends this flight alone."""
        try:
            await self.transfer.examine(self.item.data)
        except StorageError as exc:
            self.failure = exc

    async def send(self, intent: HeldIntent) -> None:
        """Store the object; a failure ends this flight alone."""
        try:
            await self.transfer.send(intent, self.item.data)
        except StorageError as exc:
            self.failure = exc

    def answer(self) -> Committed | StorageError:
        """Return what became of it."""
        if self.committed is not None:
            return self.committed
        if self.failure is None:
            raise AssertionError("a flight ends committed or failed")
        return self.failure
