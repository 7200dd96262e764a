"""The application on a memory object store and a catalog in a file, asked without sockets."""

import asyncio
import functools
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec
from urllib.parse import unquote

from thermocline.adapters.cache.memory import MemoryCache
from thermocline.adapters.catalog.sql import SqlCatalog
from thermocline.adapters.layers.breaking import BreakingCache
from thermocline.adapters.objects.memory import MemoryObjectStore
from thermocline.domain.access import Scope
from thermocline.domain.units import Bytes
from thermocline.interfaces.http.app import ThermoclineApp
from thermocline.orchestrator import StorageOrchestrator
from thermocline.testing.clock import ManualClock
from thermocline.testing.shared_cache import SharedMemoryCache
from thermocline.wiring.build import running
from thermocline.wiring.predicting import predictor_factory
from thermocline.wiring.services import Adapters, Services, assemble
from thermocline.wiring.settings import Settings

P = ParamSpec("P")
MIB = 1024 * 1024
LOCAL = "127.0.0.1:8080"


def in_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an asynchronous test in an event loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 60))

    return run


@dataclass
class Answer:
    """What came back."""

    status: int = 0
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    complete: bool = False
    raised: BaseException | None = None

    def __getitem__(self, name: str) -> str:
        found = [value.decode("latin-1") for key, value in self.fields if key == name.encode()]
        assert len(found) == 1, f"{name}: {found} in {self.fields}"
        return found[0]

    def get(self, name: str) -> str | None:
        return self[name] if any(key == name.encode() for key, _ in self.fields) else None

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def comparable(self) -> list[tuple[bytes, bytes]]:
        """The fields that two answers to the same question share: all but the request's id."""
        return sorted(field for field in self.fields if field[0] != b"x-request-id")

    @property
    def problem(self) -> str:
        """The end of the problem's type."""
        assert self["content-type"] == "application/problem+json"
        assert self["cache-control"] == "no-store"
        document = self.json()
        assert document["status"] == self.status
        assert document["request_id"] == self["x-request-id"]
        assert document["title"]
        assert document["detail"]
        return str(document["type"]).removeprefix("urn:thermocline:error:")


Asgi = Callable[..., Awaitable[None]]


