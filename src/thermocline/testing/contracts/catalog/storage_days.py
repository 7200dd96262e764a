"""Laws of what `Accesses` keep, and `Columns` show, of storage reads by day."""
# ruff: noqa: D102 - the name of a test states its law

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from thermocline.domain.content_id import ContentId
from thermocline.domain.heat import DAY_MICROS, HEAT_DAYS, RECENT_STORAGE_DAYS, VISIT_DAYS, AccessCount, day_of
from thermocline.domain.units import Timestamp
from thermocline.economics.columns import NEVER, RECENT_DAYS, Watcher
from thermocline.economics.histories import SECONDS_PER_DAY, history_of
from thermocline.ports.columns import COLUMNS
from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.steps import OpenCatalog, Steps, one_process, some_id, two_processes
from thermocline.testing.contracts.running import in_event_loop

STORAGE_DAY_COLUMNS: Final = tuple(name for name in COLUMNS if "storage_" in name and name != "storage_reads")
_RANDOM = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
_RATES = tuple(f"storage_rate_{days}d" for days in HEAT_DAYS)
_STEP = 1.01e-9
_YEAR = 366
_EDGES = (0, 1, 30, 61, 62, 63, 64, 65, 126, 127, 128, 192)
"""Days around which shifts of a 62-bit number go wrong."""
_Flush = tuple[int, float, int, int]
"""Days since the flush before, the moment of the day from 0 to 1, storage and cache reads."""


