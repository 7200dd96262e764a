"""Warming brings in what is worth most, within its bounds, tells what became of each, and leaves nothing half done."""

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.machine import Machine
from thermocline import Settings, StorageOrchestrator
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import BusyError, InvalidInputError
from thermocline.domain.predictions import Prediction, WarmOutcome, cost_of_miss, parse_prediction
from thermocline.domain.units import Bytes, Seconds
from thermocline.services.warming import MOST_RUNS, WarmItem, WarmReport
from thermocline.testing.faults import FaultMode, Faults
from thermocline.testing.shared_cache import SharedMemoryCache

SMALL_CACHE = {"cache": {"types": {"content": {"ttl": "1h", "max_size": 1000}}}}


def machine_of(folder: Path, **settings: Any) -> Machine:
    return Machine(folder, settings=Settings.model_validate(settings)) if settings else Machine(folder)


async def stored(store: StorageOrchestrator, **contents: tuple[int, str]) -> None:
    """Store contents of these sizes in these tiers, and forget all that is cached."""
    for name, (size, tier) in contents.items():
        await store.store_content(name, name[:1].encode() * size, initial_tier=tier)
    await store.services.background.drain()
    await store.services.cache.clear()


def outcomes(report: WarmReport) -> dict[str, str]:
    return {item.content_id: item.outcome.value for item in report.items}


def likely(**chances: float) -> list[dict[str, Any]]:
    return [{"content_id": name, "access_probability": chance} for name, chance in chances.items()]


def is_cached(store: StorageOrchestrator, content_id: str) -> bool:
    return store.services.cache.peek(content_id) is not None


def test_each_content_tells_what_became_of_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with machine_of(tmp_path, **SMALL_CACHE).process() as store:
            await stored(
                store, hot=(10, "hot"), warm=(20, "warm"), cold=(5, "cold"), old=(5, "archive"), big=(1001, "hot")
            )
            await store.retrieve_content("warm")
            reads = list(store.services.tracker.totals)
            heard: list[WarmItem] = []
            report = await store.services.warming.warm_cache(
                [
                    *likely(hot=0.71, warm=1.0, cold=0.9, old=0.9, big=0.9, none=0.8, just=0.7, never=0.0),
                    {"content_id": "hot", "access_probability": 0.2},
                    Prediction(ContentId("warm"), 0.99),
                ],
                progress=heard.append,
            )
            assert outcomes(report) == {
                "hot": "warmed",
                "warm": "already_cached",
                "cold": "never_cached",
                "old": "archived",
                "big": "too_large",
                "none": "not_found",
                "just": "below_threshold",
                "never": "below_threshold",
            }
            assert {item.content_id: item for item in heard} == {item.content_id: item for item in report.items}
            assert is_cached(store, "hot")
            assert list(store.services.tracker.totals) == reads, "warming is no read"
            assert report.as_dict() == {
                "accepted": 8,
                "duplicates": 2,
                "warmed": 1,
                "warmed_bytes": 10,
                "skipped": {
                    "already_cached": 1,
                    "archived": 1,
                    "below_threshold": 2,
                    "never_cached": 1,
                    "not_found": 1,
                    "too_large": 1,
                },
                "failures": [],
                "seconds": 0.0,
                "dry_run": False,
            }
            assert store.services.warming.totals.outcomes[WarmOutcome.WARMED] == 1
            state = await store.services.adapters.catalog.restores.state(now=store.services.adapters.clock.now())
            assert state.requested == 0

    asyncio.run(scenario())


