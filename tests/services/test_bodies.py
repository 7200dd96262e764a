"""Bodies: any size at the edges of parts and chunks, any kind of buffer; what is not bytes, or not all, is refused."""

import array
import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.machine import PART_SIZE, Machine
from thermocline import Settings, StorageOrchestrator
from thermocline.adapters.objects.memory import MemoryObjectStore
from thermocline.domain.digests import CHUNK_BYTES, CHUNK_DIGEST_BYTES
from thermocline.domain.errors import (
    ContentNotFoundError,
    ContentTooLargeError,
    DigestMismatchError,
    InvalidInputError,
    TruncatedBodyError,
)
from thermocline.domain.units import Bytes
from thermocline.testing.faults import Faults


async def in_pieces(*pieces: Any) -> AsyncIterator[Any]:
    for piece in pieces:
        yield piece


async def leaves_nothing(store: StorageOrchestrator, machine: Machine) -> None:
    with pytest.raises(ContentNotFoundError):
        await store.retrieve_content("a")
    assert [page async for page in machine.objects.list_pages("")] == []
    assert await store.services.adapters.catalog.intents.count() == 0
    assert store.services.memory.in_use == 0


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_sizes_at_the_edges_come_back(size: int, tmp_path: Path, *, streamed: bool) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path, settings=Settings())
        machine.objects = MemoryObjectStore(machine.clock)
        body = bytes(range(251)) * (size // 251 + 1)
        body = body[:size]
        async with machine.process() as store:
            given_body: Any = in_pieces(body[: size // 3], b"", body[size // 3 :]) if streamed else body
            receipt = await store.store_content("a", given_body, size=size)
            assert receipt.size == size
            await store.services.background.drain()
            await store.services.cache.clear()
            assert await store.retrieve_content("a") == body
            async with store.open_content("a") as content:
                assert b"".join([bytes(piece) async for piece in content]) == body
            if size:
                async with store.open_content("a", start=size - 1) as content:
                    assert b"".join([bytes(piece) async for piece in content]) == body[-1:]
            record = await store.stat("a")
            assert len(record.chunk_digests or b"") == (
                0 if size <= CHUNK_BYTES else -(-size // CHUNK_BYTES) * CHUNK_DIGEST_BYTES
            )

    asyncio.run(scenario())


BUFFERS: dict[str, Callable[[], Any]] = {
    "bytearray": lambda: bytearray(b"abcd" * 50),
    "memoryview": lambda: memoryview(b"abcd" * 50),
    "short memoryview": lambda: memoryview(b"abcd"),
    "memoryview of words": lambda: memoryview(array.array("I", [1, 2, 3] * 40)),
    "matrix": lambda: memoryview(bytes(240)).cast("B", (4, 60)),
    "every other byte": lambda: memoryview(b"ab" * 100)[::2],
    "empty memoryview": lambda: memoryview(b""),
    "empty words": lambda: memoryview(array.array("I")),
    "empty bytearray": bytearray,
}


@pytest.mark.parametrize("make", BUFFERS.values(), ids=list(BUFFERS))
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_every_kind_of_buffer_is_stored_byte_for_byte(
    make: Callable[[], Any], tmp_path: Path, *, streamed: bool
) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            receipt = await store.store_content("a", in_pieces(make(), b"", make()) if streamed else make())
            await store.services.background.drain()
            await store.services.cache.clear()
            expected = bytes(make()) * (2 if streamed else 1)
            assert receipt.size == len(expected)
            assert await store.retrieve_content("a") == expected

    asyncio.run(scenario())


@settings(max_examples=30)
@given(st.lists(st.integers(0, 200), max_size=8), st.integers(1, 64))
def test_a_producer_may_use_its_buffer_again(sizes: list[int], room: int) -> None:
    """As `readinto` loops do: each piece is a view of the same buffer, overwritten before the next is yielded."""

    async def scenario(folder: Path) -> None:
        buffer = bytearray(200)
        expected = b"".join(bytes([number]) * size for number, size in enumerate(sizes))

        async def reusing() -> AsyncIterator[memoryview]:
            for number, size in enumerate(sizes):
                buffer[:] = bytes([number]) * 200
                yield memoryview(buffer)[:size]
                buffer[:] = b"!" * 200
                for _ in range(room % 4):
                    await asyncio.sleep(0)

        machine = Machine(folder)
        async with machine.process() as store:
            await store.store_content("a", reusing())
            await store.services.background.drain()
            await store.services.cache.clear()
            assert await store.retrieve_content("a") == expected

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(scenario(Path(folder)))


def test_a_body_changed_while_it_is_stored_is_stored_as_one_state_of_each_part(tmp_path: Path) -> None:
    """Whatever of the change comes along: what is stored is what was hashed."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults()
        async with machine.process(faults) as store:
            body = bytearray(b"a" * 200)
            gate = faults.gate("objects.upload.write#2")
            faults.start()
            writing = asyncio.create_task(store.store_content("a", body))
            await gate.reached()
            body[:] = b"b" * 200
            gate.open()
            await writing
            stored = await store.retrieve_content("a")
            assert len(stored) == 200
            assert set(stored) <= set(b"ab")

    asyncio.run(scenario())


NOT_BYTES: dict[str, Callable[[], Any]] = {
    "text": lambda: "text",
    "nothing": lambda: None,
    "a list": lambda: [b"a", b"b"],
    "a number": lambda: 5,
    "pieces of text": lambda: in_pieces("text"),
    "text after bytes": lambda: in_pieces(b"a", "text"),
    "text after a part": lambda: in_pieces(b"a" * 200, "text", b"b"),
    "numbers": lambda: in_pieces(5),
    "a list of numbers": lambda: in_pieces(b"a", [1, 2, 3]),
}


@pytest.mark.parametrize("make", NOT_BYTES.values(), ids=list(NOT_BYTES))
def test_what_is_not_bytes_is_refused_and_leaves_nothing(make: Callable[[], Any], tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            with pytest.raises(InvalidInputError, match=r"bytes.*nothing was stored"):
                await store.store_content("a", make())
            await leaves_nothing(store, machine)

    asyncio.run(scenario())


@pytest.mark.parametrize("announced", [0, 1, 63, 64, 65, 199, 201, 1000])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_body_of_another_size_than_announced_leaves_nothing(
    announced: int, tmp_path: Path, *, streamed: bool
) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            body: Any = in_pieces(b"x" * 100, b"x" * 100) if streamed else b"x" * 200
            with pytest.raises(TruncatedBodyError, match=f"{announced} bytes were announced"):
                await store.store_content("a", body, size=announced)
            await leaves_nothing(store, machine)

    asyncio.run(scenario())


def test_an_endless_body_is_refused_at_once_when_more_than_announced_came(tmp_path: Path) -> None:
    """Otherwise it would hold memory that it was not granted, until it meets the limit of all contents."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        yielded = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal yielded
            while True:
                yielded += 1
                yield b"x" * 32

        async with machine.process() as store:
            with pytest.raises(TruncatedBodyError):
                await store.store_content("a", endless(), size=10)
            assert yielded == 1
            await leaves_nothing(store, machine)

    asyncio.run(scenario())


@pytest.mark.parametrize("body", [b"x" * 50, b"x" * 500], ids=["whole", "parts"])
def test_wrong_digests_leave_nothing(body: bytes, tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            with pytest.raises(DigestMismatchError):
                await store.store_content("a", body, sha256=b"\0" * 32)
            with pytest.raises(InvalidInputError, match="32 bytes"):
                await store.store_content("a", body, sha256=("00" * 32).encode())
            with pytest.raises(InvalidInputError, match="negative"):
                await store.store_content("a", body, size=-1)
            await leaves_nothing(store, machine)

    asyncio.run(scenario())


def test_content_above_the_limit_is_refused_early(tmp_path: Path) -> None:
    """Announced: before its first byte is asked for. Not announced: at the part that passes the limit."""

    async def scenario() -> None:
        limits = Settings.model_validate({"limits": {"max_content_size": 200}})
        machine = Machine(tmp_path, settings=limits)
        asked = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal asked
            while True:
                asked += 1
                yield b"x" * PART_SIZE

        async with machine.process() as store:
            with pytest.raises(ContentTooLargeError):
                await store.store_content("a", endless(), size=201)
            assert asked == 0
            with pytest.raises(ContentTooLargeError):
                await store.store_content("a", endless())
            assert asked <= 6
            with pytest.raises(ContentTooLargeError):
                await store.store_content("a", b"x" * 201)
            await leaves_nothing(store, machine)
            assert (await store.store_content("a", b"x" * 200)).size == 200

    asyncio.run(scenario())


def test_a_body_that_fails_or_is_given_up_is_closed_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        closed = 0

        async def failing(pieces: int, failure: BaseException | None) -> AsyncIterator[bytes]:
            nonlocal closed
            try:
                for _ in range(pieces):
                    yield b"x" * 50
                if failure is None:
                    await asyncio.Event().wait()
                else:
                    raise failure
            finally:
                closed += 1

        async with machine.process() as store:
            for pieces in (0, 1, 4):
                with pytest.raises(ZeroDivisionError):
                    await store.store_content("a", failing(pieces, ZeroDivisionError()))
            await leaves_nothing(store, machine)
            assert closed == 3
            for pieces in (0, 1, 4):
                writing = asyncio.create_task(store.store_content("a", failing(pieces, None)))
                for _ in range(100):
                    await asyncio.sleep(0.0005)
                writing.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await writing
            assert closed == 6
            assert store.services.memory.in_use == 0
        await machine.recover()
        async with machine.process() as store:
            await leaves_nothing(store, machine)

    asyncio.run(scenario())


def test_memory_in_flight_is_granted_before_the_body_is_read(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults()
        async with machine.process(faults) as store:
            memory = store.services.memory
            seen: list[int] = []

            async def looking(pieces: int) -> AsyncIterator[bytes]:
                for _ in range(pieces):
                    seen.append(memory.in_use)
                    yield b"x" * 50

            await store.store_content("a", looking(10))
            assert set(seen) == {3 * PART_SIZE}
            seen.clear()
            await store.store_content("a", looking(1), size=50)
            assert seen == [50]
            assert memory.in_use == 0
            gate = faults.gate("objects.put#1")
            faults.start()
            writing = asyncio.create_task(store.store_content("a", bytearray(10)))
            await gate.reached()
            assert memory.in_use == 10, "what may change is copied"
            gate.open()
            await writing

    asyncio.run(scenario())


@pytest.mark.parametrize("expires_in", [0, -1, 1e13])
def test_an_end_that_is_no_future_is_refused(expires_in: float, tmp_path: Path) -> None:
    """Acknowledging what is gone at once would be a trap; beyond the year 9999 no calendar can print it."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            with pytest.raises(InvalidInputError, match="future"):
                await store.store_content("a", b"x", expires_in=expires_in)
            await leaves_nothing(store, machine)
            await store.store_content("a", b"x")
            with pytest.raises(InvalidInputError, match="future"):
                await store.update_metadata("a", expires_in=expires_in)
            assert (await store.stat("a")).expires_at is None

    asyncio.run(scenario())


def test_a_body_of_one_part_is_one_request_that_carries_its_digest(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults()
        async with machine.process(faults) as store:
            faults.start()
            receipt = await store.store_content("a", b"x" * PART_SIZE)
            assert [point for point in faults.points if point.startswith("objects.")] == ["objects.put#1"]
            head = await machine.objects.head(receipt.object_key)
            assert head is not None
            assert head.attributes["sha256"] == hashlib.sha256(b"x" * PART_SIZE).hexdigest()
            assert head.attributes["content-id"] == "a"
            receipt = await store.store_content("a", b"x" * (PART_SIZE + 1))
            head = await machine.objects.head(receipt.object_key)
            assert head is not None
            assert "sha256" not in head.attributes, "not known when it began"

    asyncio.run(scenario())


def test_a_part_may_be_larger_than_a_chunk(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        machine.objects = MemoryObjectStore(machine.clock, part_size=Bytes(2 * CHUNK_BYTES))
        body = bytes(range(256)) * ((CHUNK_BYTES + 1024) // 256)
        async with machine.process() as store:
            await store.store_content("a", body)
            async with store.open_content("a", start=CHUNK_BYTES) as content:
                assert b"".join([bytes(piece) async for piece in content]) == body[CHUNK_BYTES:]

    asyncio.run(scenario())
