"""Hot answers are the slow way's answers, or none."""

from pathlib import Path

import pytest

from tests.interfaces.http.harness import LOCAL, MIB, Answer, Running, in_loop, running_app
from thermocline.interfaces.http import hot
from thermocline.interfaces.http.app import ServiceRoutes
from thermocline.interfaces.http.hot import HotContentReads
from thermocline.services.tracking import ReadKind


def reads(run: Running) -> HotContentReads:
    routes = run.app._routes
    assert isinstance(routes, ServiceRoutes)
    return HotContentReads(routes, run.app.counters)


def parse(head: bytes, body: bytes | memoryview) -> Answer:
    status_line, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    version, status, _ = status_line.split(" ", 2)
    assert version == "HTTP/1.1"
    fields = [tuple(line.encode("latin-1").split(b": ", 1)) for line in lines]
    return Answer(int(status), fields, bytes(body), complete=True)  # type: ignore[arg-type]


def ask(
    hot_reads: HotContentReads,
    target: str,
    *,
    method: bytes = b"GET",
    host: bytes = LOCAL.encode(),
    token: str | None = None,
    if_none_match: str | None = None,
) -> Answer | None:
    read = hot_reads.read_of(
        method,
        target.encode(),
        host,
        None if token is None else f"Bearer {token}".encode(),
        None if if_none_match is None else if_none_match.encode(),
    )
    answer = None if read is None else read.answer(b"\r\n")
    return None if answer is None else parse(*answer)


@pytest.mark.parametrize("visibility", ["public", "private"])
@pytest.mark.parametrize("origins", [[], ["*"], ["https://a.example"]])
def test_the_same_answer_as_the_slow_way(tmp_path: Path, visibility: str, origins: list[str]) -> None:
    @in_loop
    async def check() -> None:
        async with running_app(tmp_path, http={"cors_origins": origins}) as run:
            await run.client.store("a/b", b"x" * 2 * MIB, Thermocline_Visibility=visibility, Content_Type="image/png")
            full = await run.client.get("/v1/content/a/b")
            hot_reads = reads(run)
            run.clock.advance(3.9)
            for target in ("/v1/content/a/b", "/v1/content/a%2Fb"):
                slow = await run.client.get(target)
                quick = ask(hot_reads, target)
                assert quick is not None
                assert (quick.status, quick.body) == (200, slow.body)
                assert quick.comparable == slow.comparable
                assert quick["age"] == "3"
            slow = await run.client.get("/v1/content/a/b", {"If-None-Match": full["etag"]})
            quick = ask(hot_reads, "/v1/content/a/b", if_none_match=full["etag"])
            assert quick is not None
            assert (quick.status, quick.body) == (304, b"")
            assert quick.comparable == slow.comparable

    check()