@dataclass
class Client:
    """Asks an ASGI application, with whatever bytes a test wants in the path."""

    app: Asgi
    token: str | None = None
    root_path: str = ""
    peer: tuple[str, int] | None = ("127.0.0.1", 5000)
    on_piece: Callable[[bytes], Awaitable[None]] | None = None
    """Awaited for each piece of a body: a client that reads slowly, or looks at what happens meanwhile."""
    settled: Callable[[], Awaitable[None]] | None = None
    """Awaited after each `store`, so that no test depends on when the service's own work beside it is done."""

    async def ask(
        self,
        method: str,
        target: str | bytes,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        body: bytes | Iterable[bytes] = b"",
        *,
        leaves: bool = False,
        leaves_after_pieces: int | None = None,
        host: str | None = LOCAL,
        sized: bool = True,
    ) -> Answer:
        """Return the answer. `leaves`: the client is gone when its `body` (an unfinished one) is used up."""
        raw = target.encode() if isinstance(target, str) else target
        path, _, query = raw.partition(b"?")
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        fields = [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs]
        if host is not None:
            fields.append((b"host", host.encode()))
        if self.token is not None:
            fields.append((b"authorization", b"Bearer " + self.token.encode()))
        pieces = [body] if isinstance(body, bytes) else list(body)
        if sized and body and not leaves and not any(name == b"content-length" for name, _ in fields):
            fields.append((b"content-length", b"%d" % sum(map(len, pieces))))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path.decode("latin-1")),
            "raw_path": path,
            "query_string": query,
            "root_path": self.root_path,
            "headers": fields,
            "server": ("127.0.0.1", 8080),
            "client": self.peer,
        }
        answer = Answer()
        gone = asyncio.Event()
        incoming = _messages(pieces, leaves=leaves)

        async def receive() -> dict[str, Any]:
            for message in incoming:
                return message
            await gone.wait()
            return {"type": "http.disconnect"}

        pieces_sent = itertools.count(1)

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                assert not answer.status, "an answer begins once"
                answer.status = message["status"]
                answer.fields = list(message["headers"])
                return
            assert answer.status, "headers come first"
            assert not answer.complete, "nothing comes after the end"
            if gone.is_set():
                return  # as servers do
            piece = message.get("body", b"")
            answer.body += piece
            if self.on_piece is not None:
                await self.on_piece(piece)
            if leaves_after_pieces is not None and next(pieces_sent) >= leaves_after_pieces:
                gone.set()
            answer.complete = not message.get("more_body", False)
            if answer.complete:
                gone.set()

        try:
            await self.app(scope, receive, send)
        except Exception as exc:  # noqa: BLE001 - what a server would close the connection for
            answer.raised = exc
        if answer.complete:
            _check(method, answer)
        return answer

    async def get(self, target: str | bytes, headers: Mapping[str, str] | None = None, **more: Any) -> Answer:
        return await self.ask("GET", target, headers or {}, **more)

    async def head(self, target: str | bytes, headers: Mapping[str, str] | None = None, **more: Any) -> Answer:
        return await self.ask("HEAD", target, headers or {}, **more)

    async def put(
        self, target: str | bytes, body: bytes | Iterable[bytes], headers: Mapping[str, str] | None = None, **more: Any
    ) -> Answer:
        return await self.ask("PUT", target, headers or {}, body, **more)

    async def store(self, content_id: str, body: bytes, **headers: str) -> Answer:
        """PUT, which must succeed, cache included; `Thermocline_Tier` writes the header `Thermocline-Tier`."""
        answer = await self.put(
            f"/v1/content/{content_id}", body, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        assert answer.status in {200, 201}, answer
        if self.settled is not None:
            await self.settled()
        return answer


def _messages(pieces: list[bytes], *, leaves: bool) -> Iterator[dict[str, Any]]:
    for index, piece in enumerate(pieces if pieces or leaves else [b""]):
        more = leaves or index + 1 < len(pieces)
        yield {"type": "http.request", "body": piece, "more_body": more}
    if leaves:
        yield {"type": "http.disconnect"}


def _check(method: str, answer: Answer) -> None:
    """Check what every answer has to be: framed, safe, free of cookies."""
    names = [name for name, _ in answer.fields]
    assert len(names) == len(set(names)), f"a field twice: {answer.fields}"
    assert b"set-cookie" not in names
    assert answer["x-request-id"]
    if method == "HEAD" or answer.status in {204, 304}:
        assert answer.body == b""
    else:
        assert int(answer["content-length"]) == len(answer.body)


@dataclass
class Running:
    """An application with all that is below it in reach."""

    app: ThermoclineApp
    services: Services
    objects: MemoryObjectStore
    clock: ManualClock
    client: Client

    def as_(self, token: str | None) -> Client:
        """Return a client with this token."""
        return Client(self.app, token, settled=self.services.background.drain)

    async def new_token(self, *scopes: str, prefix: str = "") -> str:
        """Create a token."""
        return await self.services.authorizing.create(scopes=[Scope(scope) for scope in scopes], prefix=prefix)

    def stored(self) -> list[str]:
        """What the object store holds, unfinished uploads too."""
        contents = self.objects._contents
        return [*contents.objects, *contents.uploads]

    def damage(self, content_id: str, position: int) -> None:
        """Flip a bit in the stored bytes."""
        for key, stored in list(self.objects._contents.objects.items()):
            if f"/{content_id}/" in key:
                data = bytearray(stored.data)
                data[position] ^= 1
                self.objects._contents.objects[key] = type(stored)(bytes(data), stored.modified_at, stored.attributes)
                return
        raise AssertionError(f"no object of {content_id}")


@asynccontextmanager
async def running_app(folder: Path, *, shares: bool = False, **settings: Any) -> AsyncIterator[Running]:
    """Run the application, with its lifespan, for the length of the block; `shares`: over a shared cache."""
    chosen = Settings.model_validate({"data": folder, **settings})
    clock = ManualClock()
    objects = MemoryObjectStore(clock, archive_classes=chosen.archive_classes("main"))
    catalog = await SqlCatalog.open(f"sqlite:///{folder / 'catalog.db'}", unsafe_fast=True)
    numbers = itertools.count(1)
    adapters = Adapters(
        catalog=catalog,
        stores={"main": objects},
        memory=MemoryCache(
            clock, capacity=Bytes(chosen.cache.memory), max_age=chosen.cache.l1_max_age if shares else None
        ),
        shared=BreakingCache(SharedMemoryCache(clock), clock) if shares else None,
        clock=clock,
        entropy=lambda size: next(numbers).to_bytes(size),
        predictor=predictor_factory(chosen.prediction),
    )
    try:
        async with running(await assemble(chosen, adapters), work=False) as services:
            store = StorageOrchestrator(services)

            @asynccontextmanager
            async def lend() -> AsyncIterator[StorageOrchestrator]:
                yield store

            app = ThermoclineApp(chosen, lend)
            async with app.lifespan():
                yield Running(app, services, objects, clock, Client(app, settled=services.background.drain))
    finally:
        await catalog.aclose()
