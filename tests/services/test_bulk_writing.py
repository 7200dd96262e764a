"""Many contents that share their transactions: each is stored, or fails, as it would alone."""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.machine import Machine
from thermocline import StorageOrchestrator
from thermocline.domain.content import ALWAYS, Condition
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import (
    BusyError,
    ContentHeldError,
    ContentNotFoundError,
    ContentTooLargeError,
    OutOfSpaceError,
    PreconditionFailedError,
    StorageError,
    TruncatedBodyError,
    UnavailableError,
)
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Bytes
from thermocline.ports.records import Committed
from thermocline.services import bulk_writing
from thermocline.services.bulk_writing import BulkItem, BulkWriter
from thermocline.services.transferring import WriteRequest
from thermocline.testing.faults import FaultMode, Faults

Scenario = Callable[[StorageOrchestrator, Machine], Coroutine[Any, Any, None]]


class NoStore:
    """What no store is."""


@pytest.fixture(params=["together", "alone"], autouse=True)
def ways_to_send(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs on a store that takes many objects at once, and on one that does not."""
    if request.param == "alone":
        monkeypatch.setattr(bulk_writing, "PutsMany", NoStore)


def on_machine(folder: Path, scenario: Scenario, *, faults: Faults | None = None) -> None:
    machine = Machine(folder)

    async def run() -> None:
        async with machine.process(faults) as store:
            await scenario(store, machine)

    asyncio.run(run())


def writer(store: StorageOrchestrator) -> BulkWriter:
    return store.services.importing.storing.bulk


def item(content_id: str, data: bytes = b"new", *, condition: Condition = ALWAYS, **fields: Any) -> BulkItem:
    return BulkItem(WriteRequest(ContentId(content_id), StorageTier.HOT, condition=condition, **fields), data)


def test_contents_are_stored_and_answered_in_order(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        await store.store_content("b", b"old")
        answers = await writer(store).store([item(name, name.encode()) for name in ("c", "b", "a")])
        assert [isinstance(answer, Committed) and answer.created for answer in answers] == [True, False, True]
        for name, answer in zip("cba", answers, strict=True):
            assert isinstance(answer, Committed)
            assert await store.services.adapters.catalog.records.find(ContentId(name)) == answer.record
            assert answer.record.digest == hashlib.sha256(name.encode()).digest()
            assert await store.retrieve_content(name) == name.encode()
        assert await store.services.adapters.catalog.intents.count() == 0
        assert await writer(store).store([]) == []

    on_machine(tmp_path, scenario)


def test_what_memory_holds_is_evicted(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        await store.store_content("a", b"old")
        assert await store.retrieve_content("a") == b"old"
        await writer(store).store([item("a"), item("b")])
        assert await store.retrieve_content("a") == b"new"

    on_machine(tmp_path, scenario)


def test_each_that_cannot_be_stored_fails_alone(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        await store.store_content("held", b"old")
        await store.update_metadata("held", held=True)
        answers = await writer(store).store(
            [
                item("cut", expected_size=Bytes(9)),
                item("held"),
                item("good"),
                item("condition", condition=Condition(if_exists=True)),
            ]
        )
        assert [type(answer) for answer in answers] == [
            TruncatedBodyError, ContentHeldError, Committed, PreconditionFailedError,
        ]  # fmt: skip
        assert await store.retrieve_content("held") == b"old"
        with pytest.raises(ContentNotFoundError):
            await store.stat("condition")
        # What failed definitely is cleaned up at once.
        assert await store.services.adapters.catalog.intents.count() == 0
        assert len([info async for page in machine.objects.list_pages("") for info in page]) == 2

    on_machine(tmp_path, scenario)


def test_a_content_that_is_too_large_fails_alone(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        bulk = writer(store)
        object.__setattr__(bulk._transfers, "max_size", Bytes(3))
        answers = await bulk.store([item("a", b"1234"), item("b", b"123")])
        assert [type(answer) for answer in answers] == [ContentTooLargeError, Committed]
        assert [type(answer) for answer in await bulk.store([item("a", b"1234")])] == [ContentTooLargeError]

    on_machine(tmp_path, scenario)


def test_an_object_that_cannot_be_sent_fails_alone(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        real = machine.objects.put

        async def put(key: str, *args: Any, **how: Any) -> None:
            if "/full/" in key:
                raise OutOfSpaceError("the disk is full")
            await real(key, *args, **how)

        machine.objects.put = put  # type: ignore[method-assign]  # what it was, but for its failures
        answers = await writer(store).store([item("a"), item("full"), item("b")])
        assert [type(answer) for answer in answers] == [Committed, OutOfSpaceError, Committed]
        assert await store.services.adapters.catalog.intents.count() == 0
        assert len([info async for page in machine.objects.list_pages("") for info in page]) == 2

    on_machine(tmp_path, scenario)


@pytest.mark.parametrize("point", ["catalog.bulk.declare#1", "objects.put", "catalog.bulk.commit#1"])
def test_a_lost_answer_is_everybodys_and_what_is_left_is_for_the_cleaner(tmp_path: Path, point: str) -> None:
    points = ["objects.put_all#1", "objects.put#1", "objects.put#2"] if point == "objects.put" else [point]
    faults = Faults(dict.fromkeys(points, FaultMode.LOST))

    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        faults.start()
        answers = await writer(store).store([item("a"), item("b")])
        assert all(isinstance(answer, UnavailableError) for answer in answers)
        # Whether it was stored or committed is not known, so nothing was deleted.
        stored = [info async for page in machine.objects.list_pages("") for info in page]
        assert len(stored) == (0 if "declare" in point else 2)

    on_machine(tmp_path, scenario, faults=faults)


def test_an_intent_that_may_be_lost_sends_nothing(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        real = store.services.keeper.declare_all

        async def late(*args: Any) -> Any:
            held = await real(*args)
            held[1].sure_until = 0.0
            return held

        store.services.keeper.declare_all = late  # type: ignore[method-assign, assignment]  # what it was, but late
        answers = await writer(store).store([item("a"), item("b")])
        assert isinstance(answers[0], Committed)
        assert isinstance(answers[1], StorageError)
        assert "lost its lease" in str(answers[1])
        assert len([info async for page in machine.objects.list_pages("") for info in page]) == 1

    on_machine(tmp_path, scenario)


def test_what_nobody_foresaw_is_raised_and_no_intent_is_held(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        async def put(*_args: Any, **_how: Any) -> None:
            raise LookupError("a bug")

        machine.objects.put = put  # type: ignore[method-assign]  # broken on purpose
        with pytest.raises(LookupError, match="a bug"):
            await writer(store).store([item("a"), item("b")])
        assert store.services.keeper._held == {}

    on_machine(tmp_path, scenario)


def test_a_busy_catalog_stores_nothing(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        async def declare(*_args: Any, **_how: Any) -> None:
            raise BusyError("busy")

        bulk = writer(store)
        bulk._bulk.declare = declare  # type: ignore[method-assign]  # as if it were
        assert [type(answer) for answer in await bulk.store([item("a"), item("b")])] == [BusyError, BusyError]

    on_machine(tmp_path, scenario)
