"""One turn, in a process of its own: prints its time and how much its peak of memory grew, as JSON."""

import asyncio
import hashlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import obstore

from bench import processes
from bench.s3 import buckets
from thermocline import StorageOrchestrator, StorageTier

_PIECE_BYTES = 2**20
_PART_BYTES = 8 * 2**20
_AT_ONCE = 2
_BARE, _OURS = "bare", "ours"


async def _body(size: int) -> AsyncIterator[bytes]:
    pieces = [os.urandom(_PIECE_BYTES) for _ in range(4)]
    for number in range(size // _PIECE_BYTES):
        yield pieces[number % len(pieces)]


async def _hashed(size: int) -> AsyncIterator[bytes]:
    digest = hashlib.sha256()
    async for piece in _body(size):
        await asyncio.to_thread(digest.update, piece)
        yield piece


async def _measured(act: Callable[[], Awaitable[object]]) -> None:
    before = processes.peak_memory_bytes([os.getpid()])
    began = time.perf_counter()
    await act()
    seconds = time.perf_counter() - began
    grown = processes.peak_memory_bytes([os.getpid()]) - before
    print(json.dumps({"seconds": seconds, "grown_bytes": grown}))


async def _bare(side: str, endpoint: str, size: int) -> None:
    store = buckets.bare(endpoint)

    async def put() -> None:
        await obstore.put_async(
            store, _BARE, _hashed(size), use_multipart=True, chunk_size=_PART_BYTES, max_concurrency=_AT_ONCE
        )

    async def get() -> None:
        digest = hashlib.sha256()
        found = await obstore.get_async(store, _BARE)
        async for block in found.stream(min_chunk_size=_PIECE_BYTES):
            await asyncio.to_thread(digest.update, bytes(block))

    # Both sides begin with a client that has spoken to the server once.
    await obstore.sign_async(store, "GET", _BARE, timedelta(seconds=60))
    await _measured(put if side == "put-bare" else get)


async def _ours(side: str, endpoint: str, size: int, data: Path) -> None:
    async with StorageOrchestrator.open(buckets.settings(data, endpoint)) as store:

        async def get() -> None:
            digest = hashlib.sha256()
            async with store.open_content(_OURS) as content:
                async for chunk in content:
                    await asyncio.to_thread(digest.update, chunk)

        if side == "put":
            await _measured(lambda: store.store_content(_OURS, _body(size), initial_tier=StorageTier.COLD))
        else:
            await _measured(get)


def main() -> None:
    side, endpoint, size, data = sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
    asyncio.run(_bare(side, endpoint, size) if side.endswith("-bare") else _ours(side, endpoint, size, data))


if __name__ == "__main__":
    main()
