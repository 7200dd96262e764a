"""One process of a recorded history: a store that serves HTTP too, and does what it is told over its standard input.

    python -m tests.histories.actor SETTINGS NUMBER

Each line is a JSON object: `{"do": "run", …}` changes and reads the ids given, at random, and writes down when each
operation began and ended and what it made or saw; `{"do": "read", …}` reads one id many times at once. Each is answered
by a line. It ends when its input does.
"""

import asyncio
import hashlib
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import httpx

from tests.histories.checking import Act, Change, Read
from thermocline import ContentNotFoundError, Settings, StorageError, StorageOrchestrator
from thermocline.domain.errors import MoveLostError
from thermocline.interfaces.http.app import ServiceRoutes, ThermoclineApp
from thermocline.interfaces.http.counters import HttpCounters
from thermocline.interfaces.http.hot import HotContentReads
from thermocline.interfaces.http.service import listen, url_of
from thermocline.interfaces.http.wire.server import serve
from thermocline.services.tracking import ReadKind

TASKS = 4
"""Tasks that change and read, beside one that reads as anybody."""
MOST_OPERATIONS = 3000
"""Of one run."""
CHANGES = ("write",) * 6 + ("show",) * 4 + ("delete",) * 2 + ("move",) * 4 + ("evict",)
EVICT_ALL = 0.05
TIERS = ("hot", "warm", "warm", "cold")
PAUSE = 0.03
SIZES = (10, 1500, 60_000)


