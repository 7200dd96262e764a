"""Related content is fetched ahead where it pays: in the background, bounded, first to be shed, and never shown."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.services.predicting import LearningMachine, learning_of, prefetcher_of, read_sessions
from thermocline import StorageOrchestrator
from thermocline.domain.errors import ContentNotFoundError
from thermocline.services.judging import Mode
from thermocline.testing.clock import START
from thermocline.testing.contracts.predictor import SECRET_NAME

SIZE = 1000
READER = {"user_id": "reader"}


async def taught(machine: LearningMachine, store: StorageOrchestrator, **tiers: str) -> None:
    """Store contents of these tiers, teach that all are read together, and forget all that is cached."""
    for name, tier in tiers.items():
        await store.store_content(name, name[:1].encode() * SIZE, initial_tier=tier)
    predictor = learning_of(store).predictor
    assert predictor is not None
    for number in range(40):
        for name in tiers:
            predictor.note(name, f"s{number}", START)
    while predictor.learn(START, most=100, everything=True):
        pass
    await store.services.background.drain()
    await store.services.cache.clear()
    del machine


async def read(store: StorageOrchestrator, content_id: str = "a", **context: Any) -> bytes:
    body = await store.retrieve_content(content_id, context or READER)
    await store.services.background.drain()
    return body


def is_cached(store: StorageOrchestrator, content_id: str) -> bool:
    return store.services.cache.peek(content_id) is not None


def test_what_is_read_together_is_fetched_ahead_and_found_to_be_of_use(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = LearningMachine(tmp_path)
        async with machine.learning() as store:
            await taught(machine, store, a="hot", b="hot", c="warm")
            judge = prefetcher_of(store).judge
            await read(store)
            assert is_cached(store, "b")
            assert is_cached(store, "c")
            assert (judge.fetched, judge.fetched_bytes, judge.outstanding) == (2, 2 * SIZE, 2)
            reads = list(store.services.tracker.totals)
            assert sum(reads) == 1, "fetching ahead is no read"
            await store.retrieve_content("b")
            await store.services.tracking.flush()
            assert (judge.used, judge.wasted, judge.outstanding) == (1, 0, 1)
            machine.clock.advance(store.services.settings.prediction.window)
            await store.services.tracking.flush()
            assert (judge.used, judge.wasted) == (1, 1)
            assert judge.precision == 0.5

    asyncio.run(scenario())


def test_without_a_context_nothing_happens(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = LearningMachine(tmp_path)
        async with machine.learning() as store:
            await taught(machine, store, a="hot", b="hot")
            await store.retrieve_content("a")
            await store.services.background.drain()
            assert not is_cached(store, "b")
            assert learning_of(store).notes == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("context", [{}, {"role": "x"}, {"user_id": ""}, {"user_id": None}, {"user_id": ["u"]}])
def test_a_context_that_names_nobody_teaches_nothing_but_fetches(tmp_path: Path, context: dict[str, Any]) -> None:
    async def scenario() -> None:
        machine = LearningMachine(tmp_path)
        async with machine.learning() as store:
            await taught(machine, store, a="hot", b="hot")
            await store.retrieve_content("a", context)
            await store.services.background.drain()
            assert learning_of(store).notes == 0
            assert is_cached(store, "b")

    asyncio.run(scenario())


def test_whoever_reads_is_kept_as_a_hash_only(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = LearningMachine(tmp_path)
        async with machine.learning() as store:
            await taught(machine, store, a="hot", b="hot")
            noted: list[str] = []
            learning_of(store).note = lambda _, session: noted.append(session)  # type: ignore[method-assign, assignment]
            for context in ({"user_id": SECRET_NAME}, {"session_id": SECRET_NAME}, {"user_id": SECRET_NAME}):
                await read(store, **context)
            prefetcher_of(store).after_read("a", "hot", {"user_id": SECRET_NAME}, realm="token")
            assert len(set(noted)) == 3, "the same name elsewhere is somebody else"
            assert noted[0] == noted[2]
            assert SECRET_NAME not in str(noted)

    asyncio.run(scenario())


@pytest.mark.parametrize("tier", ["warm", "cold"])
def test_only_reads_of_tiers_that_prefetch_lead_to_it(tmp_path: Path, tier: str) -> None:
    async def scenario() -> None:
        machine = LearningMachine(tmp_path)
        async with machine.learning() as store:
            await taught(machine, store, a=tier, b="hot")
            await read(store)
            assert not is_cached(store, "b")
            assert learning_of(store).notes == 1, "it teaches all the same"

    asyncio.run(scenario())


def test_what_is_archived_or_never_cached_is_left_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = LearningMachine(tmp_path)
        async with machine.learning() as store:
            await taught(machine, store, a="hot", archived="archive", cold="cold", gone="hot", b="hot")
            await store.delete_content("gone")
            await read(store)
            assert is_cached(store, "b")
            assert prefetcher_of(store).judge.fetched == 1
            state = await store.services.adapters.catalog.restores.state(now=machine.clock.now())
            assert state.requested == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("told", [False, True])
def test_what_costs_retrieval_money_is_fetched_only_if_told(tmp_path: Path, *, told: bool) -> None:
    async def scenario() -> None:
        machine = LearningMachine(tmp_path, paid_retrieval=told)
        machine.settings = machine.settings.model_validate(
            {
                "prediction": {"paid_retrieval": told},
                "placements": {
                    "standard": {"objects": "main"},
                    "infrequent": {"objects": "main", "storage_class": "STANDARD_IA"},
                },
                "tiers": {"warm": {"placement": "infrequent"}, "archive": {"placement": "standard"}},
            }
        )
        async with machine.learning() as store:
            await taught(machine, store, a="hot", b="warm")
            await read(store)
            assert is_cached(store, "b") == told

    asyncio.run(scenario())


def test_what_is_unlikely_or_large_is_not_worth_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = LearningMachine(tmp_path, wait_weight=1.3)  # 40 of 45 are sure enough for what is small
        machine.settings = machine.settings.model_copy(
            update={
                "cache": machine.settings.cache.model_validate(
                    {"types": {"content": {"ttl": "1h", "max_size": 4 * SIZE}}}
                )
            }
        )
        async with machine.learning() as store:
            await taught(machine, store, a="hot", b="hot")
            await store.store_content("b", b"b" * 10)
            await store.services.cache.clear()
            await read(store)
            assert is_cached(store, "b")
            await store.store_content("b", b"b" * 4 * SIZE)
            await store.services.background.drain()
            await store.services.cache.clear()
            prefetcher_of(store).judge.forget("b")
            await read(store)
            assert not is_cached(store, "b")

    asyncio.run(scenario())


def test_the_byte_budget_begins_anew_each_minute(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = LearningMachine(tmp_path, bytes_per_minute=2 * SIZE)
        async with machine.learning() as store:
            await taught(machine, store, a="hot", b="hot", c="hot", d="hot")
            await read(store)
            assert sum(is_cached(store, name) for name in "bcd") == 2
            assert prefetcher_of(store).shed["budget"] == 1
            machine.clock.advance(60)
            await read(store)
            assert all(is_cached(store, name) for name in "bcd")

    asyncio.run(scenario())


def test_it_is_the_first_to_be_shed(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = LearningMachine(tmp_path)
        async with machine.learning() as store:
            await taught(machine, store, a="hot", b="hot")
            prefetcher, memory = prefetcher_of(store), store.services.memory

            async def shed(reason: str) -> None:
                before = prefetcher.shed[reason]
                await store.retrieve_content("a", READER)
                await asyncio.sleep(0)
                assert prefetcher.shed[reason] == before + 1, reason
                assert not is_cached(store, "b")

            half = await memory.take(memory.capacity // 2)
            await shed("memory")
            memory.give_back(half)
            prefetcher._is_pressed = lambda: True
            await shed("cache_down")
            prefetcher._is_pressed = lambda: False
            released = asyncio.Event()
            for _ in range(32):
                assert store.services.background.spawn(released.wait())
            await shed("busy")
            released.set()
            await store.services.background.drain()
            prefetcher._active = 4
            await shed("busy")
            prefetcher._active = 0
            prefetcher.judge.mode = Mode.OFF
            prefetcher.judge._resumes_at = machine.clock.monotonic() + 1  # type: ignore[assignment]
            await shed("switched_off")
            machine.clock.advance(1)
            await read(store)
            assert is_cached(store, "b"), "after all of it, it goes on"
            assert prefetcher._active == 0

    asyncio.run(scenario())


def test_what_would_take_too_much_memory_at_the_last_moment_is_left(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = LearningMachine(tmp_path)
        async with machine.learning() as store:
            await taught(machine, store, a="hot", b="hot")
            memory = store.services.memory
            taken = await memory.take(memory.capacity // 2 - 10)
            await store.retrieve_content("a", READER)
            await store.services.background.drain()
            assert not is_cached(store, "b")
            assert prefetcher_of(store).shed["memory"] == 1
            memory.give_back(taken)

    asyncio.run(scenario())


def test_private_content_is_only_cached(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = LearningMachine(tmp_path)
        async with machine.learning() as store:
            await taught(machine, store, a="hot", b="hot")
            await read(store)
            entry = store.services.cache.peek("b")
            assert entry is not None
            assert entry.visibility.value == "private"

    asyncio.run(scenario())


def test_a_change_in_the_very_moment_is_never_overwritten_by_what_is_old(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = LearningMachine(tmp_path)
        async with machine.learning() as store:
            await taught(machine, store, a="hot", b="warm")
            for turns in range(40):
                await store.store_content("b", b"old", initial_tier="warm")
                await store.services.cache.clear()
                prefetcher_of(store).judge.forget("b")
                await store.retrieve_content("a", READER)
                for _ in range(turns):
                    await asyncio.sleep(0)
                await store.store_content("b", b"new", initial_tier="warm")
                await store.services.background.drain()
                entry = store.services.cache.peek("b")
                assert entry is None or entry.payload == b"new"

    asyncio.run(scenario())


def test_what_is_erased_is_judged_no_more(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = LearningMachine(tmp_path)
        async with machine.learning() as store:
            await taught(machine, store, a="hot", b="hot")
            await read(store)
            await store.erase_content("b")
            assert prefetcher_of(store).judge.outstanding == 0
            await read(store)
            with pytest.raises(ContentNotFoundError):
                await store.retrieve_content("b")
            assert not is_cached(store, "b")

    asyncio.run(scenario())


def test_learning_and_prefetching_from_end_to_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = LearningMachine(tmp_path)
        async with machine.learning() as store:
            for name in "ab":
                await store.store_content(name, b"x" * SIZE)
            await read_sessions(machine, store, "a", "b", count=30)
            await store.services.cache.clear()
            await read(store)
            assert is_cached(store, "b")
            assert store.services.background.failed == 0

    asyncio.run(scenario())
