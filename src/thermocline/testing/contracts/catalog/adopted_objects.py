"""Laws of `AdoptedObjects`: what is barred was adopted, is named by no record, and cannot be adopted meanwhile."""
# ruff: noqa: D102 - the name of a test states its law

import asyncio

import pytest

from thermocline.domain.adopted_objects import ObjectStamp
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import IntentLostError, StorageError, UnavailableError
from thermocline.domain.file_stamps import FileStamp, stamped_metadata
from thermocline.domain.units import Bytes, Timestamp
from thermocline.domain.work import OutboxKind
from thermocline.ports.records import Committed
from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.steps import (
    LEASE,
    PLACEMENT,
    OpenCatalog,
    Steps,
    one_process,
    some_id,
    two_processes,
)

SECOND = 1_000_000
STAMP = ObjectStamp(Bytes(4), Timestamp(7 * SECOND), "etag")
LATER = ObjectStamp(Bytes(4), Timestamp(8 * SECOND), "other")


async def _adopt(steps: Steps, content_id: ContentId, key: str, stamp: ObjectStamp | None = STAMP) -> Committed:
    return await steps.put(content_id, object_key=key, adopted=stamp)


async def _barred(steps: Steps, *keys: str) -> dict[str, list[ObjectStamp]]:
    """Bar what can be, let it go again, keeping every note; return what was barred."""
    barred = await steps.catalog.adopted.bar(keys, PLACEMENT, lease=LEASE)
    assert not barred.busy
    await steps.expire_claims()
    claimed = await steps.catalog.intents.condemn_expired(lease=LEASE, limit=10)
    assert {intent.object_key for intent in claimed} >= set(barred.stamps)
    await steps.catalog.intents.settle(claimed, again_in=None)
    return {key: sorted(stamps, key=str) for key, stamps in barred.stamps.items()}


