"""The whole service on real sockets: what it refuses to be, and that hot and slow answers agree there too."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from tests.interfaces.http.harness import in_loop
from thermocline.domain.access import Scope
from thermocline.domain.errors import ConfigurationError
from thermocline.interfaces.http.service import serve_store, wire_limits
from thermocline.orchestrator import StorageOrchestrator
from thermocline.wiring.sections import LimitsSettings
from thermocline.wiring.settings import Settings

pytestmark = pytest.mark.server


def settings(folder: Path, **http: object) -> Settings:
    return Settings.model_validate({"data": folder, "http": {"port": 0, **http}})


async def while_serving(chosen: Settings, visit: Callable[[str], Awaitable[None]]) -> None:
    """Serve, visit, and stop as an operator does."""
    urls: asyncio.Queue[str] = asyncio.Queue()
    service = asyncio.create_task(serve_store(chosen, on_started=urls.put_nowait))
    url = asyncio.create_task(urls.get())
    await asyncio.wait([service, url], return_when=asyncio.FIRST_COMPLETED)
    if service.done():
        url.cancel()
        await service
    try:
        await visit(await url)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        assert await service is signal.SIGTERM


def timeless(response: httpx.Response) -> list[tuple[str, str]]:
    """Its headers, without what a second that ends between two answers changes (frozen clocks compare those too).

    Nor the request's id, which every answer has.
    """
    own = {"date", "age", "x-request-id"}
    assert response.headers.keys() >= own
    return sorted(item for item in response.headers.multi_items() if item[0] not in own)


@pytest.mark.parametrize("remembering", [False, True])
def test_a_visit(tmp_path: Path, remembering: bool) -> None:
    async def visit(url: str) -> None:
        assert url.startswith("http://127.0.0.1:")
        async with httpx.AsyncClient(base_url=url) as http:
            body = os.urandom(300_000)
            headers = {"Thermocline-Visibility": "public", "Content-Type": "image/png"}
            assert (await http.put("/v1/content/a%20b", content=body, headers=headers)).status_code == 201
            first = await http.get("/v1/content/a%20b")
            for _ in range(
                100
            ):  # a fill that meets the service's hearing of its own commit is dropped; the next is not
                if "memory" in (await http.get("/v1/content/a%20b")).headers["cache-status"]:
                    break
            for _ in range(3):
                hot = await http.get("/v1/content/a%20b")
                assert (hot.status_code, hot.content) == (200, body)
                assert hot.headers["cache-status"] == "thermocline; hit; detail=memory"
                slow = await http.get("/v1/content/a%20b", headers={"Pragma": "x"})
                assert timeless(slow) == timeless(hot)
            assert first.content == body
            same = await http.get("/v1/content/a%20b", headers={"If-None-Match": first.headers["etag"]})
            assert (same.status_code, same.content) == (304, b"")
            part = await http.get("/v1/content/a%20b", headers={"Range": "bytes=5-9"})
            assert (part.status_code, part.content) == (206, body[5:10])
            assert (await http.get("/v1/content/a%20b", headers={"Sec-Fetch-Site": "cross-site"})).status_code == 403
            assert (await http.get("/v1/content/a%20b", headers={"Host": "evil.com"})).status_code == 403
            assert (await http.get("/readyz")).json()["status"] == "ready"
            metrics = (await http.get("/metrics")).text
            assert 'thermocline_reads_total{source="memory",tier="hot"}' in metrics
            assert (await http.get("/docs/swagger-ui-bundle.js")).status_code == 200

    in_loop(lambda: while_serving(settings(tmp_path, memorise_requests=remembering), visit))()


@in_loop
async def test_without_a_token_only_loopback_is_listened_on(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="thermocline token create"):
        await serve_store(settings(tmp_path, host="0.0.0.0"))  # noqa: S104


def test_with_a_token_any_address_is(tmp_path: Path) -> None:
    chosen = settings(tmp_path, host="0.0.0.0")  # noqa: S104

    async def visit(url: str) -> None:
        async with httpx.AsyncClient(base_url=url.replace("0.0.0.0", "127.0.0.1")) as http:  # noqa: S104
            assert (await http.get("/v1/content")).status_code == 401
            assert (await http.get("/v1/content/a", headers={"Host": "any.example"})).status_code == 404

    async def serve() -> None:
        async with StorageOrchestrator.open(chosen) as store:
            await store.services.authorizing.create(scopes=[Scope.READ])
        await while_serving(chosen, visit)

    in_loop(serve)()


def test_a_token_made_by_another_process_closes_the_service(tmp_path: Path) -> None:
    chosen = settings(tmp_path)

    async def visit(url: str) -> None:
        async with httpx.AsyncClient(base_url=url) as http:
            assert (await http.get("/v1/content")).status_code == 200
            async with StorageOrchestrator.open(chosen) as other:
                await other.services.authorizing.create(scopes=[Scope.READ])
            for _ in range(200):
                if (await http.get("/v1/content")).status_code == 401:
                    break
                await asyncio.sleep(0.02)
            assert (await http.get("/v1/content")).status_code == 401

    in_loop(lambda: while_serving(chosen, visit))()


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    async def visit(url: str) -> None:
        port = int(url.rpartition(":")[2])
        with pytest.raises(ConfigurationError, match=str(port)):
            await serve_store(settings(tmp_path / "other", port=port))

    in_loop(lambda: while_serving(settings(tmp_path), visit))()


def test_limits_reach_the_wire() -> None:
    limits = wire_limits(LimitsSettings(header_time=1.5, stall_time=2.5, keep_alive=3.5, max_connections=7))
    assert (limits.header_arrival_seconds, limits.keep_alive_idle_seconds, limits.connections) == (1.5, 3.5, 7)
    assert limits.body_stall_seconds == limits.send_stall_seconds == 2.5
