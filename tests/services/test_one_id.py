"""64 writers and readers on one id: each read is one revision's bytes; If-Match never lets two win."""

import asyncio
import random
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.machine import Machine
from thermocline import StorageOrchestrator
from thermocline.domain.errors import ContentNotFoundError, PreconditionFailedError


def revision_body(number: int) -> bytes:
    """Return bytes that tell their number at every place, several parts long."""
    return number.to_bytes(4) * (40 + number % 50)


def is_whole(body: bytes) -> bool:
    return body == revision_body(int.from_bytes(body[:4]))


def test_readers_see_whole_revisions_in_order(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            numbers = iter(range(1, 10_000))
            acknowledged: dict[int, int] = {}

            async def write() -> None:
                for _ in range(6):
                    number = next(numbers)
                    receipt = await store.store_content("a", revision_body(number))
                    assert receipt.revision not in acknowledged
                    acknowledged[receipt.revision] = number

            async def read() -> None:
                newest = 0
                for turn in range(30):
                    before = max(acknowledged, default=0)
                    body, revision = await read_any_way(store, turn)
                    if body is not None:
                        assert is_whole(body)
                        assert revision >= max(newest, before), "older than an acknowledged write"
                        newest = revision

            await asyncio.gather(*(write() for _ in range(32)), *(read() for _ in range(32)))
            last = max(acknowledged)
            assert await store.retrieve_content("a") == revision_body(acknowledged[last])
            assert (await store.stat("a")).revision == last

    asyncio.run(scenario())


async def read_any_way(store: StorageOrchestrator, turn: int) -> tuple[bytes | None, int]:
    """Read the whole content, buffered or streamed; None if it does not exist yet."""
    try:
        if turn % 2:
            entry = await store.services.reading.retrieve("a")  # type: ignore[arg-type]
            return entry.payload, entry.revision
        async with store.open_content("a") as content:
            return b"".join([bytes(piece) async for piece in content]), content.record.revision
    except ContentNotFoundError:
        await asyncio.sleep(0)
        return None, 0


@settings(max_examples=10)
@given(st.integers(0, 2**32))
def test_if_match_lets_one_win_even_when_bytes_repeat(seed: int) -> None:
    dice = random.Random(seed)

    async def scenario(folder: Path) -> None:
        machine = Machine(folder, seed=seed)
        async with machine.process() as store:
            etag = (await store.store_content("a", b"same")).etag
            for _ in range(5):

                async def attempt(condition: str = etag) -> str | None:
                    for _ in range(dice.randrange(4)):
                        await asyncio.sleep(0)
                    try:
                        return (await store.store_content("a", b"same", if_match=condition)).etag
                    except PreconditionFailedError:
                        return None

                winners = [won for won in await asyncio.gather(*(attempt() for _ in range(16))) if won]
                assert len(winners) == 1
                assert winners[0] != etag
                etag = winners[0]

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(scenario(Path(folder)))


def test_create_only_lets_one_win(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:

            async def attempt(number: int) -> bool:
                try:
                    await store.store_content("a", revision_body(number), if_none_match="*")
                except PreconditionFailedError:
                    return False
                return True

            assert sum(await asyncio.gather(*(attempt(number) for number in range(64)))) == 1
        await machine.recover()
        stored, named, rows, intents = await machine.remains()
        assert stored == named
        assert (rows, intents) == (0, 0)

    asyncio.run(scenario())
