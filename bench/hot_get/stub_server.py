"""The wire over a reader that does, on a dict, all the work that the real reader has to do for a hot read."""

import argparse
import secrets
import time
import urllib.parse
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from bench.hot_get.load import TOKEN
from bench.hot_get.peers import SIZES
from thermocline.interfaces.http.wire.hot_reads import HotAnswer, HotReads
from thermocline.interfaces.http.wire.server import bind, run, serve

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope


@dataclass(slots=True)
class _Entry:
    head: bytes
    body: bytes
    etag: bytes
    taken_at: float
    expires_at: float
    public: bool
    prefix: str
    dated: int = -1
    aged_head: bytes = b""


class _Stub(HotReads):
    def __init__(self) -> None:
        self._ids: dict[bytes, str] = {}
        self._entries = {str(size): _entry(size) for size in SIZES}
        self._tokens = {sha256(f"Bearer {TOKEN}".encode()).digest(): ""}
        self._granted: dict[bytes, str] = {}
        self._reads: dict[str, int] = {}
        self._answered = 0

    def answer(
        self,
        method: bytes,  # noqa: ARG002
        target: bytes,
        host: bytes | None,
        authorization: bytes | None,
        if_none_match: bytes | None,
    ) -> HotAnswer | None:
        content_id = self._ids.get(target)
        if content_id is None:
            content_id = self._resolve(target)
        entry = self._entries.get(content_id)
        if entry is None or host is None or if_none_match is not None:
            return None
        now = time.time()
        if now >= entry.expires_at:
            return None
        if not entry.public:
            if authorization is None:
                return None
            prefix = self._granted.get(authorization)
            if prefix is None:
                prefix = self._check(authorization)
            if prefix is None or not content_id.startswith(prefix):
                return None
        age = int(now - entry.taken_at)
        if age != entry.dated:
            entry.aged_head = entry.head + b"age: %d\r\n" % age
            entry.dated = age
        reads = self._reads
        reads[content_id] = reads.get(content_id, 0) + 1
        self._answered += 1
        return entry.aged_head, entry.body

    def _resolve(self, target: bytes) -> str:
        path = target.partition(b"?")[0].decode("ascii")
        content_id = urllib.parse.unquote(path).removeprefix("/v1/content/")
        if len(self._ids) >= 65536:
            self._ids.clear()
        self._ids[target] = content_id
        return content_id

    def _check(self, authorization: bytes) -> str | None:
        prefix = self._tokens.get(sha256(authorization).digest())
        if prefix is not None:
            self._granted[authorization] = prefix
        return prefix


def _entry(size: int) -> _Entry:
    body = secrets.token_bytes(size)
    etag = b'"r7-%b"' % secrets.token_hex(8).encode()
    headers = {
        b"content-type": b"image/jpeg",
        b"content-length": b"%d" % size,
        b"etag": etag,
        b"last-modified": b"Sun, 01 Nov 2026 10:00:00 GMT",
        b"accept-ranges": b"bytes",
        b"cache-control": b"private, no-store",
        b"repr-digest": b"sha-256=:d435Qo+nKZ+gLcUHn7GQtQ72hiBVAgqoLsZnZPiTGPk=:",
        b"cache-status": b"thermocline; hit; detail=memory",
        b"cache-tag": b"o-3f1a9c0b7d5e2468,p-9c0b7d5e24683f1a,t-hot",
        b"x-content-type-options": b"nosniff",
        b"content-security-policy": b"sandbox; default-src 'none'",
        b"cross-origin-resource-policy": b"same-site",
    }
    head = b"HTTP/1.1 200 OK\r\n" + b"".join(b"%b: %b\r\n" % header for header in headers.items())
    now = time.time()
    return _Entry(head, body, etag, now, now + 86400, public=False, prefix="")


async def _app(scope: "Scope", receive: "ASGIReceiveCallable", send: "ASGISendCallable") -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--remember", action="store_true")
    options = parser.parse_args()
    listener = bind("127.0.0.1", options.port)
    run(serve(_app, sockets=[listener], hot_reads=_Stub(), remember_header_blocks=options.remember))


if __name__ == "__main__":
    main()
