"""What is wrong is refused with 400 and its like, says why, and leaves nothing behind."""

import base64
import hashlib
from pathlib import Path

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.interfaces.http.harness import Running, in_loop, running_app
from thermocline.domain.errors import UnavailableError

LONGEST = "a" * 900

BAD_PATHS: list[bytes] = [
    b"",
    b"%2F",
    b"/a",
    b"a/",
    b"a//b",
    b"a%2F%2Fb",
    b"a%2F/b",
    b".",
    b"..",
    b"a/../b",
    b"a/..",
    b"%2e%2e",
    b"%2E%2e/a",
    b"a/%2e",
    b"a%2f..%2fb",
    b"a%00b",
    b"%00",
    b"a%0Ab",
    b"a%0D%0Ab",
    b"a%1F",
    b"a%7Fb",
    b"a%C2%85b",  # a control character of the second block
    b"%FF",
    b"%C3",
    b"%C0%AF",  # an overlong '/'
    b"%ED%A0%80",  # a surrogate
    b"a%",
    b"a%4",
    b"a%G1",
    b"a" * 901,
    "é".encode() * 450 + b"a",
    b"%61" * 901,
]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_bad_ids_are_refused_everywhere(tmp_path: Path, method: str) -> None:
    @in_loop
    async def check() -> None:
        async with running_app(tmp_path) as run:
            for path in BAD_PATHS:
                answer = await run.client.ask(method, b"/v1/content/" + path, body=b"x" if method == "PUT" else b"")
                assert answer.status == 400, path
            if method in {"GET", "HEAD"}:
                for path in BAD_PATHS:
                    assert (await run.client.ask(method, b"/i/5/" + path)).status == 400, path
            if method == "GET":
                for path in BAD_PATHS:
                    assert (await run.client.get(b"/v1/info/" + path)).status == 400, path
            assert run.stored() == []

    check()


