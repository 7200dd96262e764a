"""Bytes from a store, verified before they are given out: whole, or chunk by chunk."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace

from thermocline.domain.content import Record
from thermocline.domain.digests import (
    CHUNK_BYTES,
    Buffer,
    ContentDigest,
    chunk_is_intact,
    covering_chunks,
    digest_whole,
)
from thermocline.domain.errors import IntegrityError
from thermocline.ports.object_store import ObjectStore

OFFLOAD_BYTES = 256 * 1024
"""From this size on, hashing (which releases the interpreter lock) is worth a thread hop."""


async def fetch_verified(store: ObjectStore, record: Record) -> bytes:
    """Return all bytes of the record's object, verified against its SHA-256.

    Raises `IntegrityError`, or `ObjectMissingError`, which may only mean that the record has moved on.
    """
    try:
        data = await store.fetch(record.object_key, 0, record.size)
    except EOFError as exc:
        raise _damaged(record, "it is shorter than what was stored") from exc
    digest = digest_whole(data) if len(data) < OFFLOAD_BYTES else await asyncio.to_thread(digest_whole, data)
    if digest != record.digest:
        raise _damaged(record, "its bytes are not those that were stored")
    return data


async def stream_verified(store: ObjectStore, record: Record, start: int, end: int) -> AsyncGenerator[Buffer]:
    """Yield the bytes `[start, end)`; no byte leaves before its whole chunk was verified.

    Holds at most two chunks besides what the caller holds: the next is read and verified while one is used.
    Raises as `fetch_verified` does. Must be closed if it is not read to its end.
    """
    chunks = _verified_chunks(store, record, start, end)
    ahead: asyncio.Task[Buffer | None] = asyncio.ensure_future(anext_or_none(chunks))
    try:
        while (chunk := await ahead) is not None:
            ahead = asyncio.ensure_future(anext_or_none(chunks))
            yield chunk
    finally:
        ahead.cancel()
        await asyncio.wait([ahead])
        if not ahead.cancelled():
            ahead.exception()  # seen: the consumer stopped listening
        await chunks.aclose()


async def anext_or_none(iterator: AsyncIterator[Buffer]) -> Buffer | None:
    """Return the next item, or None at the end."""
    return await anext(iterator, None)


async def _verified_chunks(store: ObjectStore, record: Record, start: int, end: int) -> AsyncGenerator[Buffer]:
    if start >= end:
        return
    if record.size > CHUNK_BYTES and not record.chunk_digests:
        record = await _with_chunk_digests(store, record)
    first = start // CHUNK_BYTES * CHUNK_BYTES
    last = min(-(-end // CHUNK_BYTES) * CHUNK_BYTES, record.size)
    blocks = store.stream(record.object_key, first, last)
    assembled = _in_chunks(blocks, last - first)
    try:
        for index, skip, stop in covering_chunks(start, end):
            chunk = await anext_or_none(assembled)
            expected = min(CHUNK_BYTES, record.size - index * CHUNK_BYTES)
            if chunk is None or len(chunk) != expected:
                raise _damaged(record, "it is shorter than what was stored")
            if not await _is_intact(chunk, index, record):
                raise _damaged(record, f"chunk {index} is not what was stored")
            yield chunk if (skip, stop) == (0, len(chunk)) else memoryview(chunk)[skip:stop]
    except EOFError as exc:
        raise _damaged(record, "it is shorter than what was stored") from exc
    finally:
        await assembled.aclose()
        await blocks.aclose()


async def _with_chunk_digests(store: ObjectStore, record: Record) -> Record:
    """Return the record with the chunk digests that it lacks, after reading all of its bytes once.

    It was adopted while its object was archived: its bytes could not be read, its SHA-256 was known.
    """
    digest = ContentDigest()
    async with aclosing(store.stream(record.object_key, 0, record.size)) as blocks:
        try:
            async for block in blocks:
                await asyncio.to_thread(digest.update, block)
        except EOFError as exc:
            raise _damaged(record, "it is shorter than what was stored") from exc
    if digest.whole() != record.digest:
        raise _damaged(record, "its bytes are not those that were stored")
    return replace(record, chunk_digests=digest.chunks())


async def _is_intact(chunk: Buffer, index: int, record: Record) -> bool:
    chunks = record.chunk_digests or b""
    if chunks or len(chunk) < OFFLOAD_BYTES:
        # A chunk's own digest takes a tenth of a millisecond at most: less than a thread takes to wake up.
        return chunk_is_intact(chunk, index=index, whole=record.digest, chunks=chunks)
    return await asyncio.to_thread(chunk_is_intact, chunk, index=index, whole=record.digest, chunks=chunks)


async def _in_chunks(blocks: AsyncIterator[Buffer], total: int) -> AsyncGenerator[Buffer]:
    """Regroup blocks of any size into chunks; a block that is a whole chunk passes through uncopied."""
    gathered = bytearray()
    async for block in blocks:
        view = memoryview(block)
        while view:
            size = min(CHUNK_BYTES, total)
            if not gathered and len(view) == size:
                yield block if len(view) == len(block) else view
                total -= size
                break
            room = size - len(gathered)
            gathered += view[:room]
            view = view[room:]
            if len(gathered) == size:
                yield bytes(gathered)
                total -= size
                gathered = bytearray()
    if gathered:
        yield bytes(gathered)


def _damaged(record: Record, detail: str) -> IntegrityError:
    return IntegrityError(record.content_id, object_key=record.object_key, detail=detail)