@in_loop
async def test_every_answer_has_an_id_of_its_own(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        etag = (await run.client.store("a", b"x"))["etag"]
        await run.client.get("/v1/content/a")
        one, other = reads(run), reads(run)
        asked = [
            ask(hot_reads, "/v1/content/a", if_none_match=tag)
            for hot_reads in (one, other)
            for tag in (None, etag)
            for _ in range(3)
        ]
        assert len({answer["x-request-id"] for answer in asked if answer is not None}) == 12


@in_loop
async def test_what_is_unusual_takes_the_slow_way(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await run.client.store("a", b"x")
        await run.client.store("ends", b"x", Thermocline_Expires_In="60")
        await run.client.get("/v1/content/a")
        await run.client.get("/v1/content/ends")
        hot_reads = reads(run)
        assert ask(hot_reads, "/v1/content/a") is not None
        for target in (
            "/v1/content/none",
            "/v1/content/ends",
            "/v1/content/a?x=1",
            "/v1/content/a?",
            "/v1/content/",
            "/v1/content/a%",
            "/v1/content/%2e%2e",
            "/v1/content//a",
            "/v1/content",
            "/v1/info/a",
            "http://127.0.0.1/v1/content/a",
            "*",
            "",
        ):
            assert ask(hot_reads, target) is None, target
            assert ask(hot_reads, target) is None, target
        assert ask(hot_reads, "/v1/content/a", if_none_match='"other"') is None
        assert ask(hot_reads, "/v1/content/a", if_none_match="*") is None
        assert ask(hot_reads, "/v1/content/a", host=b"evil.com") is None


@in_loop
async def test_rights_are_checked_each_time(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        tokens = {
            "read": await run.new_token("read"),
            "write": await run.new_token("write"),
            "elsewhere": await run.new_token("read", prefix="other/"),
        }
        owner = run.as_(await run.new_token("read", "write"))
        await owner.store("mine", b"x")
        await owner.store("ours", b"x", Thermocline_Visibility="public")
        hot_reads = reads(run)
        for path in ("/v1/content/mine", "/v1/content/ours"):
            await owner.get(path)
        assert ask(hot_reads, "/v1/content/mine", token=tokens["read"]) is None, "the catalog has to be asked first"
        for token in tokens.values():
            await run.as_(token).get("/v1/content/mine")
        assert ask(hot_reads, "/v1/content/mine", token=tokens["read"]) is not None
        assert ask(hot_reads, "/v1/content/mine", token=tokens["write"]) is None
        assert ask(hot_reads, "/v1/content/mine", token=tokens["elsewhere"]) is None
        assert ask(hot_reads, "/v1/content/mine", token="tc_nonsense") is None  # noqa: S106
        assert ask(hot_reads, "/v1/content/mine") is None
        assert ask(hot_reads, "/v1/content/ours") is not None
        assert ask(hot_reads, "/v1/content/ours", host=b"any.example") is not None
        await run.services.authorizing.revoke(tokens["read"].split("_")[1])
        assert ask(hot_reads, "/v1/content/mine", token=tokens["read"]) is None


@in_loop
async def test_a_read_that_is_kept_asks_for_rights_each_time(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await run.client.store("mine", b"x")
        await run.client.get("/v1/content/mine")
        target, host = b"/v1/content/mine", LOCAL.encode()
        hot_reads = reads(run)
        anonymous = hot_reads.read_of(b"GET", target, host, None, None)
        foreign = hot_reads.read_of(b"GET", target, b"evil.com", None, None)
        assert anonymous is not None
        assert foreign is not None
        for _ in range(2):
            assert anonymous.answer(b"") is not None, "open: everybody on this machine is the owner"
            assert foreign.answer(b"") is None
        token = await run.new_token("read")
        bearer = hot_reads.read_of(b"GET", target, host, b"Bearer " + token.encode(), None)
        assert bearer is not None
        assert bearer.answer(b"") is None, "the catalog has to be asked first"
        await run.as_(token).get("/v1/content/mine")
        for _ in range(2):
            assert bearer.answer(b"") is not None
            assert anonymous.answer(b"") is None, "a token exists: closed to nobodies"
        owner = run.as_(await run.new_token("write"))
        for visibility, expected in (("public", True), ("private", False), ("public", True)):
            changed = await owner.ask("PATCH", "/v1/info/mine", {}, b'{"visibility": "%b"}' % visibility.encode())
            assert changed.status == 200
            await run.as_(token).get("/v1/content/mine")
            for _ in range(2):
                assert (anonymous.answer(b"") is not None) is expected
                assert bearer.answer(b"") is not None
        await run.services.authorizing.revoke(token.split("_")[1])
        assert bearer.answer(b"") is None
        assert anonymous.answer(b"") is not None


@in_loop
async def test_age_and_date_move_on_by_themselves(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await run.client.store("a", b"x")
        await run.client.get("/v1/content/a")
        read = reads(run).read_of(b"GET", b"/v1/content/a", LOCAL.encode(), None, None)
        assert read is not None
        seen = []
        today, tomorrow = b"date: today\r\n\r\n", b"date: tomorrow\r\n\r\n"
        for seconds, end in ((0, today), (0, today), (2, today), (0, tomorrow), (1, tomorrow), (-9, today)):
            run.clock.jump(seconds)
            answer = read.answer(end)
            assert answer is not None
            seen.append((parse(*answer)["age"], parse(*answer)["date"]))
        assert seen == [
            ("0", "today"),
            ("0", "today"),
            ("2", "today"),
            ("2", "tomorrow"),
            ("3", "tomorrow"),
            ("0", "today"),
        ]


@in_loop
async def test_a_change_shows_at_once(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        url = "/v1/content/a"
        await run.client.store("a", b"one", Thermocline_Visibility="public")
        await run.client.get(url)
        hot_reads = reads(run)
        assert ask(hot_reads, url) is not None
        await run.client.store("a", b"two!", Thermocline_Visibility="public")
        await run.services.background.drain()
        await run.client.get(url)
        quick = ask(hot_reads, url)
        assert quick is not None
        assert (quick.body, quick["content-length"]) == (b"two!", "4")
        await run.client.ask("PATCH", "/v1/info/a", {}, b'{"visibility": "private"}')
        assert ask(hot_reads, url) is None
        await run.client.get(url)
        quick = ask(hot_reads, url)
        assert quick is not None
        assert quick["cache-control"] == "private, no-store"
        await run.client.ask("DELETE", url)
        assert ask(hot_reads, url) is None


@in_loop
async def test_reads_are_counted(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await run.client.store("a", b"x")
        await run.client.get("/v1/content/a")
        hot_reads = reads(run)
        before = run.services.tracker.totals[ReadKind.MEMORY]
        for _ in range(3):
            ask(hot_reads, "/v1/content/a")
        ask(hot_reads, "/v1/content/a", method=b"HEAD")
        assert run.services.tracker.totals[ReadKind.MEMORY] == before + 3
        assert run.app.counters.requests["content", 200].count == 5


@in_loop
async def test_what_is_remembered_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot, "MAX_TARGETS", 3)
    monkeypatch.setattr(hot, "MAX_BLOCKS", 2)
    async with running_app(tmp_path) as run:
        for name in "abcdefg":
            await run.client.store(name, b"x")
            await run.client.get(f"/v1/content/{name}")
        hot_reads = reads(run)
        for _ in range(2):
            for name in "abcdefg":
                assert ask(hot_reads, f"/v1/content/{name}") is not None
                assert len(hot_reads._targets) <= 3
                assert len(hot_reads._blocks) <= 2
