"""Moves between two storage classes of one bucket, and bare aiobotocore copying the same objects, 16 at once each.

Ours is the executor: it claims planned moves, copies, compares what arrived, and commits each with its ledger. The peer
sends one CopyObject for each object, to a key beside it, and looks at nothing.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

import uvloop
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from bench.figures import Limit, Row, Spread, Table
from bench.plan import Plan
from bench.s3 import buckets
from thermocline import StorageOrchestrator, StorageTier
from thermocline.domain.content_id import ContentId
from thermocline.domain.moves import PlannedMove
from thermocline.testing.servers.ceph import CephServer
from thermocline.wiring.settings import Settings

_KIB: Final = 1024
_SIZES: Final = {4 * _KIB * _KIB: 128, 64 * _KIB: 1000}
"""How many objects of each size. 4 MiB is the median of stored objects (economics.md: log-normal, 4 MB)."""
_AT_ONCE: Final = 16
_BAR: Final = Limit(0.8)
_CLASSES: Final = {StorageTier.WARM: "STANDARD", StorageTier.COLD: "STANDARD_IA"}


def run(plan: Plan) -> Table:
    rows = []
    with buckets.running(plan.scratch / "ceph") as server:
        for size, count in _SIZES.items():
            some = count // 8 if plan.quick else count
            rows.append(uvloop.run(_Comparison(plan, server, size, some).row()))
    return Table(
        name="copies",
        title=f"moves to another storage class of the bucket, {_AT_ONCE} at once, to bare CopyObject",
        rows=rows,
        notes=(
            "Ours besides looks at source and copy and reads 64 KiB of them, or a small copy whole, and commits it.",
            "Both run on uvloop, as the service and workers do, and take turns in one process.",
            "Ceph keeps all in memory, and copies the bytes: its classes are pools of their own.",
        ),
    )


class _Comparison:
    """Objects of one size, which both sides copy from class to class, there and back by turns."""

    def __init__(self, plan: Plan, server: CephServer, size: int, count: int) -> None:
        self._plan = plan
        self._server = server
        self._size = size
        self._case = f"{size // _KIB} KiB"
        self._names = [ContentId(f"{self._case}/{number}") for number in range(count)]
        self._bare: Any

    async def row(self) -> Row:
        rates: tuple[list[float], list[float]] = ([], [])
        cpu = [0.0, 0.0]
        async with AsyncExitStack() as stack:
            self._bare = await stack.enter_async_context(_client(self._server))
            settings = _settings(buckets.settings(self._plan.scratch / "data", self._server.endpoint))
            ours = await stack.enter_async_context(StorageOrchestrator.open(settings))
            self._plan.tell(f"{self._case}: storing")
            await _all(
                self._names,
                lambda name: ours.store_content(name, os.urandom(self._size), initial_tier=StorageTier.WARM),
            )
            await self._move(ours, StorageTier.COLD)
            await self._move(ours, StorageTier.WARM)
            for number in range(self._plan.rounds):
                self._plan.tell(f"{self._case}: round {number + 1} of {self._plan.rounds}")
                target = StorageTier.WARM if number % 2 else StorageTier.COLD
                for index, turn in enumerate((self._copy_bare, self._move)):
                    seconds, used = await turn(ours, target)
                    rates[index].append(len(self._names) / seconds)
                    cpu[index] += used / len(self._names) / self._plan.rounds * 1e6
        return Row(
            case=self._case,
            peer_name="aiobotocore",
            unit="copies/s",
            peer=Spread.of(rates[0]),
            ours=Spread.of(rates[1]),
            compared=Spread.of_ratios(rates[1], rates[0]),
            bar=_BAR,
            details={"CPU us/copy: aiobotocore": cpu[0], "ours": cpu[1]},
        )

    async def _copy_bare(self, ours: StorageOrchestrator, target: StorageTier) -> tuple[float, float]:
        """Copy every object to a key beside it, and delete the copies; return seconds and CPU of the former."""
        keys = await self._keys(ours)
        began, used = time.perf_counter(), time.process_time()

        async def copy(key: str) -> None:
            await self._bare.copy_object(
                Bucket=buckets.BUCKET,
                Key=f"bare/{key}",
                CopySource={"Bucket": buckets.BUCKET, "Key": key},
                StorageClass=_CLASSES[target],
                MetadataDirective="REPLACE",
                Metadata={"content-id": key},
            )

        await _all(keys, copy)
        found = time.perf_counter() - began, time.process_time() - used
        await self._delete([f"bare/{key}" for key in keys])
        return found

    async def _move(self, ours: StorageOrchestrator, target: StorageTier) -> tuple[float, float]:
        """Move every content, and delete the old objects; return seconds and CPU of the former."""
        keys = await self._keys(ours)
        services = ours.services
        plans = [PlannedMove(name, target) for name in self._names]
        planned = await services.adapters.catalog.moves.plan(plans, now=services.adapters.clock.now())
        if len(planned) != len(plans):
            raise RuntimeError(f"{len(planned)} moves of {len(plans)} were planned")
        began, used = time.perf_counter(), time.process_time()
        while await services.moving.run():
            pass
        found = time.perf_counter() - began, time.process_time() - used
        if not set(keys).isdisjoint(await self._keys(ours)):
            raise RuntimeError("not everything was moved")
        await self._delete(keys)
        return found

    async def _keys(self, ours: StorageOrchestrator) -> list[str]:
        return [(await ours.stat(name)).object_key for name in self._names]

    async def _delete(self, keys: Sequence[str]) -> None:
        """Delete at once what would wait for its grace: Ceph keeps all in memory."""
        await self._bare.delete_objects(Bucket=buckets.BUCKET, Delete={"Objects": [{"Key": key} for key in keys]})


def _settings(base: Settings) -> Settings:
    given = base.model_dump(mode="json", exclude_unset=True) | {
        "placements": {
            "standard": {"objects": "main"},
            "infrequent": {"objects": "main", "storage_class": "STANDARD_IA"},
        },
        "tiers": {"cold": {"placement": "infrequent"}, "archive": {"placement": "infrequent"}},
        "limits": {"moves_at_once": _AT_ONCE},
    }
    given["objects"]["main"]["secret_access_key"] = CephServer.secret_key
    return Settings.model_validate(given)


def _client(server: CephServer) -> Any:
    return get_session().create_client(
        "s3",
        endpoint_url=server.endpoint,
        region_name=server.region,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        config=AioConfig(
            s3={"addressing_style": "path"},
            max_pool_connections=_AT_ONCE,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


async def _all(names: Sequence[Any], act: Callable[[Any], Awaitable[object]]) -> None:
    left: Iterator[Any] = iter(names)

    async def some() -> None:
        for name in left:
            await act(name)

    await asyncio.gather(*(some() for _ in range(_AT_ONCE)))
