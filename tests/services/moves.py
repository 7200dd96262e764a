"""What tests of moves share."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing

import pytest

from tests.machine import Machine
from thermocline import StorageOrchestrator
from thermocline.domain.content_id import ContentId
from thermocline.domain.moves import LedgerEntry, PlannedMove
from thermocline.domain.tiers import StorageTier

HOT, WARM, COLD, ARCHIVE = StorageTier
HOUR, DAY = 3600.0, 86400.0
SMALL, LARGE = b"body", bytes(range(256)) * 2
"""One request; eight parts."""
BODIES = pytest.mark.parametrize("body", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
COPY = "objects.put#1"


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        await asyncio.wait_for(scenario(), 120)  # never reached, on however busy a machine

    asyncio.run(all_of_it())


async def ledger(store: StorageOrchestrator) -> list[LedgerEntry]:
    return list(await store.services.adapters.catalog.moves.ledger(content_id=None, limit=100))


async def tier_of(store: StorageOrchestrator, content_id: str = "a") -> StorageTier:
    return (await store.stat(content_id)).tier


async def plan(
    store: StorageOrchestrator, tier: StorageTier, content_id: str = "a", *, by_policy: bool = False
) -> bool:
    wish = PlannedMove(ContentId(content_id), tier, "a test", by_policy)
    return bool(await store.services.adapters.catalog.moves.plan([wish], now=store.services.adapters.clock.now()))


async def check_only_live_objects(machine: Machine, *, after_grace: bool = False) -> None:
    """Nothing is stored but what records name and, before the grace ends, what the outbox deletes; no intents."""
    stored, named, rows, intents = await machine.remains()
    assert intents == 0
    if after_grace:
        assert (stored, rows) == (named, 0)
        return
    assert named <= stored
    with closing(sqlite3.connect(machine.database)) as raw:
        queued = {
            key if isinstance(key, str) else key.decode()
            for (key,) in raw.execute("SELECT subject FROM outbox WHERE kind = 'delete_object'")
        }
    assert stored - named <= queued