@in_loop
async def test_ids_are_decoded_exactly_once(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        pairs = {
            b"a%2Fb": "a/b",
            b"c%252Fd": "c%2Fd",
            b"%252e%252e": "%2e%2e",
            b"p+q": "p+q",
            b"x%20y": "x y",
            b"q%3Fr": "q?r",
            b"h%23i": "h#i",
            b"...": "...",
            LONGEST.encode(): LONGEST,
            b"%C3%A9" * 450: "é" * 450,
            b"%F0%9F%90%88": "🐈",
            b"%EF%BB%BFbom": "\ufeffbom",
            b"s%E2%80%A8t": "s\u2028t",
        }
        for raw, content_id in pairs.items():
            put = await run.client.put(b"/v1/content/" + raw, b"x")
            assert put.json()["content_id"] == content_id
            assert (await run.client.get(b"/v1/content/" + raw)).body == b"x"
            assert (await run.client.get(b"/v1/info/" + raw)).json()["content_id"] == content_id
            assert (await run.client.get(put["location"].encode())).body == b"x", "Location leads back"
        listed = (await run.client.get("/v1/content?limit=1000")).json()["records"]
        assert [record["content_id"] for record in listed] == sorted(pairs.values(), key=str.encode)


def digest(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


@pytest.mark.parametrize(
    ("headers", "status", "problem"),
    [
        ({"Repr-Digest": digest(b"other")}, 400, "digest-mismatch"),
        ({"Content-Digest": digest(b"other")}, 400, "digest-mismatch"),
        ({"Repr-Digest": digest(b"data"), "Content-Digest": digest(b"other")}, 400, "digest-mismatch"),
        ({"Repr-Digest": "sha-256=abc"}, 400, "invalid-input"),
        ({"Repr-Digest": "sha-256=:AAAA:"}, 400, "invalid-input"),
        ({"Content-Length": "-4"}, 400, "invalid-input"),
        ({"Content-Length": "4x"}, 400, "invalid-input"),
        ({"Content-Length": "4, 4"}, 400, "invalid-input"),
        ({"Content-Length": "9" * 30}, 400, "invalid-input"),
        ({"Content-Length": "3"}, 400, "truncated-body"),
        ({"Content-Length": "5"}, 400, "truncated-body"),
        ({"Content-Length": str(6 * 2**40)}, 413, "content-too-large"),
        ({"Content-Range": "bytes 0-3/8"}, 400, "invalid-input"),
        ({"Content-Encoding": "gzip"}, 415, "unsupported-media-type"),
        ({"Content-Encoding": "identity, br"}, 415, "unsupported-media-type"),
        ({"Content-Type": "not a type"}, 400, "invalid-metadata"),
        ({"Content-Type": "text/plain\x01"}, 400, "invalid-metadata"),
        ({"Content-Type": "text/" + "x" * 2000}, 400, "invalid-metadata"),
        ({"Cache-Control": "max-age=5\r\nSet-Cookie: a=b"}, 400, "invalid-metadata"),
        ({"Content-Disposition": 'attachment; filename="é"'}, 400, "invalid-metadata"),
        ({"Thermocline-Tier": "lukewarm"}, 400, "invalid-input"),
        ({"Thermocline-Tier": ""}, 400, "invalid-input"),
        ({"Thermocline-Visibility": "secret"}, 400, "invalid-input"),
        ({"Thermocline-Expires-In": "0"}, 400, "invalid-input"),
        ({"Thermocline-Expires-In": "-5"}, 400, "invalid-input"),
        ({"Thermocline-Expires-In": "nan"}, 400, "invalid-input"),
        ({"Thermocline-Expires-In": "inf"}, 400, "invalid-input"),
        ({"Thermocline-Expires-In": "1e30"}, 400, "invalid-input"),
        ({"Thermocline-Expires-In": "soon"}, 400, "invalid-input"),
        ({"Thermocline-Meta-": "x"}, 400, "invalid-input"),
        ({"Thermocline-Meta-A": "\xff"}, 400, "invalid-input"),
        ({"Thermocline-Meta-A": "x" * 20_000}, 400, "invalid-metadata"),
        ({"If-Match": "x"}, 400, "invalid-input"),
        ({"If-None-Match": '"x'}, 400, "invalid-input"),
        ({"If-Match": ""}, 400, "invalid-input"),
    ],
)
def test_bad_headers_of_a_put(tmp_path: Path, headers: dict[str, str], status: int, problem: str) -> None:
    @in_loop
    async def check() -> None:
        async with running_app(tmp_path) as run:
            answer = await run.client.put("/v1/content/a", b"data", headers)
            assert (answer.status, answer.problem) == (status, problem)
            await nothing_left(run)

    check()


async def nothing_left(run: Running) -> None:
    assert run.stored() == []
    assert await run.services.adapters.catalog.intents.count() == 0
    assert (await run.client.get("/v1/content/a")).status == 404
    assert run.services.memory.in_use == 0


@in_loop
async def test_good_headers_of_a_put(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        headers = {
            "Repr-Digest": digest(b"data") + ", sha-512=:AAAA:",
            "Content-Digest": digest(b"data"),
            "Content-Encoding": "Identity",
            "Thermocline-Meta-B": "ü".encode().decode("latin-1"),
            "Thermocline-Unknown": "ignored",
        }
        assert (await run.client.put("/v1/content/a", b"data", headers)).status == 201
        assert (await run.client.get("/v1/info/a")).json()["metadata"] == {"b": "ü"}


@pytest.mark.parametrize("size", [0, 3, 5_000_000, 9_000_000])
@pytest.mark.parametrize("announced", [True, False])
def test_a_client_that_leaves_half_way_leaves_nothing(tmp_path: Path, size: int, announced: bool) -> None:
    @in_loop
    async def check() -> None:
        async with running_app(tmp_path) as run:
            pieces = [b"x" * min(65_536, size - start) for start in range(0, size, 65_536)]
            headers = {"Content-Length": "10000000"} if announced else {}
            answer = await run.client.put("/v1/content/a", pieces, headers, leaves=True)
            assert answer.problem == "truncated-body"
            await nothing_left(run)

    check()


@pytest.mark.parametrize("size", [4, 9_000_000])
def test_a_body_longer_than_announced_is_refused_at_once(tmp_path: Path, size: int) -> None:
    @in_loop
    async def check() -> None:
        async with running_app(tmp_path) as run:
            pieces = [b"x" * (size // 2), b"x" * size, b"never read" * 1000]
            answer = await run.client.put("/v1/content/a", pieces, {"Content-Length": str(size)})
            assert answer.problem == "truncated-body"
            await nothing_left(run)

    check()


@in_loop
async def test_a_body_without_length_and_in_empty_pieces_is_fine(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        pieces = [b"", b"ab", b"", b"c", b""]
        assert (await run.client.put("/v1/content/a", pieces, sized=False)).status == 201
        assert (await run.client.get("/v1/content/a")).body == b"abc"
        assert (await run.client.put("/v1/content/b", [], sized=False)).status == 201
        assert (await run.client.get("/v1/content/b")).body == b""


@in_loop
async def test_too_large(tmp_path: Path) -> None:
    async with running_app(tmp_path, limits={"max_content_size": 1000}) as run:
        assert (await run.client.put("/v1/content/a", b"x" * 1000)).status == 201
        assert (await run.client.ask("DELETE", "/v1/content/a?erase=1")).status == 204
        for sized in (True, False):
            answer = await run.client.put("/v1/content/a", b"x" * 1001, sized=sized)
            assert (answer.status, answer.problem) == (413, "content-too-large")
        await nothing_left(run)


@in_loop
async def test_other_methods_and_places(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        for method in ("POST", "PATCH", "TRACE", "PROPFIND"):
            answer = await run.client.ask(method, "/v1/content/a")
            assert (answer.status, answer.problem) == (405, "method-not-allowed")
            assert answer["allow"] == "GET, HEAD, PUT, DELETE, OPTIONS"
        assert (await run.client.ask("POST", "/i/1/a"))["allow"] == "GET, HEAD, OPTIONS"
        assert (await run.client.put("/v1/content", b"x"))["allow"] == "GET"
        assert (await run.client.ask("DELETE", "/v1/info/a"))["allow"] == "GET, PATCH"
        for path in (
            "/",
            "/v1",
            "/v1/",
            "/v2/content/a",
            "/v1/contents",
            "/docs/../x",
            "/docs/x.js",
            "/%ff",
        ):
            answer = await run.client.get(path)
            assert (answer.status, answer.problem) == (404, "not-found"), path
        assert (await run.client.get("/%zz")).status == 400
        assert (await run.client.ask("GET", "*")).status == 404


@in_loop
async def test_request_ids(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        for name in ("X-Request-Id", "Request-Id"):
            assert (await run.client.get("/nowhere", {name: "abc-1.2_3"}))["x-request-id"] == "abc-1.2_3"
        made = set()
        for bad in ("", "a b", "x" * 129, "é", "<script>"):
            answer = await run.client.get("/v1/content/none", {"X-Request-Id": bad})
            assert answer["x-request-id"] != bad
            made.add(answer["x-request-id"])
        assert len(made) == 5
        for method, path in (
            ("GET", "/v1/content/a"), ("HEAD", "/v1/content/a"), ("PUT", "/v1/content/a"), ("DELETE", "/v1/content/a"),
            ("OPTIONS", "/v1/content/a"), ("POST", "/v1/content/a"), ("GET", "/i/1/a"), ("GET", "/v1/info/a"),
            ("GET", "/v1/stats/work"), ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics"), ("GET", "/docs"),
            ("GET", "/openapi.json"), ("GET", "/docs/start.js"), ("GET", "/nowhere"), ("PATCH", "/v1/content"),
        ):  # fmt: skip
            asked = await run.client.ask(method, path, {"X-Request-Id": "mine"})
            assert asked["x-request-id"] == "mine", path


@in_loop
async def test_whatever_is_logged_for_a_request_names_it(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await run.client.store("a", b"data")
        logged: list[tuple[str, str | None]] = []

        async def fail(*_: object, **__: object) -> None:
            logged.append(("deep inside", structlog.contextvars.get_contextvars().get("request_id")))
            raise UnavailableError("down")

        run.services.adapters.catalog.records.find = fail  # type: ignore[method-assign]
        await run.client.get("/v1/content/other", {"X-Request-Id": "first"})
        answer = await run.client.get("/v1/content/other")
        assert logged == [("deep inside", "first"), ("deep inside", answer["x-request-id"])]
        assert "request_id" not in structlog.contextvars.get_contextvars(), "not beyond the request"


PREFIXES = [b"/v1/content/", b"/i/", b"/i/5/", b"/v1/info/", b"/"]


@settings(max_examples=settings().max_examples // 4)
@given(st.lists(st.tuples(st.sampled_from(PREFIXES), st.binary(max_size=40)), min_size=8, max_size=40))
def test_no_path_at_all_makes_it_stumble(
    tmp_path_factory: pytest.TempPathFactory, paths: list[tuple[bytes, bytes]]
) -> None:
    @in_loop
    async def check() -> None:
        async with running_app(tmp_path_factory.mktemp("paths")) as run:
            for prefix, tail in paths:
                answer = await run.client.get(prefix + tail.replace(b"?", b"%3f"))
                assert answer.raised is None
                assert answer.status == 200 or 400 <= answer.status < 500

    check()
