"""What is served while catalog or storage fail, what is known not to be there, and what is refreshed before it ends."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.machine import Machine
from tests.services.two_levels import on_both, on_two_levels
from thermocline import ContentNotFoundError, Settings, StorageOrchestrator
from thermocline.domain.cache_types import content_key
from thermocline.domain.errors import UnavailableError
from thermocline.domain.units import Seconds
from thermocline.ports.cache import Pressured
from thermocline.services.cache_levels import TRIAL_SECONDS
from thermocline.services.tracking import ReadKind
from thermocline.testing.shared_cache import SharedMemoryCache

HOUR = 3600.0


async def _failing(*_: Any, **__: Any) -> Any:
    raise UnavailableError("down")


def breaks_catalog(monkeypatch: pytest.MonkeyPatch, store: StorageOrchestrator) -> None:
    monkeypatch.setattr(store.services.reading, "_records", SimpleNamespace(find=_failing))


def breaks_objects(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    for name in ("fetch", "stream", "head"):
        monkeypatch.setattr(machine.objects, name, _failing)


async def put(store: StorageOrchestrator, content_id: str, data: bytes, **more: Any) -> None:
    await store.store_content(content_id, data, **more)
    await store.services.background.drain()


@pytest.mark.parametrize("part", ["catalog", "objects"])
def test_what_has_ended_is_served_while_its_source_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    @on_both
    async def test(machine: Machine) -> None:
        async with machine.process() as store:
            await put(store, "a", b"x", initial_tier="warm")
            assert await store.retrieve_content("a") == b"x"
            machine.clock.advance(HOUR + 1)
            with monkeypatch.context() as patch:
                if part == "catalog":
                    breaks_catalog(patch, store)
                else:
                    breaks_objects(patch, machine)
                    patch.setattr(store.services.cache, "held_bytes", _nothing)
                assert await store.retrieve_content("a") == b"x"
                assert (await store.cache.stats())["content"]["memory"]["stale"] == 1
                machine.clock.advance(machine.settings.cache.stale_if_error)
                with pytest.raises(UnavailableError):
                    await store.retrieve_content("a")
            assert await store.retrieve_content("a") == b"x"

    test(tmp_path)


async def _nothing(*_: Any) -> None:
    return None


@on_both
async def test_what_was_changed_is_never_served_again(machine: Machine) -> None:
    """Staleness is of time alone: a change evicts, and what was evicted is not there to be served."""
    async with machine.process() as store:
        await put(store, "a", b"old")
        assert await store.retrieve_content("a") == b"old"
        await store.delete_content("a")
        monkey = pytest.MonkeyPatch()
        breaks_catalog(monkey, store)
        try:
            with pytest.raises(UnavailableError):
                await store.retrieve_content("a")
        finally:
            monkey.undo()


@on_both
async def test_content_that_has_ended_is_not_served(machine: Machine) -> None:
    async with machine.process() as store:
        await put(store, "a", b"x", expires_in=60)
        assert await store.retrieve_content("a") == b"x"
        machine.clock.advance(61)
        monkey = pytest.MonkeyPatch()
        breaks_catalog(monkey, store)
        try:
            with pytest.raises(UnavailableError):
                await store.retrieve_content("a")
        finally:
            monkey.undo()


def test_nothing_stale_is_kept_if_the_settings_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        settings = Settings.model_validate({"cache": {"stale_if_error": 0}})
        machine = Machine(tmp_path, settings=settings)
        async with machine.process() as store:
            await put(store, "a", b"x", initial_tier="warm")
            await store.retrieve_content("a")
            machine.clock.advance(HOUR)
            breaks_catalog(monkeypatch, store)
            with pytest.raises(UnavailableError):
                await store.retrieve_content("a")

    asyncio.run(scenario())


@on_both
async def test_what_has_ended_and_is_still_the_same_is_not_read_again(machine: Machine) -> None:
    async with machine.process() as store:
        await put(store, "a", b"x", initial_tier="warm")
        await store.retrieve_content("a")
        machine.clock.advance(HOUR + 1)
        reads = store.services.tracker.totals[ReadKind.STORAGE]
        assert await store.retrieve_content("a") == b"x"
        assert store.services.reading.revived == 1
        assert store.services.tracker.totals[ReadKind.STORAGE] == reads
        assert store.services.cache.peek("a") is not None, "fresh again"


class Lookups:
    """Counts the questions to the catalog."""

    def __init__(self, store: StorageOrchestrator, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        find = store.services.adapters.catalog.records.find

        async def counted(*args: Any, **named: Any) -> Any:
            self.count += 1
            return await find(*args, **named)

        monkeypatch.setattr(store.services.reading, "_records", SimpleNamespace(find=counted))


async def is_missing(store: StorageOrchestrator, content_id: str) -> bool:
    try:
        await store.retrieve_content(content_id)
    except ContentNotFoundError:
        return True
    return False


def test_what_is_not_there_is_asked_for_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @on_both
    async def test(machine: Machine) -> None:
        async with machine.process() as store:
            with monkeypatch.context() as patch:
                lookups = Lookups(store, patch)
                assert [await is_missing(store, "a") for _ in range(20)] == [True] * 20
                asked = lookups.count
                assert asked <= 2
                machine.clock.advance(1)
                assert await is_missing(store, "a")
                assert lookups.count > asked

    test(tmp_path)


@on_both
async def test_what_is_stored_is_there_at_once(machine: Machine) -> None:
    async with machine.process() as here, machine.process() as there:
        assert await is_missing(here, "a")
        assert await is_missing(there, "a")
        await put(here, "a", b"x")
        assert await here.retrieve_content("a") == b"x"
        await there.services.listener.poll()
        assert await there.retrieve_content("a") == b"x"
        await here.delete_content("a")
        assert await is_missing(here, "a")
        await put(here, "a", b"y")
        assert await here.retrieve_content("a") == b"y"


@on_both
async def test_an_absence_that_raced_a_change_is_not_remembered(machine: Machine) -> None:
    async with machine.process() as store:
        absences = store.services.cache.absences
        mark = absences.mark()
        await put(store, "a", b"x")
        absences.note("a", mark)
        assert not absences.knows("a")


def test_absences_are_few(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Machine(tmp_path).process() as store:
            absences = store.services.cache.absences
            for number in range(10_000):
                absences.note(str(number), absences.mark())
            assert len(absences._until) <= 4096
            assert absences.knows("9999")

    asyncio.run(scenario())


@on_both
async def test_content_read_often_is_renewed_before_it_ends(machine: Machine) -> None:
    """Without reading storage, as long as its bytes are the same."""
    async with machine.process() as store:
        await put(store, "a", b"x", initial_tier="warm")
        await store.services.cache.clear()
        if machine.shared is not None:
            await machine.shared.clear()
        memory: Any = store.services.cache.levels.memory
        memory._draw = lambda: 4.0  # ten seconds before its end, as the fetch takes two
        fetch = machine.objects.fetch

        async def slow(*args: Any, **named: Any) -> Any:
            machine.clock.advance(2)
            return await fetch(*args, **named)

        machine.objects.fetch = slow  # type: ignore[method-assign]
        assert await store.retrieve_content("a") == b"x"
        reads = store.services.tracker.totals[ReadKind.STORAGE]
        machine.clock.advance(HOUR - 20)
        for _ in range(250):
            machine.clock.advance(0.1)
            assert await store.retrieve_content("a") == b"x"
            await store.services.background.drain()
        assert store.services.refresher.refreshed >= 1
        assert store.services.tracker.totals[ReadKind.STORAGE] == reads
        machine.objects.fetch = fetch  # type: ignore[method-assign]


@on_two_levels
async def test_one_of_two_processes_renews(machine: Machine, shared: SharedMemoryCache) -> None:
    async with machine.process() as here, machine.process() as there:
        await put(here, "a", b"x", initial_tier="warm")
        assert await here.retrieve_content("a") == b"x"
        entry = await shared.get(content_key("a"))
        assert entry is not None
        for store in (here, there):
            store.services.refresher.note_due(content_key("a"), entry)
        await here.services.background.drain()
        await there.services.background.drain()
        assert here.services.refresher.refreshed + there.services.refresher.refreshed == 1


@on_two_levels
async def test_a_change_while_it_is_renewed_refuses_what_is_old(machine: Machine, shared: SharedMemoryCache) -> None:
    async with machine.process() as store:
        await put(store, "a", b"old")
        cache, record = store.services.cache, await store.stat("a")
        token = await cache.begin_refresh(record.content_id)
        assert token is not None
        await put(store, "a", b"new")
        await cache.fill(token, record, b"old")
        assert await store.retrieve_content("a") == b"new"
        entry = await shared.get(content_key("a"))
        assert entry is not None
        assert entry.payload == b"new"


@on_both
async def test_content_that_left_hot_is_not_renewed(machine: Machine) -> None:
    async with machine.process() as store:
        await put(store, "a", b"x")
        entry = store.services.cache.peek("a")
        assert entry is not None
        await store.set_tier("a", "cold")
        store.services.refresher.note_due(content_key("a"), entry)
        await store.services.background.drain()
        assert store.services.refresher.refreshed == 0
        assert store.services.cache.peek("a") is None
        machine.clock.advance(Seconds(1))


class FullCache(SharedMemoryCache, Pressured):
    """A shared cache that says that it is full."""

    def pressure(self) -> float:
        return 1.0


def test_a_full_shared_cache_tries_what_is_missed_once(tmp_path: Path) -> None:
    """It would push out what is read often. What is stored as HOT stays, and so does what is missed again."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        machine.shared = shared = FullCache(machine.clock)
        async with machine.process() as here, machine.process() as there:
            await put(here, "hot", b"x")
            name = next(name for name in map(str, range(100)) if hash(content_key(name)) % 8 == 0)
            await put(here, name, b"x", initial_tier="warm")
            assert await here.retrieve_content(name) == b"x"
            assert here.services.cache.levels.admission.refused == 1
            assert await there.retrieve_content(name) == b"x"
            assert there.services.tracker.totals[ReadKind.STORAGE] == 0, "a burst over processes is one storage read"
            machine.clock.advance(TRIAL_SECONDS)
            assert await shared.version_of(content_key("hot")) is not None
            assert await shared.version_of(content_key(name)) is None
            await here.services.cache.clear()
            assert await here.retrieve_content(name) == b"x"
            machine.clock.advance(TRIAL_SECONDS * 2)
            assert await shared.version_of(content_key(name)) is not None, "missed again"

    asyncio.run(scenario())