class Actor:
    """The store and what it has recorded."""

    def __init__(self, store: StorageOrchestrator, number: int, url: str) -> None:
        self._store = store
        self._number = number
        self._anybody = httpx.AsyncClient(base_url=url, timeout=20.0)
        self._written = 0
        self._events: list[Change | Read] = []
        self._failed: Counter[str] = Counter()

    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        match order["do"]:
            case "run":
                return await self._run(order)
            case "read":
                return await self._read_at_once(order)
            case "store":
                return await self._store_warm(order)
            case wish:
                raise ValueError(wish)

    async def close(self) -> None:
        await self._anybody.aclose()

    async def _run(self, order: dict[str, Any]) -> dict[str, Any]:
        self._events, self._failed = [], Counter()
        chance = random.Random(order["seed"] * 10 + self._number)
        begin = time.monotonic()
        still, end = begin + order["changing"], begin + order["seconds"]
        work = [
            self._act(random.Random(chance.random()), order["ids"], order["share"], still, end) for _ in range(TASKS)
        ]
        await asyncio.gather(*work, self._look(random.Random(chance.random()), order["ids"], end))
        lines = [json.dumps([type(event).__name__, asdict(event)]) + "\n" for event in self._events]
        await asyncio.to_thread(Path(order["into"]).write_text, "".join(lines))
        return {"failed": dict(self._failed), "operations": len(self._events)}

    async def _act(self, chance: random.Random, ids: list[str], share: float, still: float, end: float) -> None:
        for _ in range(MOST_OPERATIONS // TASKS):
            if time.monotonic() >= end:
                return
            content_id = chance.choice(ids)
            step = chance.choice(CHANGES) if time.monotonic() < still and chance.random() < share else "read"
            if step == "read":
                await self._read(content_id)
            elif step == "evict":
                # Mostly one, for what is evicted everywhere can be stale nowhere.
                await self._evict(f"{content_id[:-1]}{'*' if chance.random() < EVICT_ALL else f'[{content_id[-1]}]'}")
            else:
                await self._change(chance, content_id, Act(step))
            await asyncio.sleep(chance.uniform(0.0, PAUSE if time.monotonic() < still else 4 * PAUSE))

    async def _change(self, chance: random.Random, content_id: str, act: Act) -> None:
        value = public = None
        make: Callable[[], Awaitable[Any]]
        match act:
            case Act.WRITE:
                self._written += 1
                value, public = f"{self._number}:{self._written}", chance.random() < 0.5
                body = pack(content_id, value, chance.randbytes(chance.choice(SIZES)))
                tier, visibility = chance.choice(TIERS), _visibility(public=public)
                make = lambda: self._store.store_content(  # noqa: E731 - one of four
                    content_id, body, initial_tier=tier, visibility=visibility
                )
            case Act.SHOW:
                public = chance.random() < 0.5
                visibility = _visibility(public=public)
                make = lambda: self._store.update_metadata(content_id, visibility=visibility)  # noqa: E731
            case Act.DELETE:
                make = lambda: self._store.delete_content(content_id)  # noqa: E731
            case Act.MOVE:
                tier = chance.choice(TIERS)
                make = lambda: self._store.set_tier(content_id, tier)  # noqa: E731
        begin = time.monotonic()
        try:
            made: Any = await make()
        except (ContentNotFoundError, MoveLostError):
            return  # nothing was changed
        except StorageError as exc:
            self._failed[f"{act} {type(exc).__name__}"] += 1
            self._events.append(Change(self._number, content_id, act, begin, None, None, value, public))
            return
        end = time.monotonic()
        if made is False:
            return  # there was nothing to delete
        version = None if act is Act.DELETE else (made.record if act is Act.MOVE else made).version
        self._events.append(Change(self._number, content_id, act, begin, end, version, value, public))

    async def _evict(self, pattern: str) -> None:
        try:
            await self._store.cache.invalidate_cache(pattern)
        except StorageError as exc:
            self._failed[f"evict {type(exc).__name__}"] += 1

    async def _read(self, content_id: str) -> None:
        begin = time.monotonic()
        try:
            body = await self._store.retrieve_content(content_id)
        except ContentNotFoundError:
            body = None
        except StorageError as exc:
            self._failed[f"read {type(exc).__name__}"] += 1
            return
        self._note_read(content_id, begin, body, anybody=False)

    async def _look(self, chance: random.Random, ids: list[str], end: float) -> None:
        """Read as anybody, over HTTP."""
        for _ in range(MOST_OPERATIONS):
            if time.monotonic() >= end:
                return
            content_id = chance.choice(ids)
            begin = time.monotonic()
            answer = await self._anybody.get(f"/v1/content/{content_id}")
            if answer.status_code in {200, 404}:
                body = answer.content if answer.status_code == 200 else None
                self._note_read(content_id, begin, body, anybody=True)
            else:
                self._failed[f"look {answer.status_code}"] += 1
            await asyncio.sleep(chance.uniform(0.0, PAUSE))

    def _note_read(self, content_id: str, begin: float, body: bytes | None, *, anybody: bool) -> None:
        end = time.monotonic()
        value, whole = (None, True) if body is None else unpack(content_id, body)
        self._events.append(Read(self._number, content_id, begin, end, value, anybody, whole))

    async def _store_warm(self, order: dict[str, Any]) -> dict[str, Any]:
        body = random.randbytes(order["size"])
        await self._store.store_content(order["id"], body, initial_tier="warm")
        return {"digest": hashlib.sha256(body).hexdigest()}

    async def _read_at_once(self, order: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(max(order["at"] - time.monotonic(), 0.0))
        totals = self._store.services.tracker.totals
        before = Counter({kind: totals[kind] for kind in ReadKind})
        failures = self._store.services.cache.failures
        bodies = await asyncio.gather(
            *(self._store.retrieve_content(order["id"]) for _ in range(order["count"])), return_exceptions=True
        )
        digests = Counter(
            hashlib.sha256(body).hexdigest() if isinstance(body, bytes) else repr(body) for body in bodies
        )
        return {
            "found": dict(digests),
            "reads": {kind.name: totals[kind] - before[kind] for kind in ReadKind},
            "failures": self._store.services.cache.failures - failures,
        }


def pack(content_id: str, value: str, filler: bytes) -> bytes:
    """Return bytes that tell which content they are of, who wrote them, and whether they are whole."""
    return f"{content_id} {value} {hashlib.sha256(filler).hexdigest()} ".encode() + filler


def unpack(content_id: str, body: bytes) -> tuple[str, bool]:
    """Return what was written, by name, and whether the bytes are whole and of this content."""
    try:
        of, value, digest, filler = body.split(b" ", 3)
    except ValueError:
        return "", False
    is_whole = hashlib.sha256(filler).hexdigest().encode() == digest
    return value.decode(errors="replace"), is_whole and of == content_id.encode()


def _visibility(*, public: bool) -> str:
    return "public" if public else "private"


async def _obey_lines(actor: Actor, server: asyncio.Task[Any]) -> None:
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        _say(await actor.obey(json.loads(line)))
    server.cancel()


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def main(path: Path, number: int) -> None:
    settings = Settings.load(path, flags={"http": {"port": 0}})
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(StorageOrchestrator.open(settings, work=True))
        counters = HttpCounters()
        lent = AsyncExitStack()
        app = ThermoclineApp(settings, lambda: _lend(lent, store), None, counters)
        listener = listen(settings)
        started = asyncio.Event()
        server = asyncio.ensure_future(
            serve(
                cast("Any", app),
                sockets=[listener],
                hot_reads=HotContentReads(ServiceRoutes(store, settings, counters), counters),
                remember_header_blocks=True,
                on_started=lambda _: started.set(),
            )
        )
        url = url_of(listener)
        await started.wait()
        actor = Actor(store, number, url)
        stack.push_async_callback(actor.close)
        _say({"url": url})
        await _obey_lines(actor, server)
        with suppress(asyncio.CancelledError):
            await server


def _lend(lent: AsyncExitStack, store: StorageOrchestrator) -> Any:
    class Lent:
        async def __aenter__(self) -> StorageOrchestrator:
            return store

        async def __aexit__(self, *_error: object) -> None:
            await lent.aclose()

    return Lent()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
