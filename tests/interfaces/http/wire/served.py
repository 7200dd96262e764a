"""A server process for the tests with real sockets: `python served.py [failing]`; its first line is its port."""

import asyncio
import sys

from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope

from thermocline.interfaces.http.wire.hot_reads import HotAnswer, HotRead, HotReads
from thermocline.interfaces.http.wire.limits import WireLimits
from thermocline.interfaces.http.wire.server import ServerStartError, bind, run, serve

BODY = b"x" * (1024 * 1024)
LIMITS = WireLimits(connections=8, header_arrival_seconds=2, send_stall_seconds=1)


class Hot(HotRead):
    def answer(self, end: bytes) -> HotAnswer | None:
        return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n" % len(BODY) + end, BODY


class Reader(HotReads):
    def read_of(
        self,
        method: bytes,  # noqa: ARG002
        target: bytes,
        host: bytes,  # noqa: ARG002
        authorization: bytes | None,  # noqa: ARG002
        if_none_match: bytes | None,  # noqa: ARG002
    ) -> HotRead | None:
        return Hot() if target == b"/hot" else None


def tell(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class App:
    """`/gate` answers once `/open` was asked; `/left` tells how many clients left; PUT answers with the size."""

    def __init__(self, *, failing: bool) -> None:
        self.failing = failing
        self.gate = asyncio.Event()
        self.waiting = 0
        self.left = 0

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] == "lifespan":
            await receive()
            if self.failing:
                raise ValueError("the database is on fire")
            await send({"type": "lifespan.startup.complete"})
            await receive()
            tell("shut down")
            await send({"type": "lifespan.shutdown.complete"})
            return
        assert scope["type"] == "http"
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                self.left += 1
                return
            size += len(message["body"])
            if not message["more_body"]:
                break
        answer = b"%d" % size
        match scope["path"]:
            case "/hot":
                answer = BODY
            case "/gate":
                self.waiting += 1
                await self.gate.wait()
            case "/open":
                self.gate.set()
            case "/left":
                answer = b"%d" % self.left
            case "/waiting":
                answer = b"%d" % self.waiting
            case _:
                pass
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(answer))]}
        )
        await send({"type": "http.response.body", "body": answer, "more_body": False})


def main() -> None:
    listener = bind("127.0.0.1", 0)

    async def serving() -> None:
        stopped_by = await serve(
            App(failing="failing" in sys.argv),
            sockets=[listener],
            hot_reads=Reader(),
            limits=LIMITS,
            on_started=lambda _: tell(listener.getsockname()[1]),
        )
        tell(f"stopped by {stopped_by.name if stopped_by else None}")

    try:
        run(serving())
    except ServerStartError as exc:
        tell(f"not started: {exc.__cause__!r}")
        sys.exit(1)


if __name__ == "__main__":
    main()
