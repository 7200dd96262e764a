"""Steps that the catalog's contract tests are made of."""

import asyncio
import hashlib
import itertools
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from thermocline.domain.content import ALWAYS, Changes, Condition, Record, StoredHeaders, Visibility
from thermocline.domain.content_id import ContentId
from thermocline.domain.keys import TOKEN_ENTROPY_BYTES, ObjectKey, new_token
from thermocline.domain.moves import ClaimedMove, LedgerEntry, PlannedMove, TierChange, TierChanged
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Bytes, Seconds, Timestamp, later
from thermocline.domain.work import OutboxKind, OutboxRow
from thermocline.ports.catalog import Catalog
from thermocline.ports.moves import CopiedMove
from thermocline.ports.records import Committed, Erased, Write
from thermocline.testing.clock import ManualClock

OpenCatalog = Callable[[Callable[[], Timestamp]], AbstractAsyncContextManager[Catalog]]
"""Opens the catalog with that database clock. Opened several times, it is several processes on one database; the
first finds it empty."""

INSTALLATION: Final = "home"
PLACEMENT: Final = "standard"
OTHER_PLACEMENT: Final = "deep"
LEASE: Final = Seconds(60.0)
GRACE: Final = Seconds(3600.0)
EVICT_DELAY: Final = Seconds(2.0)
FAR_FUTURE: Final = Timestamp(2**60)
EVERYTHING: Final = 10_000

_numbers = itertools.count(1)


def some_id(name: str = "a") -> ContentId:
    """Return a content id that no other test has used."""
    return ContentId(f"run-{next(_numbers)}/{name}")


def new_key(content_id: ContentId, *, placement: str = PLACEMENT) -> str:
    """Return an object key that was never used."""
    token = new_token(Timestamp(0), secrets.token_bytes(TOKEN_ENTROPY_BYTES))
    return str(ObjectKey(INSTALLATION, placement, content_id, token))


