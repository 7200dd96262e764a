"""Laws of `ReadHistory`."""
# ruff: noqa: D102 - the name of a test states its law

from collections.abc import Iterable
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thermocline.domain.content_id import ContentId
from thermocline.domain.heat import DAY_MICROS, AccessCount, day_of
from thermocline.domain.units import Timestamp
from thermocline.ports.columns import LARGEST_CHUNK
from thermocline.ports.read_history import HISTORY_COLUMNS
from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.steps import OpenCatalog, Steps, one_process, some_id
from thermocline.testing.contracts.running import in_event_loop

DAY_SECONDS = 86_400.0
_RANDOM = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=15)
_FAR = 10**6
_reads = st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 2), st.integers(0, 2), st.integers(0, 1))
"""Of one flush: day, content, storage reads, cache reads, edge reads."""
_SAMPLED = 200


class ReadHistoryContract(CatalogContract):
    """Laws of `ReadHistory`."""

    def test_it_is_what_was_read_by_day_and_content(self, open_catalog: OpenCatalog) -> None:
        @_RANDOM
        @given(
            reads=st.lists(_reads, max_size=12),
            first=st.integers(-1, 5),
            length=st.integers(0, 7),
            chunk=st.integers(1, 5),
        )
        @in_event_loop
        async def check(reads: list[tuple[int, int, int, int, int]], first: int, length: int, chunk: int) -> None:
            async with one_process(open_catalog) as steps:
                root, begin = some_id(""), day_of(steps.clock.now())
                ids = [ContentId(f"{root}{name}") for name in ("\ufeff", "a", "a/b", "é")]
                created = {}
                for content_id in ids:
                    created[content_id] = (await steps.put(content_id, size=len(content_id) * 10**12)).record
                expected: dict[tuple[int, ContentId], tuple[int, int]] = {}
                for day, content, storage, cache, edge in sorted(reads):
                    now = max(Timestamp((begin + day) * DAY_MICROS), steps.clock.now())
                    count = AccessCount(ids[content], cache=cache, storage=storage, edge=edge)
                    await steps.catalog.accesses.add([count], now=now)
                    old = expected.get((begin + day, ids[content]), (0, 0))
                    expected[begin + day, ids[content]] = (old[0] + storage, old[1] + cache)
                rows = [
                    dict(zip(HISTORY_COLUMNS, (content_id, day, *counts, record.size, record.created_at), strict=True))
                    for (day, content_id), counts in sorted(expected.items(), key=_in_byte_order)
                    for record in (created[content_id],)
                    if any(counts) and begin + first <= day <= begin + first + length
                ]
                found = await _rows(steps, begin + first, begin + first + length, chunk=chunk)
                assert [row for row in found if row["content_id"] in created] == rows

        check()

    async def test_only_the_present_life_of_live_contents_is_told(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            kept, deleted, erased, again = (some_id(name) for name in "abcd")
            ids = (kept, deleted, erased, again)
            for _ in range(2):
                for content_id in ids:
                    await steps.put(content_id)
                await _read(steps, ids)
            today = day_of(steps.clock.now())
            await steps.delete(deleted)
            await steps.erase(erased)
            await steps.delete(again)
            steps.clock.advance(DAY_SECONDS)
            await steps.put(again)
            await _read(steps, ids)
            told = {(row["content_id"], row["day"]) for row in await _rows(steps, 0, _FAR)}
            assert told == {(kept, today), (kept, today + 1), (again, today + 1)}

    async def test_a_sample_has_the_same_contents_always_with_all_their_days(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            root = some_id("")
            ids = [ContentId(f"{root}{number}") for number in range(_SAMPLED)]
            for content_id in ids:
                await steps.put(content_id)
            for _ in range(2):
                await _read(steps, ids)
                steps.clock.advance(DAY_SECONDS)
            for sample in (2, 5):
                days: dict[str, int] = {}
                for row in await _rows(steps, 0, _FAR, sample=sample):
                    days[row["content_id"]] = days.get(row["content_id"], 0) + 1
                assert set(days.values()) == {2}
                assert 0.5 < len(days) / (_SAMPLED / sample) < 1.6
                assert set(days) == {row["content_id"] for row in await _rows(steps, 0, _FAR, sample=sample)}

    @pytest.mark.parametrize("asked", [{"sample": 0}, {"sample": -1}, {"chunk": 0}, {"chunk": LARGEST_CHUNK + 1}])
    async def test_samples_and_chunks_are_bounded(self, open_catalog: OpenCatalog, asked: dict[str, int]) -> None:
        async with one_process(open_catalog) as steps:
            with pytest.raises(ValueError, match=r"from 1 on|a chunk has 1 to"):
                await _rows(steps, 0, 1, **asked)

    async def test_no_history_is_nothing_and_leaving_early_keeps_nothing_open(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            assert await _rows(steps, 0, _FAR) == []
            content_id = some_id()
            await steps.put(content_id)
            for _ in range(3):
                await _read(steps, [content_id])
                steps.clock.advance(DAY_SECONDS)
            for _ in range(20):
                async with aclosing(steps.catalog.read_history.sweep(0, _FAR)) as sweep:
                    assert (await anext(sweep)).count == 1
            await steps.put(content_id)


def _in_byte_order(item: tuple[tuple[int, ContentId], tuple[int, int]]) -> tuple[int, bytes]:
    (day, content_id), _ = item
    return day, content_id.encode()


async def _read(steps: Steps, ids: Iterable[ContentId]) -> None:
    await steps.catalog.accesses.add([AccessCount(each, cache=1, storage=2) for each in ids], now=steps.clock.now())


async def _rows(steps: Steps, first: int, last: int, **asked: int) -> list[dict[str, Any]]:
    import pyarrow as pa

    rows: list[dict[str, Any]] = []
    async for chunk in steps.catalog.read_history.sweep(first, last, **asked):
        batch = pa.record_batch(chunk.columns)
        assert batch.num_rows == chunk.count > 0
        assert batch.schema.names == list(HISTORY_COLUMNS)
        rows += batch.to_pylist()
    return rows
