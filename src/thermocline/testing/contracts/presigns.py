"""Laws of `Presigns`: what others may do with URLs."""
# ruff: noqa: D102 - the name of a test states its law

import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol

import pytest

from thermocline.domain.errors import IntentLostError, TruncatedBodyError
from thermocline.domain.units import Bytes, Seconds
from thermocline.ports.object_store import ObjectInfo, ObjectStore
from thermocline.ports.presigns import Presigns
from thermocline.testing.contracts.running import AsyncTests

PART: Final = Bytes(5 * 2**20)
MINUTE: Final = Seconds(60.0)
_WAIT: Final = 30.0


class PresigningStore(ObjectStore, Presigns, Protocol):
    """An object store that gives out URLs."""


OpenPresigning = Callable[[], AbstractAsyncContextManager[PresigningStore]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a URL answered."""

    status: int
    body: bytes
    headers: Mapping[str, str]


def send(method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Answer:
    """Send one request as any client would, with nothing but the URL."""
    request = urllib.request.Request(url, data=body, method=method, headers=dict(headers or {}))  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_WAIT) as answer:  # noqa: S310 - to a server of the test
            return Answer(answer.status, answer.read(), {name.lower(): value for name, value in answer.headers.items()})
    except urllib.error.HTTPError as exc:
        with exc:
            return Answer(exc.code, exc.read(), {})


class PresignsContract(AsyncTests):
    """Laws of `Presigns`. Subclasses provide `open_presigning`, anew for each test. URLs are used from this thread."""

    @pytest.fixture
    def open_presigning(self) -> OpenPresigning:
        """Return what opens a fresh store."""
        raise NotImplementedError

    async def test_parts_that_others_sent_become_an_object(self, open_presigning: OpenPresigning) -> None:
        parts = [b"a" * PART, b"b" * PART, b"c"]
        async with open_presigning() as store:
            upload = await store.begin_direct_upload("k/ü+%41", {"a": "b"}, storage_class="STANDARD_IA")
            urls = await store.part_urls("k/ü+%41", upload, count=3, lives=MINUTE)
            for url, part in reversed(list(zip(urls, parts, strict=True))):
                assert send("PUT", url, b"first attempt").status == 200
                assert send("PUT", url, part).status == 200
            assert await store.head("k/ü+%41") is None
            for _ in range(2):
                await store.complete_direct_upload("k/ü+%41", upload, sizes=[Bytes(len(part)) for part in parts])
            whole = b"".join(parts)
            assert await store.fetch("k/ü+%41", 0, len(whole)) == whole
            head = await store.head("k/ü+%41")
            assert head is not None
            assert (head.attributes, head.storage_class) == ({"a": "b"}, "STANDARD_IA")

    async def test_an_empty_object_is_one_empty_part(self, open_presigning: OpenPresigning) -> None:
        async with open_presigning() as store:
            upload = await store.begin_direct_upload("k", {})
            (url,) = await store.part_urls("k", upload, count=1, lives=MINUTE)
            assert send("PUT", url, b"").status == 200
            await store.complete_direct_upload("k", upload, sizes=[Bytes(0)])
            assert await store.fetch("k", 0, 0) == b""

    async def test_other_parts_than_announced_change_nothing(self, open_presigning: OpenPresigning) -> None:
        async with open_presigning() as store:
            upload = await store.begin_direct_upload("k", {})
            urls = await store.part_urls("k", upload, count=3, lives=MINUTE)
            sizes = [PART, Bytes(3)]
            with pytest.raises(TruncatedBodyError, match="part 1 of 2 did not come"):
                await store.complete_direct_upload("k", upload, sizes=sizes)
            send("PUT", urls[0], bytes(PART))
            with pytest.raises(TruncatedBodyError, match="part 2"):
                await store.complete_direct_upload("k", upload, sizes=sizes)
            send("PUT", urls[1], b"12")
            with pytest.raises(TruncatedBodyError, match="part 2 has 2 bytes instead of 3"):
                await store.complete_direct_upload("k", upload, sizes=sizes)
            send("PUT", urls[2], b"12")
            send("PUT", urls[1], b"123")
            with pytest.raises(TruncatedBodyError, match="3 parts came"):
                await store.complete_direct_upload("k", upload, sizes=sizes)
            assert await store.head("k") is None
            assert [(info.key, info.finished) for info in await _listed(store)] == [("k", False)]
            await store.delete(["k"])

    async def test_urls_die_with_the_upload(self, open_presigning: OpenPresigning) -> None:
        async with open_presigning() as store:
            upload = await store.begin_direct_upload("k", {})
            urls = await store.part_urls("k", upload, count=1, lives=MINUTE)
            send("PUT", urls[0], b"first")
            await store.complete_direct_upload("k", upload, sizes=[Bytes(5)])
            assert send("PUT", urls[0], b"other").status == 404
            assert await store.fetch("k", 0, 5) == b"first"
            deleted = await store.begin_direct_upload("d", {})
            urls = await store.part_urls("d", deleted, count=1, lives=MINUTE)
            assert not await store.delete(["d"])
            assert send("PUT", urls[0], b"other").status == 404
            with pytest.raises(IntentLostError):
                await store.complete_direct_upload("d", deleted, sizes=[Bytes(5)])
            assert await store.head("d") is None

    async def test_what_was_put_can_be_downloaded_by_its_url(self, open_presigning: OpenPresigning) -> None:
        async with open_presigning() as store:
            await store.put("k/ü+%41", b"12345", {})
            url = await store.download_url("k/ü+%41", lives=MINUTE, content_type="text/x-told")
            whole, part = send("GET", url), send("GET", url, headers={"Range": "bytes=1-3"})
            assert (whole.status, whole.body, whole.headers["content-type"]) == (200, b"12345", "text/x-told")
            assert (part.status, part.body) == (206, b"234")


async def _listed(store: ObjectStore) -> list[ObjectInfo]:
    return [info async for page in store.list_pages("") for info in page]