class AdoptedObjectsContract(CatalogContract):
    """Laws of `AdoptedObjects`."""

    async def test_only_what_was_adopted_and_is_not_named_is_barred(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            ended, live, unknown = (some_id(name) for name in ("ended", "live", "unknown"))
            await _adopt(steps, ended, f"old/{ended}")
            await _adopt(steps, live, f"old/{live}")
            await _adopt(steps, unknown, f"old/{unknown}", None)
            for content_id in (ended, unknown):
                await steps.delete(content_id)
            keys = [f"old/{each}" for each in (ended, live, unknown, "never")]
            barred = await steps.catalog.adopted.bar(keys, PLACEMENT, lease=LEASE)
            assert (barred.stamps, barred.busy) == ({keys[0]: [STAMP]}, frozenset())
            assert await steps.catalog.intents.count() == 1

    async def test_an_overwrite_and_a_move_end_an_adoption_too(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            overwritten, moved = some_id("o"), some_id("m")
            for content_id in (overwritten, moved):
                await _adopt(steps, content_id, f"old/{content_id}")
            await steps.put(overwritten)
            assert await steps.commit_move(await steps.begin_move(moved)) is not None
            keys = [f"old/{overwritten}", f"old/{moved}"]
            assert set((await steps.catalog.adopted.bar(keys, PLACEMENT, lease=LEASE)).stamps) == set(keys)

    async def test_each_content_that_adopted_it_must_have_ended(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            one, other = some_id("1"), some_id("2")
            key = f"old/{one}"
            await _adopt(steps, one, key)
            await _adopt(steps, other, key, LATER)
            await steps.delete(one)
            assert await _barred(steps, key) == {}
            await steps.delete(other)
            assert await _barred(steps, key) == {key: sorted([STAMP, LATER], key=str)}

    async def test_adopted_again_it_is_noted_as_it_is_then(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            for stamp in (STAMP, LATER):
                await _adopt(steps, content_id, f"old/{content_id}", stamp)
            assert await _barred(steps, f"old/{content_id}") == {}
            await steps.delete(content_id)
            assert await _barred(steps, f"old/{content_id}") == {f"old/{content_id}": [LATER]}

    async def test_forgetting_drops_what_has_ended_and_the_bar(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            one, other = some_id("1"), some_id("2")
            keys = [f"old/{one}", f"old/{other}"]
            await _adopt(steps, one, keys[0])
            await _adopt(steps, other, keys[1])
            await steps.delete(one)
            barred = await steps.catalog.adopted.bar(keys, PLACEMENT, lease=LEASE)
            await steps.catalog.adopted.forget(keys, token=barred.token)
            assert await steps.catalog.intents.count() == 0
            assert await _barred(steps, *keys) == {}
            # The live one's note is still there.
            await steps.delete(other)
            assert await _barred(steps, *keys) == {keys[1]: [STAMP]}
            await steps.catalog.adopted.forget(keys)
            assert await _barred(steps, *keys) == {}
            await steps.catalog.adopted.forget([])

    async def test_a_bar_is_dropped_only_by_its_token(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            key = f"old/{content_id}"
            await _adopt(steps, content_id, key)
            await steps.delete(content_id)
            first = await steps.catalog.adopted.bar([key], PLACEMENT, lease=LEASE)
            second = await steps.catalog.adopted.bar([key], PLACEMENT, lease=LEASE)
            assert (set(first.stamps), second.stamps, second.busy) == ({key}, {}, frozenset([key]))
            await steps.catalog.adopted.forget([key], token=second.token)
            assert await steps.catalog.intents.count() == 1

    async def test_what_is_barred_cannot_be_adopted(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            key = f"old/{content_id}"
            await _adopt(steps, content_id, key)
            await steps.delete(content_id)
            barred = await steps.catalog.adopted.bar([key], PLACEMENT, lease=LEASE)
            assert await steps.catalog.intents.withdraw(key, lease=LEASE) is None
            with pytest.raises(UnavailableError, match="something else is at work"):
                await steps.declare(key)
            with pytest.raises(IntentLostError):
                await steps.commit(steps.write_of(content_id, object_key=key, adopted=STAMP))
            await steps.catalog.adopted.forget([key], token=barred.token)
            await _adopt(steps, content_id, key)

    async def test_what_is_being_adopted_is_not_barred(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            one, other = some_id("1"), some_id("2")
            key = f"old/{one}"
            await _adopt(steps, one, key)
            await steps.delete(one)
            await steps.declare(key)
            barred = await steps.catalog.adopted.bar([key], PLACEMENT, lease=LEASE)
            assert (barred.stamps, barred.busy) == ({}, frozenset([key]))
            await steps.commit(steps.write_of(other, object_key=key, adopted=STAMP))
            assert await _barred(steps, key) == {}

    async def test_an_adoption_beside_a_bar_either_fails_or_is_seen(self, open_catalog: OpenCatalog) -> None:
        async with two_processes(open_catalog) as (one, other):
            for _ in range(20):
                ended, new = some_id("1"), some_id("2")
                key = f"old/{ended}"
                await _adopt(one, ended, key)
                await one.delete(ended)
                await other.declare(key)
                committing = asyncio.ensure_future(other.commit(other.write_of(new, object_key=key, adopted=STAMP)))
                barred = await one.catalog.adopted.bar([key], PLACEMENT, lease=LEASE)
                assert not isinstance(await committing, StorageError)
                assert not barred.stamps

    async def test_forgetting_beside_the_same_adoption_again_keeps_its_note(self, open_catalog: OpenCatalog) -> None:
        async with two_processes(open_catalog) as (one, other):
            for _ in range(20):
                content_id = some_id()
                key = f"old/{content_id}"
                await _adopt(one, content_id, key)
                await one.delete(content_id)
                await asyncio.gather(_adopt(other, content_id, key), one.catalog.adopted.forget([key]))
                await one.delete(content_id)
                assert await _barred(one, key) == {key: [STAMP]}

    async def test_what_older_versions_adopted_is_noted(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            own = await steps.catalog.installation()
            told, untold, ours = some_id("told"), some_id("untold"), some_id("ours")
            metadata = stamped_metadata(FileStamp(Bytes(4), 7 * 10**9))
            await steps.put(told, object_key=f"old/{told}", metadata=metadata)
            await steps.put(untold, object_key=f"old/{untold}")
            await steps.put(ours, object_key=f"{own}/{PLACEMENT}/{ours}/token")
            noted = some_id("noted")
            await _adopt(steps, noted, f"old/{noted}", LATER)
            assert await _note_all(steps) >= 2  # a range at a time
            for content_id in (told, untold, ours, noted):
                await steps.delete(content_id)
            keys = [row.subject for row in await steps.take_all(OutboxKind.DELETE_OBJECT)]
            assert await _barred(steps, *keys) == {
                f"old/{told}": [ObjectStamp(Bytes(4), Timestamp(7 * SECOND))],
                f"old/{untold}": [ObjectStamp(Bytes(4), None)],
                f"old/{noted}": [LATER],
            }

    async def test_erasing_hurries_what_was_adopted(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            for number in range(2):
                await _adopt(steps, content_id, f"old/{content_id}/{number}")
            await steps.take_all(OutboxKind.INVALIDATE)
            now = steps.clock.now()
            erased = await steps.erase(content_id)
            wanted = {f"old/{content_id}/{number}" for number in range(2)}
            assert {found.object_key for found in erased.objects} == wanted
            assert {row.subject for row in await steps.take(OutboxKind.DELETE_OBJECT, now=now)} == wanted


async def _note_all(steps: Steps) -> int:
    after, ranges = "", 0
    while True:
        last = await steps.catalog.adopted.note_unnoted(after=after, limit=2)
        ranges += 1
        if last is None:
            return ranges
        after = last
