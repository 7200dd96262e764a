"""Streams: what precedes damage is given out, nothing else; whoever leaves stops everything."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from tests.machine import Machine
from tests.services.reads import damage, large_parts
from thermocline.adapters.objects.memory import MemoryObjectStore
from thermocline.domain.content import Record
from thermocline.domain.content_id import ContentId
from thermocline.domain.digests import CHUNK_BYTES
from thermocline.domain.errors import IntegrityError
from thermocline.services.verifying import stream_verified

CHUNKS = 3
BODY = b"".join(bytes([number]) * CHUNK_BYTES for number in range(CHUNKS))[:-100]


async def stored(machine: Machine) -> Record:
    async with machine.process() as store:
        await store.store_content("a", BODY)
        return await store.services.reading.stat(ContentId("a"))


@pytest.mark.parametrize("damaged", range(CHUNKS))
def test_what_precedes_the_damage_is_given_out_and_nothing_else(damaged: int, tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = large_parts(tmp_path)
        record = await stored(machine)
        data = bytearray(BODY)
        data[damaged * CHUNK_BYTES + 7] ^= 1
        damage(machine, record.object_key, bytes(data))
        stream = stream_verified(machine.objects, record, 0, len(BODY))
        async with aclosing(stream):
            for number in range(damaged):
                assert (await anext(stream))[0] == number
            with pytest.raises(IntegrityError, match=f"chunk {damaged} "):
                await anext(stream)
        intact = stream_verified(machine.objects, record, (damaged + 1) * CHUNK_BYTES, len(BODY))
        async with aclosing(intact):
            assert sum([len(chunk) async for chunk in intact]) == max(len(BODY) - (damaged + 1) * CHUNK_BYTES, 0)

    asyncio.run(scenario())


def test_a_reader_that_leaves_stops_everything(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = large_parts(tmp_path)
        record = await stored(machine)
        closed = 0

        class Watched(MemoryObjectStore):
            async def stream(self, key: str, start: int, end: int) -> AsyncGenerator[bytes]:
                nonlocal closed
                try:
                    async for block in machine.objects.stream(key, start, end):
                        yield bytes(block)
                finally:
                    closed += 1

        stream = stream_verified(Watched(machine.clock), record, 0, len(BODY))
        async with aclosing(stream):
            await anext(stream)
        assert closed == 1
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())
