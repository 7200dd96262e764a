"""Mending: a record gets a good copy of its own bytes, or stays as it is."""

import asyncio
from pathlib import Path

import pytest

from tests.crash.recovering import alter_object, keys_in, put_object
from tests.machine import Machine, settle
from tests.services.test_adopting import refuse_reads
from thermocline import StorageOrchestrator
from thermocline.domain.content import Record
from thermocline.domain.content_id import ContentId
from thermocline.domain.digests import CHUNK_BYTES
from thermocline.domain.errors import ObjectArchivedError, UnavailableError
from thermocline.domain.units import Bytes, Seconds
from thermocline.domain.work import OutboxKind
from thermocline.services.mending import MOST_SOURCES, Mended

BODY = b"body " * 50


async def mend(store: StorageOrchestrator, *names: str) -> list[Mended]:
    return [one async for one in store.services.mending.mend([ContentId(name) for name in names])]


async def lose(machine: Machine, store: StorageOrchestrator, name: str, body: bytes = BODY) -> Record:
    """Store a content, and lose its object."""
    await store.store_content(name, body, metadata={"k": "v"})
    await store.services.background.drain()
    record = await store.stat(name)
    await machine.objects.delete([record.object_key])
    await store.services.cache.clear()
    return record


@pytest.mark.parametrize("body", [b"", b"x", BODY, bytes(CHUNK_BYTES + 7)], ids=len)
def test_a_missing_object_is_replaced_by_a_copy_of_the_same_bytes(tmp_path: Path, body: bytes) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        if len(body) > len(BODY):
            machine.objects.part_size = Bytes(CHUNK_BYTES)
        async with machine.process() as store:
            record = await lose(machine, store, "a", body)
            source = await put_object(machine, "a", body)
            (mended,) = await mend(store, "a")
            assert mended.object_key not in {None, source, record.object_key}, "the bytes are copied"
            now = await store.stat("a")
            assert (now.object_key, now.revision, now.metadata) == (mended.object_key, record.revision, {"k": "v"})
            assert now.version > record.version
            async with store.open_content("a") as content:
                assert b"".join([bytes(piece) async for piece in content]) == body
            # The source goes the way of everything that nothing names, the record stays.
            await settle(store, machine.clock)
            assert await keys_in(machine) == {now.object_key}
            assert [finding async for finding in store.check()] == []

    asyncio.run(scenario())


def test_a_damaged_object_is_replaced_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", BODY)
            key = (await store.stat("a")).object_key
            await put_object(machine, "a", BODY)
            alter_object(machine, key, data=BODY[::-1])
            await store.services.cache.clear()
            (finding,) = [one async for one in store.check() if one.damage.value == "damaged"]
            assert finding.content_id == "a"
            assert (await mend(store, "a"))[0].object_key is not None
            assert await store.retrieve_content("a") == BODY

    asyncio.run(scenario())


def test_only_the_same_bytes_will_do(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            record = await lose(machine, store, "a")
            sources = {
                await put_object(machine, "a", BODY[::-1], sha256=record.digest),
                await put_object(machine, "a", BODY + b"!"),
                await put_object(machine, "a", BODY[1:]),
                await put_object(machine, "b", BODY),
            }
            (result,) = await mend(store, "a")
            assert result.object_key is None
            assert "thermocline rm a" in result.detail
            assert (await store.stat("a")).object_key == record.object_key
            assert await keys_in(machine) == sources, "the copy that was begun is gone"

    asyncio.run(scenario())


def test_the_newest_sources_are_tried_and_their_number_is_bounded(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            await lose(machine, store, "a")
            await put_object(machine, "a", BODY)
            for _ in range(MOST_SOURCES - 1):
                machine.clock.advance(Seconds(1.0))
                await put_object(machine, "a", BODY[::-1])
            assert (await mend(store, "a"))[0].object_key is not None
            await lose(machine, store, "b")
            await put_object(machine, "b", BODY)
            for _ in range(MOST_SOURCES):
                machine.clock.advance(Seconds(1.0))
                await put_object(machine, "b", BODY[::-1])
            assert (await mend(store, "b"))[0].object_key is None

    asyncio.run(scenario())


def test_an_archived_source_is_named(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            await lose(machine, store, "a")
            key = await put_object(machine, "a", BODY)
            refuse_reads(machine, key, ObjectArchivedError(key))
            (result,) = await mend(store, "a")
            assert result.object_key is None
            assert "archived" in result.detail

    asyncio.run(scenario())


def test_a_store_that_does_not_answer_ends_the_mending(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            await lose(machine, store, "a")
            key = await put_object(machine, "a", BODY)
            refuse_reads(machine, key, UnavailableError("down"))
            with pytest.raises(UnavailableError):
                await mend(store, "a")
            # The intent of the copy that was begun is the cleaner's.
            await settle(store, machine.clock)
            assert await store.services.adapters.catalog.intents.count() == 0

    asyncio.run(scenario())


def test_what_was_replaced_meanwhile_needs_no_mending(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            await lose(machine, store, "a")
            await put_object(machine, "a", BODY)
            await store.store_content("gone", b"x")
            await store.delete_content("gone")
            find = store.services.adapters.catalog.records.find
            records = store.services.mending._records

            async def find_then_write(content_id: ContentId) -> Record | None:
                found = await find(content_id)
                records.find = find  # type: ignore[method-assign]
                await store.store_content("a", b"written")
                return found

            records.find = find_then_write  # type: ignore[method-assign]
            (result,) = await mend(store, "a", "gone")
            assert result.object_key == (await store.stat("a")).object_key
            assert await store.retrieve_content("a") == b"written"

    asyncio.run(scenario())


def test_dead_letters_are_tried_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", BODY)
            await store.delete_content("a")
            machine.clock.advance(Seconds(3 * 3600.0))
            outbox = store.services.adapters.catalog.outbox
            (row,) = await outbox.claim(OutboxKind.DELETE_OBJECT, now=machine.clock.now(), lease=Seconds(1.0), limit=10)
            await outbox.fail([row], reason="why", due_at=None)
            assert await store.services.mending.revive_dead_letters() == 1
            await store.services.outbox.deliver(OutboxKind.DELETE_OBJECT)
            assert await keys_in(machine) == set()

    asyncio.run(scenario())
