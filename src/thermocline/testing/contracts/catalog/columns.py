"""Laws of `Columns`."""
# ruff: noqa: D102 - the name of a test states its law

import asyncio
import math
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thermocline.domain.content import Changes, Record
from thermocline.domain.content_id import MAX_CONTENT_ID_BYTES, ContentId
from thermocline.domain.heat import AccessCount
from thermocline.domain.moves import TierChange
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Bytes, Seconds, later
from thermocline.ports.columns import COLUMNS, LARGEST_CHUNK, ColumnChunk
from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.steps import OpenCatalog, Steps, one_process, some_id, two_processes
from thermocline.testing.contracts.catalog.storage_days import STORAGE_DAY_COLUMNS
from thermocline.testing.contracts.running import in_event_loop

_RANDOM = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
_LAST = "\U0010ffff"
_letters = st.text(
    st.sampled_from(("a", "B", "-", "é", "\ud7ff", "\ue000", "\ufeff", "🜁", _LAST, '"', "'", "\\", ",", ";", "%", " ")),
    max_size=4,
)
_AWKWARD = (
    "\ufeffmark", "null", "NULL", "\\N", "NaN", '"', '""', "'", "a,b", 'a"b', " a ", "0", "1", "true", "%s", "a:b",
    "\u2028", "\u2029", "\u00a0", "e\u0301", "é", "\u202e", "🜁", _LAST, "x" * MAX_CONTENT_ID_BYTES,
)  # fmt: skip
_HUGE = Bytes(2**62)
_MANY_SWEEPS = 60
YEAR_SECONDS = 366 * 86_400.0
_CHANGES = 30


