"""Two services on one PostgreSQL catalog, and PostgreSQL killed and started again in the middle of everything."""

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.postgres import postgres_server
from tests.service_process import ServiceProcess, running_service
from thermocline.testing.catalog import fresh_postgres_catalog
from thermocline.testing.contracts.running import in_event_loop
from thermocline.testing.servers.postgres import PostgresServer

pytestmark = [pytest.mark.server, pytest.mark.timeout(180)]
ALLOWED = {200, 201, 503}
WRITERS = 6
RESTARTS = 3
HEARD_SECONDS = 5.0
BACK_SECONDS = 30.0


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with postgres_server(durable=True) as server:
        yield server


@pytest.fixture
def services(server: PostgresServer, tmp_path: Path) -> Iterator[list[ServiceProcess]]:
    environment = {
        "THERMOCLINE_CATALOG__URL": fresh_postgres_catalog(server),
        "THERMOCLINE_CATALOG__BUSY_TIMEOUT": "3s",
        "THERMOCLINE_OBJECTS__MAIN__PATH": str(tmp_path / "objects"),
    }
    with ExitStack() as stack:
        yield [
            stack.enter_context(running_service(tmp_path / name, environment=environment)) for name in ("one", "other")
        ]


@in_event_loop
async def test_what_one_service_writes_the_other_serves_at_once(services: list[ServiceProcess]) -> None:
    async with httpx.AsyncClient(timeout=30) as client:
        one, other = (f"{service.url}/v1/content/thing" for service in services)
        for number in range(20):
            body = f"body {number}".encode()
            assert (await client.put(one, content=body)).status_code in {200, 201}
            # The other's memory hears of it within a poll of the feed; a moment of grace for a busy machine.
            async with asyncio.timeout(HEARD_SECONDS):
                while (await client.get(other)).content != body:  # noqa: ASYNC110 - another process's event
                    await asyncio.sleep(0.02)
            one, other = other, one


@in_event_loop
async def test_restarts_of_postgresql_lose_nothing_and_answer_503_only(
    server: PostgresServer, services: list[ServiceProcess]
) -> None:
    acknowledged: dict[str, tuple[int, bytes]] = {}
    statuses: set[int] = set()
    going = True

    async with httpx.AsyncClient(timeout=30) as client:

        async def keep_writing(writer: int) -> None:
            for turn in itertools.count():
                if not going:
                    return
                path = f"/v1/content/{writer}/{turn % 4}"
                body = f"{writer} {turn}".encode()
                service = services[(writer + turn) % 2]
                put = await client.put(service.url + path, content=body)
                statuses.add(put.status_code)
                if put.status_code in {200, 201}:
                    acknowledged[path] = (put.json()["revision"], body)
                else:
                    assert put.headers["retry-after"]
                was_there = path in acknowledged
                status = (await client.get(services[turn % 2].url + path)).status_code
                statuses.add(status)
                assert status != 404 or not was_there, "an acknowledged write is not found"

        async def back() -> None:
            async with asyncio.timeout(BACK_SECONDS):
                for service in services:
                    probe = f"{service.url}/v1/content/probe"
                    while (await client.put(probe, content=b"x")).status_code == 503:  # noqa: ASYNC110 - likewise
                        await asyncio.sleep(0.05)

        writers = [asyncio.ensure_future(keep_writing(number)) for number in range(WRITERS)]
        for _ in range(RESTARTS):
            await asyncio.sleep(0.7)
            await asyncio.to_thread(server.kill)
            await asyncio.sleep(0.3)
            server.launch()
            await asyncio.to_thread(server.wait_until_ready)
            await back()
        going = False
        await asyncio.gather(*writers)
        assert statuses <= ALLOWED | {404}, "nothing else than 503 (and 404 before the first write)"
        assert 503 in statuses, "PostgreSQL was not missed"
        assert len(acknowledged) == WRITERS * 4
        for path, (revision, body) in acknowledged.items():
            for service in services:
                shown = (await client.get(service.url + path.replace("/v1/content/", "/v1/info/"))).json()
                assert shown["revision"] >= revision, "an acknowledged write is lost"
                if shown["revision"] == revision:
                    assert (await client.get(service.url + path)).content == body
