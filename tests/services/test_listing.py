"""Listings: page by page, whole, and by cursors that are checked like any input."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.machine import Machine
from thermocline.domain.errors import InvalidInputError
from thermocline.services import listing
from thermocline.services.listing import _read_cursor, _write_cursor
from thermocline.testing.strategies import content_ids

NAMES = ["a", "a/b", "b", "b/ä", "b/🙂", "c"]


def test_pages_and_the_whole_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(listing, "MAX_PAGE", 2)
        machine = Machine(tmp_path)
        async with machine.process() as store:
            for name in reversed(NAMES):
                await store.store_content(name, b"x", initial_tier="cold" if name == "b" else "hot")
            for limit in (1, 2):
                found: list[str] = []
                cursor = None
                while True:
                    page = await store.list_page(limit=limit, cursor=cursor)
                    assert len(page.records) <= limit
                    found += [record.content_id for record in page.records]
                    cursor = page.next_cursor
                    if cursor is None:
                        break
                assert found == NAMES
            assert [record.content_id async for record in store.list_content()] == NAMES
            assert [record.content_id async for record in store.list_content("b/")] == ["b/ä", "b/🙂"]
            assert [record.content_id async for record in store.list_content(tier="cold")] == ["b"]
            assert (await store.list_page("c", limit=2)).next_cursor is None

    asyncio.run(scenario())


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_limits_are_checked(tmp_path: Path, limit: int) -> None:
    async def scenario() -> None:
        async with Machine(tmp_path).process() as store:
            with pytest.raises(InvalidInputError, match="limit"):
                await store.list_page(limit=limit)

    asyncio.run(scenario())


@pytest.mark.parametrize("cursor", ["!", "a", "====", "ä", "_w", "AA", "\0"])
def test_broken_cursors_are_refused(tmp_path: Path, cursor: str) -> None:
    async def scenario() -> None:
        async with Machine(tmp_path).process() as store:
            with pytest.raises(InvalidInputError, match="cursor"):
                await store.list_page(cursor=cursor)

    asyncio.run(scenario())


@given(content_ids())
def test_cursors_come_back(content_id: str) -> None:
    assert _read_cursor(_write_cursor(content_id)) == content_id


@given(st.text(max_size=40))
def test_any_cursor_is_read_or_refused(cursor: str) -> None:
    with contextlib.suppress(InvalidInputError):
        _read_cursor(cursor)
