"""Storing, reading and deleting content over HTTP."""

import base64
import hashlib
from pathlib import Path

import pytest

from tests.interfaces.http.harness import MIB, in_loop, running_app
from thermocline.domain.units import MICROS_PER_SECOND


@in_loop
async def test_a_round_trip(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        put = await run.client.put(
            "/v1/content/users/42/c%C3%A4t.jpg",
            b"meow",
            {
                "Content-Type": "image/jpeg",
                "Thermocline-Visibility": "public",
                "Thermocline-Meta-Album": "pets",
                "Thermocline-Tier": "warm",
                "Content-Disposition": 'attachment; filename="c.jpg"',
            },
        )
        assert put.status == 201
        receipt = put.json()
        assert put["etag"] == receipt["etag"]
        assert put["location"] == "/v1/content/users/42/c%C3%A4t.jpg"
        assert receipt["content_id"] == "users/42/cät.jpg"
        assert (receipt["size"], receipt["tier"], receipt["created"]) == (4, "warm", True)
        assert put["cache-control"] == "no-store"

        get = await run.client.get(put["location"])
        assert (get.status, get.body) == (200, b"meow")
        assert get["content-type"] == "image/jpeg"
        assert get["content-disposition"] == 'attachment; filename="c.jpg"'
        assert get["etag"] == receipt["etag"]
        digest = base64.b64encode(hashlib.sha256(b"meow").digest()).decode()
        assert get["repr-digest"] == f"sha-256=:{digest}:"
        assert get["x-content-type-options"] == "nosniff"
        assert get["content-security-policy"] == "sandbox; default-src 'none'"
        assert get["cross-origin-resource-policy"] == "cross-origin"
        assert get["accept-ranges"] == "bytes"

        again = await run.client.put(put["location"], b"purr")
        assert again.status == 200
        assert again.json()["revision"] > receipt["revision"]
        assert (await run.client.get(put["location"])).body == b"purr"

        assert (await run.client.ask("DELETE", put["location"])).status == 204
        assert (await run.client.ask("DELETE", put["location"])).status == 204
        gone = await run.client.get(put["location"])
        assert (gone.status, gone.problem) == (404, "content-not-found")


@in_loop
async def test_memory_and_storage_say_the_same_but_for_where_it_came_from(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await run.client.store("a", b"x" * 2 * MIB, Thermocline_Visibility="public", Cache_Control="max-age=5")
        first = await run.client.get("/v1/content/a")
        run.clock.advance(7.5)
        second = await run.client.get("/v1/content/a")
        assert first["cache-status"] == "thermocline; fwd=miss; detail=storage"
        assert second["cache-status"] == "thermocline; hit; detail=memory"
        assert first.get("age") is None
        assert second["age"] == "7"
        assert second["cache-control"] == "max-age=5"
        same = {name: value for name, value in second.comparable if name not in {b"age", b"cache-status"}}
        assert same == {name: value for name, value in first.comparable if name != b"cache-status"}
        assert first.body == second.body


@pytest.mark.parametrize("size", [0, 1, 300_000, 5 * MIB])
@pytest.mark.parametrize("tier", ["hot", "cold"])
def test_head_mirrors_get(tmp_path: Path, size: int, tier: str) -> None:
    @in_loop
    async def check() -> None:
        async with running_app(tmp_path) as run:
            await run.client.store("a/b", b"x" * size, Thermocline_Tier=tier)
            await run.services.background.drain()  # a fill between both answers would show in them
            head = await run.client.head("/v1/content/a/b")
            get = await run.client.get("/v1/content/a/b")
            assert head.status == get.status == 200
            assert head.comparable == get.comparable
            assert len(get.body) == size
            assert (await run.client.head("/v1/content/a/b", {"Range": "bytes=0-0"})).status == 200

    check()


@in_loop
async def test_cold_large_content_streams_and_small_cold_content_is_not_cached(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        data = bytes(range(256)) * 4096 * 13
        await run.client.store("big", data, Thermocline_Tier="cold")
        for _ in range(2):
            answer = await run.client.get("/v1/content/big")
            assert answer.body == data
            assert answer["cache-status"] == "thermocline; fwd=miss; detail=storage"
        assert run.services.memory.in_use == 0
        part = await run.client.get("/v1/content/big", {"Range": f"bytes={5 * MIB}-{9 * MIB}"})
        assert (part.status, part.body) == (206, data[5 * MIB : 9 * MIB + 1])
        parts = await run.client.get("/v1/content/big", {"Range": f"bytes=0-9,{5 * MIB}-{9 * MIB}"})
        assert parts.status == 206
        assert data[5 * MIB : 9 * MIB + 1] in parts.body
        assert run.services.memory.in_use == 0


@in_loop
async def test_a_revision_url_names_these_bytes_for_ever(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        one = (await run.client.store("a", b"one", Thermocline_Visibility="public")).json()["revision"]
        url = f"/i/{one}/a"
        answer = await run.client.get(url)
        assert (answer.status, answer.body) == (200, b"one")
        assert answer["cache-control"] == "public, max-age=31536000, immutable"
        assert (await run.client.get(url))["cache-status"] == "thermocline; hit; detail=memory"
        two = (await run.client.store("a", b"two", Thermocline_Visibility="public")).json()["revision"]
        assert (await run.client.get(url)).problem == "content-not-found"
        assert (await run.client.head(f"/i/{two}/a")).status == 200
        assert (await run.client.get(f"/i/{two}/a")).body == b"two"
        assert (await run.client.get(f"/i/{one}/a")).status == 404
        for wrong in (f"/i/0{two}/a", "/i/x/a", "/i/-1/a", "/i//a", f"/i/{two + 1}/a", f"/i/{'9' * 40}/a"):
            assert (await run.client.get(wrong)).status == 404, wrong
        assert (await run.client.get(f"/i/{two}")).status == 404
        assert (await run.client.get(f"/i/{two}/")).status == 400
        assert (await run.client.put(f"/i/{two}/a", b"x")).status == 405
        await run.client.store("a", b"three")
        revision = (await run.client.get("/v1/info/a")).json()["revision"]
        assert (await run.client.get(f"/i/{revision}/a"))["cache-control"] == "private, no-store"


@in_loop
async def test_conditional_reads(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        for content_id, tier in (("hot", "hot"), ("cold", "cold")):
            await run.client.store(content_id, b"data", Thermocline_Tier=tier, Thermocline_Visibility="public")
            url = f"/v1/content/{content_id}"
            for _ in range(2):
                full = await run.client.get(url)
                etag = full["etag"]
                same = await run.client.get(url, {"If-None-Match": f'"x", W/{etag}'})
                assert (same.status, same.body) == (304, b"")
                for name in ("etag", "cache-control", "cloudflare-cdn-cache-control", "cache-tag"):
                    assert same[name] == full[name]
                assert same.get("content-length") is None
                assert (await run.client.head(url, {"If-None-Match": etag})).status == 304
                assert (await run.client.get(url, {"If-Modified-Since": full["last-modified"]})).status == 304
                assert (await run.client.get(url, {"If-Match": '"x"'})).problem == "precondition-failed"
                failed = await run.client.head(url, {"If-Match": '"x"'})
                assert (failed.status, failed.body) == (412, b"")
                assert (await run.client.get(url, {"If-Match": etag})).status == 200
        assert (await run.client.get("/v1/content/none", {"If-None-Match": "*"})).status == 404


@in_loop
async def test_ranges(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        data = bytes(range(100))
        await run.client.store("a", data, Content_Type="image/png")
        url = "/v1/content/a"
        etag = (await run.client.get(url))["etag"]
        one = await run.client.get(url, {"Range": "bytes=10-19"})
        assert (one.status, one.body, one["content-range"]) == (206, data[10:20], "bytes 10-19/100")
        assert one["etag"] == etag
        assert one["content-type"] == "image/png"
        past = await run.client.get(url, {"Range": "bytes=100-"})
        assert (past.status, past.problem, past["content-range"]) == (416, "range-not-satisfiable", "bytes */100")
        assert (await run.client.get(url, {"Range": "bytes=9-1"})).status == 200
        assert (await run.client.get(url, {"Range": "bytes=0-,0-,0-,0-,0-"})).status == 200
        assert (await run.client.get(url, {"Range": "bytes=0-0", "If-Range": etag})).status == 206
        for other in ('"x"', "W/" + etag, one["last-modified"]):
            assert (await run.client.get(url, {"Range": "bytes=0-0", "If-Range": other})).status == 200
        assert (await run.client.get(url, {"Range": "bytes=500-", "If-None-Match": etag})).status == 304


@in_loop
async def test_several_ranges_come_as_multipart(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        data = bytes(range(100))
        await run.client.store("a", data, Content_Type="image/png")
        answer = await run.client.get("/v1/content/a", {"Range": "bytes=50-59, 0-9, 5-14, -1"})
        assert answer.status == 206
        kind, _, boundary = answer["content-type"].partition("; boundary=")
        assert kind == "multipart/byteranges"
        assert answer.get("content-range") is None
        assert (
            answer.body
            == b"".join(
                (f"\r\n--{boundary}" if place else f"--{boundary}").encode()
                + f"\r\nContent-Type: image/png\r\nContent-Range: bytes {start}-{end - 1}/100\r\n\r\n".encode()
                + data[start:end]
                for place, (start, end) in enumerate([(50, 60), (0, 15), (99, 100)])
            )
            + f"\r\n--{boundary}--\r\n".encode()
        )


@in_loop
async def test_content_that_expires(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await run.client.store("a", b"soon", Thermocline_Visibility="public", Thermocline_Expires_In="30.5")
        first = await run.client.get("/v1/content/a")
        assert first["cloudflare-cdn-cache-control"] == "max-age=30"
        run.clock.advance(20)
        second = await run.client.get("/v1/content/a")
        assert second["cache-status"] == "thermocline; hit; detail=memory"
        assert second["cloudflare-cdn-cache-control"] == "max-age=10"
        assert "stale" not in str(second.fields)
        run.clock.advance(10.5)
        assert (await run.client.get("/v1/content/a")).status == 404
        assert (await run.client.head("/v1/content/a")).status == 404


@in_loop
async def test_conditional_writes(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        url = "/v1/content/a"
        assert (await run.client.put(url, b"x", {"If-Match": "*"})).problem == "precondition-failed"
        etag = (await run.client.put(url, b"1", {"If-None-Match": "*"}))["etag"]
        assert (await run.client.put(url, b"2", {"If-None-Match": "*"})).problem == "precondition-failed"
        assert (await run.client.put(url, b"2", {"If-Match": '"x"'})).status == 412
        assert (await run.client.put(url, b"2", {"If-Match": etag})).status == 200
        assert (await run.client.put(url, b"3", {"If-Match": etag})).status == 412
        assert (await run.client.ask("DELETE", url, {"If-Match": etag})).status == 412
        assert (await run.client.get(url)).body == b"2"
        assert (await run.client.put(url, b"3", {"If-Match": "nonsense"})).problem == "invalid-input"


@in_loop
async def test_a_hold_keeps_content_from_change(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await run.client.store("a", b"1")
        assert (await run.client.ask("PATCH", "/v1/info/a", {}, b'{"hold": true}')).json()["held"] is True
        for answer in (
            await run.client.put("/v1/content/a", b"2"),
            await run.client.put("/v1/content/a", b"2", {"If-Match": "*"}),
            await run.client.ask("DELETE", "/v1/content/a"),
            await run.client.ask("DELETE", "/v1/content/a?erase=true"),
        ):
            assert (answer.status, answer.problem) == (409, "content-held")
        assert (await run.client.get("/v1/content/a")).body == b"1"


@in_loop
async def test_erasing(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await run.client.store("a", b"1")
        assert (await run.client.ask("DELETE", "/v1/content/a?erase=maybe")).problem == "invalid-input"
        assert (await run.client.ask("DELETE", "/v1/content/a?erase=true", {"If-Match": "*"})).status == 400
        assert (await run.client.ask("DELETE", "/v1/content/a?erase=false")).status == 204
        await run.client.store("b", b"1")
        assert (await run.client.ask("DELETE", "/v1/content/b?erase=true")).status == 204
        assert not any("/b/" in key for key in run.stored()), "its bytes are gone at once"
        assert any("/a/" in key for key in run.stored()), "those of the other stay for the grace"


@in_loop
async def test_last_modified_is_when_the_bytes_were_committed(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await run.client.store("a", b"1")
        before = await run.client.get("/v1/content/a")
        run.clock.advance(3600)
        await run.client.ask("PATCH", "/v1/info/a", {}, b'{"metadata": {"x": 1}}')
        after = await run.client.get("/v1/content/a")
        assert (after["last-modified"], after["etag"]) == (before["last-modified"], before["etag"])
        assert run.clock.now() % MICROS_PER_SECOND == 0
