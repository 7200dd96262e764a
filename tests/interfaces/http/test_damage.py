"""Damaged bytes never leave; what cannot be finished is cut, never silently short."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.interfaces.http.harness import MIB, Client, in_loop, running_app
from thermocline.adapters.objects.memory import MemoryObjectStore
from thermocline.domain.digests import Buffer
from thermocline.domain.errors import UnavailableError
from thermocline.interfaces.http.exchange import AnswerCutError


@pytest.mark.parametrize("size", [100, 3 * MIB, 9 * MIB])
@pytest.mark.parametrize("tier", ["hot", "cold"])
@pytest.mark.parametrize("header", ["", "bytes=0-9", "bytes=0-9,50-59"])
def test_a_damaged_first_chunk_is_500_and_no_byte(tmp_path: Path, size: int, tier: str, header: str) -> None:
    @in_loop
    async def check() -> None:
        async with running_app(tmp_path) as run:
            await run.client.store("a", b"x" * size, Thermocline_Tier=tier)
            await run.services.background.drain()
            await run.services.cache.clear()
            run.damage("a", 5)
            for _ in range(2):
                answer = await run.client.get("/v1/content/a", {"Range": header} if header else {})
                assert (answer.status, answer.problem) == (500, "content-corrupted")
                assert b"xxxxxxxxx" not in answer.body
                assert "object" not in answer.json()["detail"]
            assert run.services.reading.damaged >= 2
            assert (await run.client.head("/v1/content/a")).status == 200, "nothing is read for it"

    check()


@pytest.mark.parametrize("header", ["", "bytes=0-9,9000000-9000009"])
def test_damage_in_the_middle_of_a_stream_cuts_it(tmp_path: Path, header: str) -> None:
    @in_loop
    async def check() -> None:
        async with running_app(tmp_path) as run:
            await run.client.store("a", b"x" * 10 * MIB, Thermocline_Tier="cold")
            run.damage("a", 9 * MIB)
            answer = await run.client.get("/v1/content/a", {"Range": header} if header else {})
            assert answer.status in {200, 206}
            assert not answer.complete
            assert isinstance(answer.raised, AnswerCutError)
            assert len(answer.body) < int(answer["content-length"])
            assert b"xy" not in answer.body, "the damaged byte"
            assert run.app.counters.cut_answers == 1
            assert run.services.memory.in_use == 0

    check()


@in_loop
async def test_a_missing_object_is_damage_not_absence(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        for content_id, tier in (("hot", "hot"), ("cold", "cold")):
            await run.client.store(content_id, b"x" * 5 * MIB, Thermocline_Tier=tier)
        await run.services.cache.clear()
        run.objects._contents.objects.clear()
        for content_id in ("hot", "cold"):
            assert (await run.client.get(f"/v1/content/{content_id}")).problem == "content-corrupted"


class Failing(MemoryObjectStore):
    """Does not answer from its second block on."""

    async def stream(self, key: str, start: int, end: int) -> AsyncGenerator[Buffer]:
        count = 0
        async for block in super().stream(key, start, end):
            if count:
                raise UnavailableError("the disk is slow")
            count += 1
            yield block

    async def fetch(self, key: str, start: int, end: int) -> bytes:  # noqa: ARG002
        raise UnavailableError("the disk is slow")


@in_loop
async def test_a_store_that_does_not_answer(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await run.client.store("small", b"x", Thermocline_Tier="cold")
        await run.client.store("large", b"x" * 9 * MIB, Thermocline_Tier="cold")
        await run.client.store("cached", b"x")
        assert (await run.client.get("/v1/content/cached")).status == 200
        run.objects.__class__ = Failing
        small = await run.client.get("/v1/content/small")
        assert (small.status, small.problem, small["retry-after"]) == (503, "unavailable", "1")
        assert "disk" not in small.json()["detail"]
        large = await run.client.get("/v1/content/large")
        assert (large.complete, len(large.body)) == (False, 4 * MIB)
        assert (await run.client.get("/v1/content/cached")).status == 200
        run.objects.__class__ = MemoryObjectStore


@in_loop
async def test_a_client_that_leaves_a_download_ends_it(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await run.client.store("a", b"x" * 40 * MIB, Thermocline_Tier="cold")
        answer = await run.client.get("/v1/content/a", leaves_after_pieces=2)
        assert answer.raised is None
        assert len(answer.body) <= 12 * MIB
        assert run.services.memory.in_use == 0


@pytest.mark.parametrize("tier", ["hot", "cold"])
def test_a_download_ends_at_its_longest_time(tmp_path: Path, tier: str) -> None:
    @in_loop
    async def check() -> None:
        async with running_app(tmp_path, limits={"stream_max": "50ms"}) as run:
            await run.client.store("a", b"x" * 9 * MIB, Thermocline_Tier=tier)
            slow = Client(run.app, on_piece=lambda _: asyncio.sleep(30))
            answer = await slow.get("/v1/content/a")
            assert isinstance(answer.raised, AnswerCutError)
            assert not answer.complete
            assert run.services.memory.in_use == 0

    check()


@in_loop
async def test_slow_readers_of_one_content_hold_its_memory_once(tmp_path: Path) -> None:
    async with running_app(tmp_path, limits={"memory": "20MiB", "max_wait": "20ms"}) as run:
        await run.client.store("a", b"x" * 12 * MIB)
        await run.client.store("b", b"y" * 12 * MIB)
        assert (await run.client.get("/v1/content/a")).status == 200
        assert (await run.client.get("/v1/content/b")).status == 200
        blocked, go_on = asyncio.Semaphore(0), asyncio.Event()

        async def wait(piece: bytes) -> None:
            blocked.release()
            await go_on.wait()

        readers = [asyncio.create_task(Client(run.app, on_piece=wait).get("/v1/content/a")) for _ in range(5)]
        for _ in readers:
            await blocked.acquire()
        assert run.services.memory.in_use == 12 * MIB
        busy = await run.client.get("/v1/content/b")
        assert (busy.status, busy.problem) == (503, "busy")
        assert busy["retry-after"] == "1"
        go_on.set()
        assert {len((await reader).body) for reader in readers} == {12 * MIB}
        assert run.services.memory.in_use == 0
        assert (await run.client.get("/v1/content/b")).status == 200


@in_loop
async def test_writes_past_the_memory_budget_are_told_to_come_back(tmp_path: Path) -> None:
    async with running_app(tmp_path, limits={"memory": "20MiB", "max_wait": "20ms"}) as run:
        async with run.services.memory.grant(20 * MIB):
            answer = await run.client.put("/v1/content/a", b"x" * 100)
            assert (answer.status, answer.problem) == (503, "busy")
        assert (await run.client.put("/v1/content/a", b"x" * 100)).status == 201


@in_loop
async def test_an_unexpected_error_is_a_problem_without_a_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_app(tmp_path) as run:

        async def fail(*_: object, **__: object) -> None:
            raise RuntimeError("secret")

        monkeypatch.setattr(type(run.services.reading), "find", fail)
        monkeypatch.setattr(type(run.services.describing), "describe", fail)
        monkeypatch.setattr(type(run.services.listing), "page", fail)
        for path in ("/v1/content/a", "/v1/info/a", "/v1/content"):
            with capture_logs() as events:
                answer = await run.client.get(path)
            assert [(event["event"], event["request_id"]) for event in events] == [
                ("request_failed", answer["x-request-id"])
            ]
            assert (answer.status, answer.problem, answer.raised) == (500, "internal", None), path
            assert b"secret" not in answer.body
            assert b"Traceback" not in answer.body
