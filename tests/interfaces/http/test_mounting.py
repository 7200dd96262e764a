"""Inside other applications: any prefix, with or without our lifespan, and the store for the host's routes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import httpx
import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from examples.fastapi_mount import build
from tests.interfaces.http.harness import Client, in_loop, running_app
from thermocline.domain.errors import ConfigurationError
from thermocline.interfaces.http.app import ThermoclineApp, create_app, get_store
from thermocline.orchestrator import StorageOrchestrator
from thermocline.wiring.settings import Settings


def settings(folder: Path) -> Settings:
    return Settings(data=folder)


def browser(app: object, root_path: str = "") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, root_path=root_path)  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")


@in_loop
async def test_the_example(tmp_path: Path) -> None:
    app = build(settings(tmp_path))
    async with app.router.lifespan_context(app), browser(app) as http:
        assert (await http.get("/users/7/avatar/size")).json() == {"size": None}
        put = await http.put("/users/7/avatar", content=b"face", headers={"content-type": "image/png"})
        assert put.status_code == 201
        got = await http.get(put.json()["url"])
        assert (got.status_code, got.content, got.headers["content-type"]) == (200, b"face", "image/png")
        assert got.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert (await http.get("/users/7/avatar/size")).json() == {"size": 4}
        assert (await http.get("/files/v1/content/users%2F7/avatar")).content == b"face"
        page = await http.get("/files/docs")
        assert "/files/docs/swagger-ui-bundle.js" in page.text
        assert (await http.get("/files/openapi.json")).json()["servers"] == [{"url": "/files"}]
        assert (await http.get("/files/healthz")).status_code == 200
        missing = await http.get("/files/v1/content/none")
        assert missing.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("prefix", ["", "/files", "/a/b", "/%C3%BCber%20all"])
def test_any_prefix(tmp_path: Path, prefix: str) -> None:
    @in_loop
    async def check() -> None:
        async with running_app(tmp_path) as run:
            client = Client(
                Starlette(routes=[Mount(httpx.URL(prefix or "/").path, app=run.app)]) if prefix else run.app
            )
            put = await client.put(f"{prefix}/v1/content/a%2Fb%20c", b"x")
            assert put.status == 201
            assert put["location"] == f"{prefix}/v1/content/a/b%20c"
            assert (await client.get(put["location"])).body == b"x"
            assert (await client.get(f"{prefix}/v1/info/a/b%20c")).json()["content_id"] == "a/b c"
            assert len((await client.get(f"{prefix}/v1/content?prefix=a")).json()["records"]) == 1
            assert (await client.get(f"{prefix}/v1/content/a//b")).status == 400
            assert (await client.get(f"{prefix}/v1/content/%2e%2e")).status == 400
            assert (await client.get(f"{prefix}/nowhere")).problem == "not-found"

    check()


@pytest.mark.parametrize("path", ["/v1/content/a", "/proxied/v1/content/a"])
def test_a_proxy_that_strips_the_prefix_or_not(tmp_path: Path, path: str) -> None:
    @in_loop
    async def check() -> None:
        async with running_app(tmp_path) as run:
            client = Client(run.app, root_path="/proxied")
            put = await client.put(path, b"x")
            assert put["location"] == "/proxied/v1/content/a"
            assert (await client.get(path)).body == b"x"
            assert (await client.get(path.replace("content", "info"))).json()["content_id"] == "a"

    check()


@in_loop
async def test_without_our_lifespan_the_first_request_opens_the_store(tmp_path: Path) -> None:
    files = create_app(settings(tmp_path))

    async def where(request: Request) -> Response:
        store = await get_store(request)
        return PlainTextResponse((await store.stat("a")).content_id)

    inner = Starlette(routes=[Mount("/deep", app=files)])
    app = Starlette(routes=[Route("/where", where), Mount("/in", app=inner)])
    async with browser(app) as http:
        puts = await asyncio.gather(*(http.put(f"/in/deep/v1/content/{n}", content=b"x") for n in "abc"))
        assert [put.status_code for put in puts] == [201, 201, 201]
        assert (await http.get("/where")).text == "a"
    await files._holder.close()


@in_loop
async def test_a_store_given_up_with_its_loop_opens_again(tmp_path: Path) -> None:
    files = create_app(settings(tmp_path))

    def in_another_loop() -> int:
        async def put() -> int:
            return (await Client(files).put("/v1/content/a", b"x")).status

        return asyncio.run(put())

    assert await asyncio.to_thread(in_another_loop) == 201
    assert await asyncio.to_thread(in_another_loop) == 200
    assert (await Client(files).get("/v1/content/a")).body == b"x"
    await files._holder.close()


@in_loop
async def test_depends_gives_the_store_that_the_lifespan_opened(tmp_path: Path) -> None:
    files = create_app(settings(tmp_path), work=False)
    seen: list[StorageOrchestrator] = []
    app = FastAPI(lifespan=files.lifespan)

    @app.get("/which")
    async def which(store: Annotated[StorageOrchestrator, Depends(get_store)]) -> str:
        seen.append(store)
        return "ok"

    async with app.router.lifespan_context(app), browser(app) as http:
        assert (await http.get("/which")).status_code == 200
        assert seen == [await files.store()]


@in_loop
async def test_without_an_application_there_is_no_store() -> None:
    with pytest.raises(ConfigurationError):
        await get_store(Request({"type": "http", "app": Starlette(), "headers": []}))


@in_loop
async def test_a_store_that_does_not_open(tmp_path: Path) -> None:
    tries = 0

    @asynccontextmanager
    async def refuse() -> AsyncIterator[StorageOrchestrator]:
        nonlocal tries
        tries += 1
        if tries:
            raise ConfigurationError("secret reason")
        yield StorageOrchestrator.__new__(StorageOrchestrator)

    app = ThermoclineApp(settings(tmp_path), refuse)
    client = Client(app)
    assert (await client.get("/healthz")).status == 200, "restarting would not help"
    for path in ("/readyz", "/v1/content/a"):
        answer = await client.get(path)
        assert (answer.status, answer.problem) == (500, "misconfigured")
        assert b"secret" not in answer.body
    assert tries == 2, "each request tries again"
    sent: list[str] = []

    async def receive() -> dict[str, str]:
        return {"type": "lifespan.startup"}

    async def send(message: dict[str, str]) -> None:
        sent.append(message["type"])

    with pytest.raises(ConfigurationError):
        await app({"type": "lifespan"}, receive, send)  # type: ignore[arg-type]
    assert sent == ["lifespan.startup.failed"]


@in_loop
async def test_lifespan_and_other_protocols(tmp_path: Path) -> None:
    app = create_app(settings(tmp_path), work=False)
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[str] = []

    async def receive() -> dict[str, str]:
        return next(messages)

    async def send(message: dict[str, str]) -> None:
        sent.append(message["type"])

    await app({"type": "lifespan"}, receive, send)  # type: ignore[arg-type]
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    await app({"type": "websocket"}, receive, send)  # type: ignore[arg-type]
    assert sent[-1] == "websocket.close"
