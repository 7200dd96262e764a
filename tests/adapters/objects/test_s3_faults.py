"""Every operation under every fault of the network and the server: our error or success, never anything between.

A cell is (operation, fault, how often). A fault that strikes once may be survived; one that strikes each request ends
in `UnavailableError`, in bounded time. Afterwards, on a calm network, the operation works, and nothing is left over.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from tests.counts import SOAK
from tests.s3_servers import location, new_bucket
from thermocline.adapters.objects.s3 import S3ObjectStore
from thermocline.adapters.objects.s3_clients import S3Limits
from thermocline.domain.errors import IntentLostError, StorageError, UnavailableError
from thermocline.domain.restores import RestoreSpeed
from thermocline.domain.units import Bytes, Seconds
from thermocline.ports.object_store import Upload
from thermocline.testing.contracts.restorable import ARCHIVE_CLASSES
from thermocline.testing.servers.ceph import CephServer
from thermocline.testing.servers.glacier import GlacierServer
from thermocline.testing.servers.tcp_proxy import Fault, TcpProxy

pytestmark = [pytest.mark.server, pytest.mark.thorough]

HASTY = S3Limits(connect_time=Seconds(2.0), stall_time=Seconds(1.0), request_time=Seconds(5.0), max_connections=8)
BODY = bytes(range(256)) * 1200  # 300 KB: several blocks of the proxy
PART = Bytes(5 * 2**20)
OFTEN = 1000
AT_ONCE = 8
LASTING = tuple(Fault) if SOAK else (Fault.RESET_REQUEST, Fault.BLACKHOLE, Fault.BUSY)
"""What strikes every request: each other fault takes one of these ways, too, and as long."""
CELLS = [*((fault, 1) for fault in Fault), *((fault, OFTEN) for fault in LASTING)]
PATIENCE = 40.0
"""A machine that runs other tests, too."""


@dataclass(frozen=True)
class World:
    """One store through a proxy of its own, and one beside it that no fault strikes."""

    store: S3ObjectStore
    calm: S3ObjectStore
    proxy: TcpProxy


@dataclass(frozen=True)
class Operation:
    name: str
    prepare: Callable[[World], Awaitable[Any]]
    act: Callable[[World, Any], Awaitable[Any]]
    check: Callable[[World], Awaitable[None]]
    on: str = "ceph"
    once: bool = False
    """Whether what it was given is used up by an attempt that failed: an upload may only be aborted then."""


async def nothing(world: World) -> None:
    """Prepare nothing."""


async def stored(world: World) -> None:
    await world.calm.put("k", BODY, {"a": "b"})


async def archived(world: World) -> None:
    await world.calm.put("k", BODY, {}, storage_class="GLACIER")


async def begun(world: World) -> Upload:
    return await world.store.begin_upload("k", {"a": "b"})


async def begun_elsewhere(world: World) -> None:
    await (await world.calm.begin_upload("k", {})).write(b"part")
    await world.calm.put("j", BODY, {})


async def written(world: World) -> Upload:
    upload = await begun(world)
    await upload.write(bytes(PART))
    await upload.write(BODY)
    return upload


async def put(world: World, _: Any) -> None:
    await world.store.put("k", BODY, {"a": "b"})


async def fetch(world: World, _: Any) -> None:
    assert await world.store.fetch("k", 1, len(BODY)) == BODY[1:]


async def stream(world: World, _: Any) -> None:
    assert b"".join([bytes(block) async for block in world.store.stream("k", 0, len(BODY))]) == BODY


async def head(world: World, _: Any) -> None:
    head = await world.store.head("k")
    assert head is not None
    assert (head.size, head.attributes) == (len(BODY), {"a": "b"})


async def delete(world: World, _: Any) -> None:
    for failure in (await world.store.delete(["k", "j"])).values():
        raise failure


async def listing(world: World, _: Any) -> None:
    assert [info.key async for page in world.store.list_pages("") for info in page] == ["k"]


async def begin(world: World, _: Any) -> None:
    await (await world.store.begin_upload("k", {})).abort()


async def write(world: World, upload: Upload) -> None:
    await upload.write(bytes(PART))
    await upload.write(BODY)
    await upload.complete()


async def complete(world: World, upload: Upload) -> None:
    await upload.complete()


async def abort(world: World, upload: Upload) -> None:
    await upload.abort()


async def copy(world: World, _: Any) -> None:
    await world.store.copy("k", "copy", {"c": "d"}, storage_class="STANDARD_IA")


async def claim(world: World, _: Any) -> None:
    assert await world.store.claim("me") == "me"


async def request_restore(world: World, _: Any) -> None:
    await world.store.request_restore("k", speed=RestoreSpeed.STANDARD, days=1)


async def restore_state(world: World, _: Any) -> None:
    await world.store.restore_state("k")


async def holds(world: World, **expected: bytes) -> None:
    found = {info.key: info.finished async for page in world.calm.list_pages("") for info in page}
    assert found == dict.fromkeys(expected, True)
    for key, body in expected.items():
        assert await world.calm.fetch(key, 0, len(body)) == body


async def holds_body(world: World) -> None:
    await holds(world, k=BODY)


async def holds_both(world: World) -> None:
    await holds(world, k=BODY, copy=BODY)


async def holds_nothing(world: World) -> None:
    # What a lost answer to the beginning of an upload leaves is the sweep's to find.
    assert await world.calm.head("k") is None


async def holds_upload_or_nothing(world: World) -> None:
    head = await world.calm.head("k")
    if head is not None:
        assert head.size == PART + len(BODY)
        assert await world.calm.fetch("k", PART, PART + len(BODY)) == BODY


async def holds_archived(world: World) -> None:
    assert [info.key async for page in world.calm.list_pages("") for info in page] == ["k"]


OPERATIONS = (
    Operation("put", nothing, put, holds_body),
    Operation("fetch", stored, fetch, holds_body),
    Operation("stream", stored, stream, holds_body),
    Operation("head", stored, head, holds_body),
    Operation("delete", begun_elsewhere, delete, holds),
    Operation("list", stored, listing, holds_body),
    Operation("begin", nothing, begin, holds_nothing),
    Operation("write", begun, write, holds_upload_or_nothing, once=True),
    Operation("complete", written, complete, holds_upload_or_nothing, once=True),
    Operation("abort", written, abort, holds),
    Operation("copy", stored, copy, holds_both),
    Operation("claim", nothing, claim, holds),
    Operation("request a restore", archived, request_restore, holds_archived, on="glacier"),
    Operation("state of a restore", archived, restore_state, holds_archived, on="glacier"),
)


@pytest.fixture
def servers(ceph: CephServer, glacier: GlacierServer) -> dict[str, CephServer | GlacierServer]:
    return {"ceph": ceph, "glacier": glacier}


@pytest.fixture
def proxies() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_fault(operation: Operation, servers: dict[str, CephServer | GlacierServer], proxies: ExitStack) -> None:
    server = servers[operation.on]
    dialect = {"ceph": "ceph", "glacier": "aws"}[operation.on]

    async def opened(stack: AsyncExitStack) -> World:
        bucket = new_bucket(server)
        proxy = TcpProxy(server.endpoint)
        proxy.start()
        proxies.callback(proxy.stop)
        store, calm = [
            await stack.enter_async_context(
                S3ObjectStore.open(
                    location(server, bucket, dialect, endpoint=endpoint),
                    limits=limits,
                    archive_classes=ARCHIVE_CLASSES if dialect == "aws" else {},
                    part_size=PART,
                )
            )
            for endpoint, limits in ((proxy.endpoint, HASTY), (server.endpoint, S3Limits()))
        ]
        return World(store, calm, proxy)

    async def cell(world: World, given: Any, fault: Fault, times: int) -> None:
        world.proxy.strike(fault, times=times, keep=100)
        began = time.monotonic()
        try:
            await operation.act(world, given)
            failed = None
        except (StorageError, EOFError) as exc:
            failed = exc
        took = time.monotonic() - began
        about = f"{operation.name}, {fault.name} x {times}: {failed!r} after {took:.1f} s"
        assert world.proxy.struck, about
        assert took < PATIENCE, about
        if times == OFTEN:
            assert isinstance(failed, UnavailableError), about
        elif failed is not None:
            assert isinstance(failed, UnavailableError | IntentLostError), about
        world.proxy.calm()
        if operation.once:
            await given.abort()
        else:
            await operation.act(world, given)
        await operation.check(world)

    async def all_cells() -> None:
        # In two steps: while clients are opened, which takes the processor, no deadline runs.
        async with AsyncExitStack() as stack:
            worlds = [(await opened(stack), fault, times) for fault, times in CELLS]
            cells = [(world, await operation.prepare(world), fault, times) for world, fault, times in worlds]
            for first in range(0, len(cells), AT_ONCE):
                await asyncio.gather(*(cell(*each) for each in cells[first : first + AT_ONCE]))

    asyncio.run(all_cells())
