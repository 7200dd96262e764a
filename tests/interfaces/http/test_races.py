"""Reads that race writes: what is answered always belongs together."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.interfaces.http.harness import MIB, Running, in_loop, running_app
from thermocline.domain.content import Record
from thermocline.domain.content_id import ContentId
from thermocline.services.reading import ReadingService


def after_first_look(monkeypatch: pytest.MonkeyPatch, then: Callable[[], Awaitable[object]], times: int = 1) -> None:
    """Let something happen right after a reader has looked at the record."""
    left = times

    def disturbed(real: Callable[..., Awaitable[Record]]) -> Callable[..., Awaitable[Record]]:
        async def look(self: ReadingService, content_id: ContentId, **how: bool) -> Record:
            nonlocal left
            record = await real(self, content_id, **how)
            if left:
                left -= 1
                await then()
            return record

        return look

    for name in ("find", "stat"):
        monkeypatch.setattr(ReadingService, name, disturbed(getattr(ReadingService, name)))


async def store_direct(run: Running, body: bytes, **headers: str) -> None:
    await run.client.store("a", body, **headers)


@pytest.mark.parametrize("sizes", [(9 * MIB, 12 * MIB), (9 * MIB, 10), (10, 9 * MIB), (10, 20), (9 * MIB, 5 * MIB)])
@pytest.mark.parametrize("header", ["", "bytes=0-9", "bytes=0-0,5-", "bytes=-3"])
def test_what_is_sent_belongs_to_one_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, int], header: str
) -> None:
    @in_loop
    async def check() -> None:
        async with running_app(tmp_path) as run:
            await store_direct(run, b"1" * sizes[0], Thermocline_Tier="cold")
            after_first_look(monkeypatch, lambda: store_direct(run, b"2" * sizes[1], Thermocline_Tier="cold"))
            answer = await run.client.get("/v1/content/a", {"Range": header} if header else {})
            assert answer.raised is None
            current = await run.client.head("/v1/content/a")
            assert answer["etag"] == current["etag"]
            if answer["content-type"].startswith("multipart"):
                assert f"/{sizes[1]}\r\n".encode() in answer.body
            else:
                assert set(answer.body) == {ord("2")}
                assert answer.status == (206 if header else 200)

    check()


@pytest.mark.parametrize("size", [10, 9 * MIB])
def test_content_that_turns_private_meanwhile_is_not_given_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    @in_loop
    async def check() -> None:
        async with running_app(tmp_path) as run:
            token = await run.new_token("read", "write")
            owner = run.as_(token)
            await owner.store("a", b"x" * size, Thermocline_Tier="cold", Thermocline_Visibility="public")
            after_first_look(monkeypatch, lambda: owner.ask("PATCH", "/v1/info/a", {}, b'{"visibility": "private"}'))
            answer = await run.as_(None).get("/v1/content/a")
            assert (answer.status, answer.problem) == (404, "content-not-found")

    check()


@in_loop
async def test_content_deleted_meanwhile_is_gone(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await run.client.store("a", b"x" * 9 * MIB, Thermocline_Tier="cold")
        with pytest.MonkeyPatch.context() as patch:
            after_first_look(patch, lambda: run.client.ask("DELETE", "/v1/content/a"))
            assert (await run.client.get("/v1/content/a")).status == 404


@in_loop
async def test_content_that_never_rests_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_app(tmp_path) as run:
        await run.client.store("a", b"x" * 5 * MIB, Thermocline_Tier="cold")
        number = 0

        async def again() -> None:
            nonlocal number
            number += 1
            body = b'{"metadata": {"n": %d}}' % number
            assert (await run.client.ask("PATCH", "/v1/info/a", {}, body)).status == 200

        after_first_look(monkeypatch, again, times=100)
        assert (await run.client.get("/v1/content/a")).problem == "busy"


@in_loop
async def test_a_revision_replaced_between_two_ranges_cuts_the_answer(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await run.client.store("a", b"1" * 20 * MIB, Thermocline_Tier="cold")

        async def replace(piece: bytes) -> None:
            if b"1111" in piece:
                await run.client.store("a", b"2" * 20 * MIB, Thermocline_Tier="cold")

        reader = run.as_(None)
        reader.on_piece = replace
        answer = await reader.get("/v1/content/a", {"Range": "bytes=0-9,15000000-15000009"})
        assert answer.raised is not None
        assert b"2222" not in answer.body