class Steps:
    """One process on the catalog, with the clock that both the process and the database go by."""

    def __init__(self, catalog: Catalog, clock: ManualClock) -> None:
        self.catalog = catalog
        self.clock = clock

    def write_of(self, content_id: ContentId, body: bytes = b"body", **fields: Any) -> Write:
        """Return a write of `body` under a new key; `fields` replace what it has by default."""
        values: dict[str, Any] = {
            "content_id": content_id,
            "placement": PLACEMENT,
            "object_key": new_key(content_id),
            "digest": hashlib.sha256(body).digest(),
            "chunk_digests": b"",
            "size": Bytes(len(body)),
            "headers": StoredHeaders(),
            "metadata": {},
            "tier": StorageTier.HOT,
            "visibility": Visibility.PUBLIC,
            "expires_at": None,
            "condition": ALWAYS,
        }
        return Write(**(values | fields))

    async def declare(self, object_key: str, *, placement: str = PLACEMENT, lease: Seconds = LEASE) -> None:
        """Declare an intent."""
        await self.catalog.intents.declare(object_key, placement, lease=lease)

    async def commit(self, write: Write) -> Committed:
        """Commit a write whose intent was declared."""
        now = self.clock.now()
        return await self.catalog.records.commit_write(
            write, now=now, delete_at=later(now, GRACE), evict_at=later(now, EVICT_DELAY)
        )

    async def put(self, content_id: ContentId, body: bytes = b"body", **fields: Any) -> Committed:
        """Declare and commit a write."""
        write = self.write_of(content_id, body, **fields)
        await self.declare(write.object_key)
        return await self.commit(write)

    async def delete(
        self, content_id: ContentId, *, condition: Condition = ALWAYS, only_expired: bool = False
    ) -> Committed | None:
        """Commit a delete."""
        now = self.clock.now()
        return await self.catalog.records.commit_delete(
            content_id,
            condition=condition,
            now=now,
            delete_at=later(now, GRACE),
            evict_at=later(now, EVICT_DELAY),
            only_expired=only_expired,
        )

    async def change(
        self, content_id: ContentId, changes: Changes, *, condition: Condition = ALWAYS
    ) -> Committed | None:
        """Commit changes."""
        now = self.clock.now()
        return await self.catalog.records.commit_changes(
            content_id, changes, condition=condition, now=now, evict_at=later(now, EVICT_DELAY)
        )

    async def set_tiers(self, changes: Iterable[TierChange]) -> Sequence[TierChanged]:
        """Commit metadata-only moves."""
        now = self.clock.now()
        return await self.catalog.moves.change_tiers(list(changes), now=now, evict_at=later(now, EVICT_DELAY))

    async def plan(self, content_id: ContentId, tier: StorageTier = StorageTier.COLD, **fields: Any) -> bool:
        """Plan a copying move; whether it is planned now."""
        plans = [PlannedMove(content_id, tier, **fields)]
        return await self.catalog.moves.plan(plans, now=self.clock.now()) == [content_id]

    async def claim_moves(self, *, now: Timestamp = FAR_FUTURE, limit: int = EVERYTHING) -> Sequence[ClaimedMove]:
        """Claim planned moves that are due."""
        return await self.catalog.moves.claim(now=now, lease=LEASE, limit=limit)

    async def claim_move(self, content_id: ContentId) -> ClaimedMove:
        """Claim the planned move of one content, which must be there and free."""
        (claim,) = await self.catalog.moves.claim(now=Timestamp(0), lease=LEASE, limit=1, content_id=content_id)
        return claim

    async def copied(self, claim: ClaimedMove) -> CopiedMove:
        """Declare the intent of a copy and return it finished."""
        source = await self.existing(claim.plan.content_id)
        object_key = new_key(source.content_id, placement=OTHER_PLACEMENT)
        await self.declare(object_key, placement=OTHER_PLACEMENT)
        return CopiedMove(claim, source, OTHER_PLACEMENT, object_key)

    async def begin_move(
        self, content_id: ContentId, tier: StorageTier = StorageTier.COLD, **fields: Any
    ) -> CopiedMove:
        """Do everything up to the commit of a move."""
        assert await self.plan(content_id, tier, **fields)
        return await self.copied(await self.claim_move(content_id))

    async def commit_move(self, move: CopiedMove) -> Committed | None:
        """Commit a move whose copy is finished."""
        now = self.clock.now()
        return await self.catalog.moves.commit_move(
            move, now=now, delete_at=later(now, GRACE), evict_at=later(now, EVICT_DELAY)
        )

    async def erase(self, content_id: ContentId, *placements: str) -> Erased:
        """Commit an erasure, of objects in all placements that tests use if none is given."""
        now = self.clock.now()
        names = placements or (PLACEMENT, OTHER_PLACEMENT)
        prefixes = [f"{INSTALLATION}/{placement}/{content_id}/" for placement in names]
        return await self.catalog.records.commit_erase(
            content_id, prefixes=prefixes, now=now, evict_at=later(now, EVICT_DELAY)
        )

    async def is_named_by_intent(self, object_key: str) -> bool:
        """Whether a live intent names the object."""
        return bool(await self.catalog.intents.renew([object_key], lease=LEASE))

    async def ledger(self, content_id: ContentId | None = None) -> Sequence[LedgerEntry]:
        """Return the moves that were made, newest first."""
        return await self.catalog.moves.ledger(content_id=content_id, limit=EVERYTHING)

    async def find(self, content_id: ContentId) -> Record | None:
        """Return the record, or None."""
        return await self.catalog.records.find(content_id)

    async def existing(self, content_id: ContentId) -> Record:
        """Return the record that must be there."""
        record = await self.find(content_id)
        assert record is not None, f"there is no record of {content_id!r}"
        return record

    async def take(
        self, kind: OutboxKind, *, now: Timestamp = FAR_FUTURE, lease: Seconds = LEASE
    ) -> Sequence[OutboxRow]:
        """Claim all rows of a kind that are due."""
        return await self.catalog.outbox.claim(kind, now=now, lease=lease, limit=EVERYTHING)

    async def take_all(self, kind: OutboxKind) -> Sequence[OutboxRow]:
        """Remove all rows of a kind and return them: what was queued since the last call."""
        rows = await self.take(kind)
        await self.catalog.outbox.complete(rows)
        return rows

    async def expire_claims(self) -> None:
        """Let every lease run out."""
        self.clock.advance(LEASE * 2)
        await asyncio.sleep(0)


@asynccontextmanager
async def one_process(open_catalog: OpenCatalog) -> AsyncIterator[Steps]:
    """Open the catalog once."""
    clock = ManualClock()
    async with open_catalog(clock.now) as catalog:
        yield Steps(catalog, clock)


@asynccontextmanager
async def two_processes(open_catalog: OpenCatalog) -> AsyncIterator[tuple[Steps, Steps]]:
    """Open the catalog twice, with one clock."""
    clock = ManualClock()
    async with open_catalog(clock.now) as one, open_catalog(clock.now) as other:
        yield Steps(one, clock), Steps(other, clock)