class ColumnsContract(CatalogContract):
    """Laws of `Columns`."""

    async def test_an_empty_catalog_has_no_chunks(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            assert await _chunks(steps) == []
            assert await _chunks(steps, after="a", until="z", chunk=1) == []

    def test_every_content_comes_once_in_byte_order(self, open_catalog: OpenCatalog) -> None:
        @_RANDOM
        @given(names=st.sets(_letters.filter(bool), min_size=1, max_size=8), chunk=st.integers(1, 9))
        @in_event_loop
        async def check(names: set[str], chunk: int) -> None:
            async with one_process(open_catalog) as steps:
                root = some_id("")
                for name in names:
                    await steps.put(ContentId(root + name))
                expected = sorted((root + name for name in names), key=str.encode)
                found = await _chunks(steps, after=root, until=root + _LAST * 5, chunk=chunk)
                assert [content_id for each in found for content_id in _ids(each)] == expected
                assert all(each.count == chunk for each in found[:-1])
                assert 1 <= found[-1].count <= chunk
                assert all(each.count == len(_ids(each)) and each.last == _ids(each)[-1] for each in found)

        check()

    def test_ranges_that_share_their_bounds_have_each_content_once(self, open_catalog: OpenCatalog) -> None:
        @_RANDOM
        @given(
            names=st.sets(_letters.filter(bool), min_size=1, max_size=8),
            bounds=st.sets(_letters, max_size=3),
            chunk=st.integers(1, 4),
        )
        @in_event_loop
        async def check(names: set[str], bounds: set[str], chunk: int) -> None:
            async with one_process(open_catalog) as steps:
                root = some_id("")
                for name in names:
                    await steps.put(ContentId(root + name))
                everything = await _listed(steps)
                assert len(set(everything)) == len(everything)
                marks = ["", *sorted((root + bound for bound in bounds), key=str.encode), None]
                parts: list[list[str]] = [
                    await _listed(steps, after=after or "", until=until, chunk=chunk)
                    for after, until in pairwise(marks)
                ]
                assert [content_id for part in parts for content_id in part] == everything
                for (after, until), part in zip(pairwise(marks), parts, strict=True):
                    assert all(content_id > (after or "") for content_id in part)
                    assert until is None or all(content_id <= until for content_id in part)

        check()

    async def test_awkward_ids_come_as_they_are(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            for content_id in _AWKWARD:
                await steps.put(ContentId(content_id))
            expected = sorted(_AWKWARD, key=str.encode)
            # So that each of them is the first of a chunk, the last, and in the middle of one.
            for chunk in (1, 2, 3, len(_AWKWARD), LARGEST_CHUNK):
                assert await _listed(steps, chunk=chunk) == expected

    async def test_a_row_is_what_the_record_says(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            start = steps.clock.now()
            ids = [some_id(tier.value) for tier in StorageTier]
            for content_id, tier in zip(ids, StorageTier, strict=True):
                await steps.put(content_id, tier=tier, placement=f"place-{tier.value}", size=_HUGE)
                steps.clock.advance(1)
            await steps.put(ids[0], b"", expires_at=later(start, Seconds(10**9)))
            await steps.change(ids[1], Changes(held=True))
            await steps.change(ids[2], Changes(pinned=True))
            before = await steps.existing(ids[3])
            change = TierChange(ids[3], before.revision, before.placement, before.tier, StorageTier.COLD)
            assert len(await steps.set_tiers([change])) == 1
            for days in (0, 3, 40):
                steps.clock.advance(days * 86_400.0)
                counts = [AccessCount(ids[0], cache=3, storage=1), AccessCount(ids[1], cache=0, storage=7)]
                await steps.catalog.accesses.add(counts, now=steps.clock.now())
            (found,) = await _chunks(steps)
            rows = {row["content_id"]: row for row in _rows(found)}
            assert set(rows) == set(ids)
            for content_id in ids:
                record = await steps.catalog.records.describe(content_id, now=steps.clock.now())
                assert record is not None
                assert record.access is not None
                row = rows[content_id]
                found_rates = [row.pop(name) for name in COLUMNS if name.startswith("rate_")]
                # `storage_days` has the laws of these.
                row = {name: value for name, value in row.items() if name not in STORAGE_DAY_COLUMNS}
                assert row.pop("placed_at") == (before if content_id == ids[3] else record).tier_since
                assert row == _row_of(record)
                assert all(map(_is_close, found_rates, record.access.rates)), (found_rates, record.access.rates)
                assert list(map(type, row.values())) == list(map(type, _row_of(record).values()))

    async def test_since_when_it_lies_there_is_known_whatever_its_tier_was_meanwhile(
        self, open_catalog: OpenCatalog
    ) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            warm, cold = StorageTier.WARM, StorageTier.COLD

            async def placed_at() -> int:
                (found,) = await _chunks(steps)
                (row,) = _rows(found)
                assert isinstance(row["placed_at"], int)
                steps.clock.advance(5)
                return row["placed_at"]

            async def change_tier(tier: StorageTier) -> None:
                before = await steps.existing(content_id)
                change = TierChange(content_id, before.revision, before.placement, before.tier, tier)
                assert len(await steps.set_tiers([change])) == 1

            written = steps.clock.now()
            await steps.put(content_id, tier=warm)
            assert await placed_at() == written
            for tier in (cold, warm):
                await change_tier(tier)
                assert await placed_at() == written
            copied = steps.clock.now()
            assert await steps.commit_move(await steps.begin_move(content_id, cold)) is not None
            assert await placed_at() == copied
            await change_tier(warm)
            assert await placed_at() == copied
            # To another place in the same tier.
            copied = steps.clock.now()
            assert await steps.commit_move(await steps.begin_move(content_id, warm)) is not None
            assert await placed_at() == copied
            written = steps.clock.now()
            await steps.put(content_id, tier=cold)
            assert await placed_at() == written

    @pytest.mark.parametrize("years", [0.01, 3, 7, 8.5, 20, 400])
    async def test_rates_fade_and_survive_that_sums_are_scaled_down(
        self, open_catalog: OpenCatalog, years: float
    ) -> None:
        async with one_process(open_catalog) as steps:
            early, late = _some_ids(("early", "late"))
            for content_id in (early, late):
                await steps.put(content_id)
            for content_id in (early, late, late, late):
                await steps.catalog.accesses.add([AccessCount(content_id, 10**9, 10**9)], now=steps.clock.now())
                await _expect_rates(steps, early, late)
                steps.clock.advance(years * YEAR_SECONDS)
                await _expect_rates(steps, early, late)

    async def test_the_columns_have_the_same_types_in_every_chunk(self, open_catalog: OpenCatalog) -> None:
        import pyarrow as pa

        async with one_process(open_catalog) as steps:
            await steps.put(some_id())
            await steps.put(some_id(), expires_at=later(steps.clock.now(), Seconds(60)))
            schemas = [pa.record_batch(each.columns).schema for each in await _chunks(steps, chunk=1)]
            names, text = pa.dictionary(pa.int32(), pa.string()), {"content_id": pa.string()}
            kinds = text | {"tier": names, "placement": names, "held": pa.bool_(), "pinned": pa.bool_()}
            kinds |= {name: pa.float64() for name in COLUMNS if "rate_" in name}
            assert schemas == [pa.schema([(name, kinds.get(name, pa.int64())) for name in COLUMNS])] * 2

    async def test_what_is_deleted_erased_or_expired_is_left_out(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            kept, deleted, erased, expiring, held = _some_ids("abcde")
            for content_id in (kept, deleted, erased):
                await steps.put(content_id)
            for content_id in (expiring, held):
                await steps.put(content_id, expires_at=later(steps.clock.now(), Seconds(5)))
            await steps.change(held, Changes(held=True))
            await steps.delete(deleted)
            await steps.erase(erased)
            assert await _listed(steps, chunk=2) == [kept, expiring, held]
            steps.clock.advance(4.999999)
            assert await _listed(steps) == [kept, expiring, held]
            steps.clock.advance(0.000001)
            assert await _listed(steps) == [kept]
            await steps.put(deleted)
            assert await _listed(steps, chunk=1) == [kept, deleted]

    async def test_a_later_sweep_goes_on_after_the_last_chunk(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            ids = _some_ids("abcdefg")
            for content_id in ids:
                await steps.put(content_id)
            after, found = "", list[str]()
            while chunks := await _chunks(steps, after=after, chunk=3):
                found += _ids(chunks[0])
                after = chunks[0].last
            assert found == ids

    @pytest.mark.parametrize("chunk", [0, -1, LARGEST_CHUNK + 1])
    async def test_a_chunk_is_bounded(self, open_catalog: OpenCatalog, chunk: int) -> None:
        async with one_process(open_catalog) as steps:
            with pytest.raises(ValueError, match="a chunk has 1 to"):
                await _chunks(steps, chunk=chunk)

    async def test_what_exists_throughout_comes_once_in_a_state_that_it_had(self, open_catalog: OpenCatalog) -> None:
        async with two_processes(open_catalog) as (steps, other):
            root = some_id("")
            stays = [ContentId(f"{root}{number:02}") for number in range(0, 20, 2)]
            comes = [ContentId(f"{root}{number:02}") for number in range(1, 20, 2)]
            states: dict[str, set[tuple[int, str]]] = {}
            for content_id in stays:
                record = (await steps.put(content_id)).record
                states[content_id] = {(record.version, record.tier.value)}

            async def change() -> None:
                for number in range(_CHANGES):
                    content_id = stays[number * 7 % len(stays)]
                    tier = list(StorageTier)[number % len(StorageTier)]
                    record = (await other.put(content_id, tier=tier)).record
                    states[content_id].add((record.version, record.tier.value))
                    gone = comes[number * 3 % len(comes)]
                    await (other.delete(gone) if number % 2 else other.put(gone))

            async def sweep() -> list[dict[str, Any]]:
                rows: list[dict[str, Any]] = []
                async for each in steps.catalog.columns.sweep(now=steps.clock.now(), chunk=3):
                    rows += _rows(each)
                    await asyncio.sleep(0)
                return rows

            changing = asyncio.create_task(change())
            sweeps = [await sweep()]
            while not changing.done():
                sweeps.append(await sweep())
            await changing
            for rows in sweeps:
                listed = [row["content_id"] for row in rows]
                assert listed == sorted(set(listed))
                assert set(stays) <= set(listed) <= {*stays, *comes}
                for row in rows:
                    if row["content_id"] in states:
                        assert (row["version"], row["tier"]) in states[row["content_id"]]

    async def test_leaving_early_keeps_nothing_open(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            ids = _some_ids("abcd")
            for content_id in ids:
                await steps.put(content_id)
            # More than there are connections.
            for _ in range(_MANY_SWEEPS):
                async with aclosing(steps.catalog.columns.sweep(now=steps.clock.now(), chunk=1)) as sweep:
                    assert (await anext(sweep)).last == ids[0]
                cancelled = asyncio.ensure_future(_listed(steps, chunk=1))
                await asyncio.sleep(0)
                cancelled.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await cancelled
            assert await _listed(steps, chunk=1) == ids
            await steps.put(ids[0])


def _some_ids(names: Iterable[str]) -> list[ContentId]:
    """Return ids in the order of their names, which ids of `some_id` need not have."""
    root = some_id("")
    return [ContentId(root + name) for name in names]


def _row_of(record: Record) -> dict[str, Any]:
    access = record.access
    assert access is not None
    values = {name: getattr(record, name) for name in COLUMNS if hasattr(record, name)}
    values |= {name: getattr(access, name) for name in COLUMNS if hasattr(access, name)}
    return {name: str(value) if isinstance(value, str) else value for name, value in values.items()}


async def _expect_rates(steps: Steps, *ids: ContentId) -> None:
    (found,) = await _chunks(steps)
    for content_id, row in zip(ids, _rows(found), strict=True):
        record = await steps.catalog.records.describe(content_id, now=steps.clock.now())
        assert record is not None
        assert record.access is not None
        found_rates = [row[name] for name in COLUMNS if name.startswith("rate_")]
        assert all(map(_is_close, found_rates, record.access.rates)), (found_rates, record.access.rates)


def _is_close(found: float, expected: float) -> bool:
    return math.isclose(found, expected, rel_tol=1e-12, abs_tol=1.01e-9)


def _rows(chunk: ColumnChunk) -> list[dict[str, Any]]:
    import pyarrow as pa

    rows: list[dict[str, Any]] = pa.record_batch(chunk.columns).to_pylist()
    return rows


def _ids(chunk: ColumnChunk) -> list[str]:
    return [row["content_id"] for row in _rows(chunk)]


async def _chunks(steps: Steps, **asked: Any) -> Sequence[ColumnChunk]:
    found = [each async for each in steps.catalog.columns.sweep(now=steps.clock.now(), **asked)]
    assert all(each.count for each in found)
    return found


async def _listed(steps: Steps, **asked: Any) -> list[str]:
    return [content_id for each in await _chunks(steps, **asked) for content_id in _ids(each)]