def _flushes(*days: st.SearchStrategy[int]) -> st.SearchStrategy[list[_Flush]]:
    moments = st.sampled_from((0.0, 0.5, 1 - 1e-9))
    return st.lists(st.tuples(st.one_of(*days), moments, st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=12)


class StorageDaysContract(CatalogContract):
    """Laws of the columns `storage_days`, `last_storage_day`, `recent_storage_days` and `storage_rate_*`."""

    def test_they_are_what_the_simulator_knows_of_the_same_reads(self, open_catalog: OpenCatalog) -> None:
        @_RANDOM
        @given(
            flushes=_flushes(st.integers(0, 3), st.sampled_from(_EDGES), st.integers(-5, -1)),
            silent=st.one_of(st.integers(1, 70), st.sampled_from(_EDGES[1:])),
        )
        @in_event_loop
        async def check(flushes: list[_Flush], silent: int) -> None:
            async with one_process(open_catalog) as steps:
                days, visits, content_id = await _flush(steps, flushes)
                end = max(days, default=day_of(steps.clock.now())) + silent
                row = await _row(steps, content_id, Timestamp(end * DAY_MICROS))
                assert (row["storage_days"], row["storage_visits"]) == (len(days), visits)
                if not days:
                    assert (row["last_storage_day"], row["recent_storage_days"]) == (None, 0)
                    assert [row[name] for name in _RATES] == [0.0] * len(_RATES)
                    return
                known = _watched(days, end)
                assert row["storage_days"] == known.read_days[0]
                if _nothing_came_too_late(flushes):
                    assert row["storage_visits"] == known.visits[0]
                assert row["last_storage_day"] == known.last_read[0] + min(days)
                assert _days_in(row)[:1] == [row["last_storage_day"]]
                if (
                    known.previous_read[0] != NEVER
                    and known.last_read[0] - known.previous_read[0] < RECENT_STORAGE_DAYS
                ):
                    assert _days_in(row)[1] == known.previous_read[0] + min(days)
                recently = [day for day in _days_in(row) if end - day <= RECENT_DAYS]
                assert len(recently) == known.recent_days[0]
                for name, expected in zip(_RATES, known.rates[:, 0], strict=True):
                    assert math.isclose(row[name], expected, rel_tol=1e-9, abs_tol=_STEP), (name, row[name], expected)

        check()

    def test_a_clock_that_jumps_anywhere_counts_each_day_at_most_once(self, open_catalog: OpenCatalog) -> None:
        jumps = st.sampled_from([sign * day for day in _EDGES for sign in (1, -1)])

        @_RANDOM
        @given(flushes=_flushes(jumps, st.integers(-200, 200)))
        @example(flushes=[(500, 0.0, 1, 0), *((-62, 0.0, 1, 0),) * 2, (124, 0.0, 1, 0), (-61, 0.5, 2, 0)])
        @example(flushes=[(500, 0.0, 1, 0), (10, 0.0, 1, 0), (-5, 0.0, 1, 0)])  # joins two visits
        @example(flushes=[(500, 0.0, 1, 0), (10, 0.0, 1, 0), (20, 0.0, 1, 0), (-25, 0.0, 1, 0)])
        @example(flushes=[(500, 0.0, 1, 0), (5, 0.0, 1, 0), (9, 0.0, 1, 0), (-11, 0.0, 1, 0)])  # within one
        @in_event_loop
        async def check(flushes: list[_Flush]) -> None:
            async with one_process(open_catalog) as steps:
                days, visits, content_id = await _flush(steps, flushes)
                now = Timestamp((max(days, default=0) + 1) * DAY_MICROS)
                row = await _row(steps, content_id, max(now, steps.clock.now()))
                assert (row["storage_days"], row["storage_visits"]) == (len(days), visits)
                assert row["last_storage_day"] == max(days, default=None)
                assert _days_in(row) == sorted(
                    (day for day in days if day > max(days) - RECENT_STORAGE_DAYS), reverse=True
                )

        check()

    async def test_cache_and_edge_reads_are_none_of_them(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            await steps.put(content_id)
            now = steps.clock.now()
            await steps.catalog.accesses.add([AccessCount(content_id, cache=5, storage=0, edge=7)], now=now)
            row = await _row(steps, content_id, now)
            assert {name: row[name] for name in STORAGE_DAY_COLUMNS} == _NOTHING

    async def test_a_day_counts_once_however_many_flush_it(self, open_catalog: OpenCatalog) -> None:
        async with two_processes(open_catalog) as (one, other):
            content_id, bystander = some_id("a"), some_id("b")
            for each in (content_id, bystander):
                await one.put(each)
            now = one.clock.now()
            for steps in (one, other, one):
                await steps.catalog.accesses.add([AccessCount(content_id, cache=0, storage=4)], now=now)
            row = await _row(one, content_id, now)
            assert (row["storage_reads"], row["storage_days"], row["last_storage_day"]) == (12, 1, day_of(now))
            assert (row["recent_storage_days"], row["storage_visits"]) == (1, 1)
            assert (await _row(one, bystander, now))["storage_days"] == 0

    async def test_an_overwrite_and_a_move_keep_them_and_a_delete_or_an_erasure_ends_them(
        self, open_catalog: OpenCatalog
    ) -> None:
        async with one_process(open_catalog) as steps:
            for end in (steps.delete, steps.erase):
                content_id = some_id()
                await steps.put(content_id)
                now = steps.clock.now()
                await steps.catalog.accesses.add([AccessCount(content_id, cache=0, storage=1)], now=now)
                before = await _row(steps, content_id, now)
                assert before["storage_days"] == 1
                await steps.put(content_id, b"other")
                assert await steps.commit_move(await steps.begin_move(content_id)) is not None
                after = await _row(steps, content_id, now)
                assert {name: after[name] for name in STORAGE_DAY_COLUMNS} == {
                    name: before[name] for name in STORAGE_DAY_COLUMNS
                }
                await end(content_id)
                await steps.put(content_id, b"anew")
                row = await _row(steps, content_id, now)
                assert {name: row[name] for name in STORAGE_DAY_COLUMNS} == _NOTHING

    async def test_rates_survive_that_sums_are_scaled_down(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id, forgotten = some_id("a"), some_id("b")
            for each in (content_id, forgotten):
                await steps.put(each)
            first = day_of(steps.clock.now())
            days = [first, first + 20 * _YEAR, first + 20 * _YEAR + 3, first + 45 * _YEAR, first + 45 * _YEAR + 1]
            for day in days:
                counts = [AccessCount(content_id, cache=0, storage=1)]
                if day == first:
                    counts.append(AccessCount(forgotten, cache=0, storage=1))
                await steps.catalog.accesses.add(counts, now=Timestamp(day * DAY_MICROS + DAY_MICROS // 3))
            end = days[-1] + 2
            row = await _row(steps, content_id, Timestamp(end * DAY_MICROS))
            expected = [math.fsum(math.exp((day - end) / each) for day in days) / each for each in HEAT_DAYS]
            assert np.allclose([row[name] for name in _RATES], expected, rtol=1e-9, atol=_STEP)
            faded = await _row(steps, forgotten, Timestamp(end * DAY_MICROS))
            assert [faded[name] for name in _RATES] == [0.0] * len(_RATES)
            assert (faded["storage_days"], faded["last_storage_day"]) == (1, first), "what is no sum is not scaled"


_NOTHING = {
    "storage_days": 0,
    "last_storage_day": None,
    "recent_storage_days": 0,
    "storage_visits": 0,
    **dict.fromkeys(_RATES, 0.0),
}


async def _flush(steps: Steps, flushes: Sequence[_Flush]) -> tuple[set[int], int, ContentId]:
    """Add the reads to a new content; return the days and visits that must be known now, by a model in plain words."""
    content_id = some_id()
    await steps.put(content_id)
    day = day_of(steps.clock.now()) + 1000
    days: set[int] = set()
    visits = 0
    for ahead, moment, storage, cache in flushes:
        day += ahead
        now = Timestamp(day * DAY_MICROS + int(moment * DAY_MICROS))
        await steps.catalog.accesses.add([AccessCount(content_id, cache=cache, storage=storage)], now=now)
        # What lies further back may have been counted: nobody knows any more.
        if storage and (not days or max(days) - day < RECENT_STORAGE_DAYS):
            known = {each for each in days if each > max(days) - RECENT_STORAGE_DAYS}
            visits += _visits_in({*known, day}) - _visits_in(known)
            days.add(day)
    return days, visits, content_id


def _visits_in(days: set[int]) -> int:
    """Return how many of the days have none of the others in the `VISIT_DAYS` before them."""
    return sum(days.isdisjoint(range(day - VISIT_DAYS, day)) for day in days)


def _nothing_came_too_late(flushes: Sequence[_Flush]) -> bool:
    """Return whether for each late day all those near it were still known."""
    day = newest = 0
    for ahead, _, storage, _ in flushes:
        day += ahead
        if newest - day >= RECENT_STORAGE_DAYS - VISIT_DAYS:
            return False
        newest = max(newest, day) if storage else newest
    return True


def _watched(days: set[int], end: int) -> Any:
    """Return the simulator's columns when day `end` begins, of an object that was read on the days."""
    history = history_of([day * SECONDS_PER_DAY for day in sorted(days)], [0] * len(days), [1] * len(days))
    watcher = Watcher(replace(history, days=end - min(days) + 1), 0)
    while watcher.day < end - min(days):
        watcher.pass_day()
    return watcher.columns


def _days_in(row: dict[str, Any]) -> list[int]:
    """Return the days that are known one by one, newest first."""
    return [row["last_storage_day"] - bit for bit in range(64) if row["recent_storage_days"] >> bit & 1]


async def _row(steps: Steps, content_id: ContentId, now: Timestamp) -> dict[str, Any]:
    import pyarrow as pa

    sweep = steps.catalog.columns.sweep(now=now, until=content_id)
    rows = [row async for chunk in sweep for row in pa.record_batch(chunk.columns).to_pylist()]
    (row,) = [row for row in rows if row["content_id"] == content_id]
    return dict(row)