def test_what_is_archived_is_left_alone_also_where_it_needs_no_restore(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with machine_of(
            tmp_path, tiers={"archive": {"placement": "standard", "cache_ttl": "1h"}}
        ).process() as store:
            await stored(store, old=(5, "archive"))
            assert outcomes(await store.services.warming.warm_cache(likely(old=0.9))) == {"old": "archived"}

    asyncio.run(scenario())


def test_what_is_worth_most_comes_first_within_the_budget(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with machine_of(tmp_path).process() as store:
            await stored(store, small=(10, "hot"), large=(900, "hot"), other=(500, "hot"), tiny=(1, "hot"))
            order: list[str] = []
            report = await store.services.warming.warm_cache(
                likely(small=0.8, large=0.8, other=0.99, tiny=0.75),
                byte_budget=515,
                concurrency=1,
                progress=lambda item: order.append(item.content_id),
            )
            assert order == ["other", "large", "small", "tiny"]
            assert outcomes(report) == {
                "small": "warmed",
                "large": "over_budget",
                "other": "warmed",
                "tiny": "warmed",
            }

    asyncio.run(scenario())


def test_no_more_than_so_many_are_read_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = machine_of(tmp_path)
        async with machine.process() as store:
            names = {f"c{number}": (10, "hot") for number in range(40)}
            await stored(store, **names)
            reading, most = 0, 0
            fetch = machine.objects.fetch

            async def counted(key: str, start: int, end: int) -> bytes:
                nonlocal reading, most
                reading += 1
                most = max(most, reading)
                await asyncio.sleep(0)
                try:
                    return await fetch(key, start, end)
                finally:
                    reading -= 1

            machine.objects.fetch = counted  # type: ignore[method-assign]
            report = await store.services.warming.warm_cache(likely(**dict.fromkeys(names, 0.9)))
            assert (report.warmed, most) == (40, 10)

    asyncio.run(scenario())


def test_at_the_deadline_it_ends_and_says_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = machine_of(tmp_path)
        async with machine.process() as store:
            await stored(store, a=(10, "hot"), b=(10, "hot"), c=(10, "hot"))
            bring = store.services.reading.bring

            async def slow(content_id: ContentId, known: Any, turns: Any = None) -> Any:
                await machine.clock.sleep(Seconds(4.0))
                return await bring(content_id, known, turns)

            store.services.reading.bring = slow  # type: ignore[method-assign]
            warming = asyncio.ensure_future(
                store.services.warming.warm_cache(likely(a=0.9, b=0.9, c=0.9), concurrency=1, deadline=10)
            )
            await asyncio.sleep(0.2)
            await machine.clock.run_for(4)
            await asyncio.sleep(0.2)
            await machine.clock.run_for(4)
            await asyncio.sleep(0.2)
            await machine.clock.run_for(4)
            report = await warming
            assert sorted(outcomes(report).values()) == ["past_deadline", "warmed", "warmed"]
            assert float(report.seconds) == 10.0

    asyncio.run(scenario())


def test_whoever_is_cancelled_leaves_nothing_half_done(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = machine_of(tmp_path)
        async with machine.process() as store:
            names = {f"c{number}": (10, "hot") for number in range(30)}
            await stored(store, **names)
            for turns in range(0, 60, 3):
                warming = asyncio.ensure_future(
                    store.services.warming.warm_cache(likely(**dict.fromkeys(names, 0.9)), concurrency=3)
                )
                for _ in range(turns):
                    await asyncio.sleep(0)
                warming.cancel()
                await asyncio.wait([warming])
                flights = list(store.services.cache.flights.values())
                assert len(flights) <= 4, "only those that were being read, or next, go on"
                await asyncio.gather(*flights)
                await store.services.cache.clear()
            for name in names:  # no lease was left behind
                await store.retrieve_content(name)
                assert is_cached(store, name)

    asyncio.run(scenario())


def test_a_dry_run_reads_records_only(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with machine_of(tmp_path).process() as store:
            await stored(store, a=(10, "hot"), b=(20, "hot"))
            report = await store.services.warming.warm_cache(likely(a=0.9, b=0.9), dry_run=True, byte_budget=25)
            assert outcomes(report) == {"a": "over_budget", "b": "warmed"}
            assert not is_cached(store, "b")
            assert store.services.warming.totals.warmed_bytes == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("point", ["catalog.records.find#1", "objects.fetch#1"])
def test_what_fails_says_why_and_stops_nobody_else(tmp_path: Path, point: str) -> None:
    async def scenario() -> None:
        machine = machine_of(tmp_path)
        async with machine.process() as store:
            await stored(store, a=(10, "hot"), b=(10, "hot"))
        faults = Faults({point: FaultMode.LOST})
        async with machine.process(faults) as store:
            faults.start()
            report = await store.services.warming.warm_cache(likely(a=0.9, b=0.9), concurrency=1)
            assert faults.fired
            failed = [item for item in report.items if item.outcome is WarmOutcome.FAILED]
            assert (len(failed), report.warmed) == (1, 1)
            assert (failed[0].reason or "").startswith("UnavailableError: ")
            assert report.as_dict()["failures"] == [{"content_id": failed[0].content_id, "reason": failed[0].reason}]

    asyncio.run(scenario())


def test_it_joins_whoever_reads_the_same(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with machine_of(tmp_path).process() as store:
            await stored(store, a=(10, "hot"))
            warming = asyncio.ensure_future(store.services.warming.warm_cache(likely(a=0.9)))
            bodies = await asyncio.gather(*(store.retrieve_content("a") for _ in range(5)))
            report = await warming
            assert set(bodies) == {b"a" * 10}
            assert set(outcomes(report).values()) <= {"warmed", "already_cached"}

    asyncio.run(scenario())


def test_a_change_while_it_warms_is_never_overwritten_by_what_is_old(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = machine_of(tmp_path)
        async with machine.process() as store:
            for turns in range(40):
                await store.store_content("a", b"old", initial_tier="warm")
                await store.services.background.drain()
                warming = asyncio.ensure_future(store.services.warming.warm_cache(likely(a=0.9)))
                for _ in range(turns):
                    await asyncio.sleep(0)
                await store.store_content("a", b"new", initial_tier="warm")
                await warming
                entry = store.services.cache.peek("a")
                assert entry is None or entry.payload == b"new"
                assert await store.retrieve_content("a") == b"new"

    asyncio.run(scenario())


def test_both_levels_are_filled(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = machine_of(tmp_path)
        machine.shared = SharedMemoryCache(machine.clock, capacity=Bytes(1_000_000))
        async with machine.process() as store, machine.process() as other:
            await stored(store, a=(10, "warm"))
            report = await store.services.warming.warm_cache(likely(a=0.9))
            assert report.warmed == 1
            assert is_cached(store, "a")
            assert await machine.shared.get("content:a") is not None
            again = await other.services.warming.warm_cache(likely(a=0.9))
            assert outcomes(again) == {"a": "already_cached"}
            assert is_cached(other, "a"), "from Redis into memory"

    asyncio.run(scenario())


def test_what_no_cache_took_is_not_warmed(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = machine_of(tmp_path)
        machine.shared = SharedMemoryCache(machine.clock, capacity=Bytes(1_000_000))
        async with machine.process() as store:
            await stored(store, a=(10, "warm"))
        faults = Faults(chooser=lambda point: FaultMode.LOST if point.startswith("shared.") else None)
        machine.shared = SharedMemoryCache(machine.clock, capacity=Bytes(1_000_000))
        async with machine.process(faults) as store:
            faults.start()
            report = await store.services.warming.warm_cache(likely(a=0.9))
            assert [item.reason for item in report.items] == ["the cache did not take it"]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "wrong",
    [
        {"content_id": "a", "access_probability": math.nan},
        {"content_id": "a", "access_probability": -0.1},
        {"content_id": "a", "access_probability": 1.1},
        {"content_id": "a", "access_probability": True},
        {"content_id": "a", "access_probability": "0.9"},
        {"content_id": "a", "access_probability": 10**400},
        {"content_id": 1, "access_probability": 0.9},
        {"content_id": "/a", "access_probability": 0.9},
        {"content_id": "a"},
        {"content_id": "a", "access_probability": 0.9, "more": 1},
        "a",
        None,
    ],
)
def test_what_is_no_prediction_is_refused_with_all_others(tmp_path: Path, wrong: Any) -> None:
    async def scenario() -> None:
        async with machine_of(tmp_path).process() as store:
            await stored(store, good=(10, "hot"))
            with pytest.raises(InvalidInputError, match="prediction 2: "):
                await store.services.warming.warm_cache([*likely(good=0.9), wrong])
            assert not is_cached(store, "good")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": math.nan},
        {"threshold": 1.1},
        {"concurrency": 0},
        {"concurrency": 1000},
        {"byte_budget": -1},
        {"deadline": -1.0},
        {"deadline": math.inf},
        {"deadline": math.nan},
    ],
)
def test_bounds_are_checked(tmp_path: Path, wrong: dict[str, Any]) -> None:
    async def scenario() -> None:
        async with machine_of(tmp_path).process() as store:
            with pytest.raises(InvalidInputError):
                await store.services.warming.warm_cache([], **wrong)

    asyncio.run(scenario())


def test_a_few_at_a_time_and_nothing_at_all(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = machine_of(tmp_path)
        async with machine.process() as store:
            warm_cache = store.services.warming.warm_cache
            assert (await warm_cache([])).as_dict()["accepted"] == 0
            bring, released = store.services.reading.bring, asyncio.Event()

            async def held(content_id: ContentId, known: Any, turns: Any = None) -> Any:
                await released.wait()
                return await bring(content_id, known, turns)

            await stored(store, a=(10, "hot"))
            store.services.reading.bring = held  # type: ignore[method-assign]
            runs = [asyncio.ensure_future(warm_cache(likely(a=0.9))) for _ in range(MOST_RUNS)]
            await asyncio.sleep(0)
            with pytest.raises(BusyError):
                await warm_cache(likely(a=0.9))
            released.set()
            await asyncio.gather(*runs)
            await warm_cache(likely(a=0.9))

    asyncio.run(scenario())


@given(chance=st.floats(0, 1), size=st.integers(0, 2**40))
def test_predictions_and_costs(chance: float, size: int) -> None:
    assert parse_prediction({"content_id": "a", "access_probability": chance}).access_probability == chance
    assert 0 < cost_of_miss(size, is_paid=False) < cost_of_miss(size, is_paid=True)


def test_a_change_that_is_heard_meanwhile_costs_a_second_attempt(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with machine_of(tmp_path).process() as store:
            await stored(store, a=(10, "warm"))
            real, record = store.services.reading.bring, await store.stat("a")
            brought = 0

            async def bring(content_id: ContentId, known: Any, turns: Any = None) -> Any:
                nonlocal brought
                brought += 1
                loaded = await real(content_id, known, turns)
                if brought == 1:
                    await store.services.cache.levels.invalidate_memory(f"content:{content_id}", record.version)
                return loaded

            store.services.reading.bring = bring  # type: ignore[method-assign]
            report = await store.services.warming.warm_cache(likely(a=0.9))
            assert outcomes(report) == {"a": "warmed"}
            assert brought == 2

    asyncio.run(scenario())
