"""The listener outlives every trouble: a process that stopped listening would serve stale bytes for good."""

import asyncio
from pathlib import Path

import pytest
import structlog

from tests.machine import Machine
from thermocline import StorageOrchestrator
from thermocline.domain.access import Scope
from thermocline.domain.errors import ContentNotFoundError, UnavailableError
from thermocline.domain.units import Seconds
from thermocline.services.authorizing import ANYBODY, OWNER
from thermocline.services.change_listening import PAUSE_SECONDS, POLL_SECONDS
from thermocline.testing.faults import FaultMode, Faults


@pytest.mark.parametrize("failure", [UnavailableError("down"), RuntimeError("a bug")])
def test_listening_goes_on_after_any_failure(tmp_path: Path, failure: Exception) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as here, machine.process() as there:
            await here.store_content("a", b"one")
            await there.retrieve_content("a")
            feed = there.services.adapters.catalog.changes
            whole = feed.since

            async def fail(position: int, *, limit: int) -> None:
                raise failure

            listening = asyncio.create_task(there.services.listener.run())
            feed.since = fail  # type: ignore[method-assign, assignment]
            await here.store_content("a", b"two")
            await machine.clock.run_for(POLL_SECONDS * 3)
            assert there.services.reading.hit("a") is not None, "for a bounded time it is served"
            await machine.clock.run_for(there.services.settings.limits.max_wait + PAUSE_SECONDS)
            assert there.services.reading.hit("a") is None, "beyond it nobody knows what others commit"
            await there.retrieve_content("a")
            await here.delete_content("a")
            feed.since = whole  # type: ignore[method-assign]
            await until_forgotten(machine, there)
            with pytest.raises(ContentNotFoundError):
                await there.retrieve_content("a")
            assert not listening.done()
            listening.cancel()
            await asyncio.wait([listening])

    with structlog.testing.capture_logs() as events:
        asyncio.run(scenario())
    names = {event["event"] for event in events}
    assert "change_feed_silent" in names
    assert ("change_listening_failed" in names) == isinstance(failure, RuntimeError)


async def until_forgotten(machine: Machine, store: StorageOrchestrator) -> None:
    """Let the listener look again and again; a look takes a few hops to a thread and back."""
    for _ in range(10_000):
        if store.services.reading.hit("a") is None:
            return
        await machine.clock.run_for(POLL_SECONDS)
        await asyncio.sleep(0.001)
    pytest.fail("it never heard of the change")


def test_a_change_of_tokens_that_could_not_be_taken_in_is_heard_again(tmp_path: Path) -> None:
    """The catalog fails in the very moment of re-reading: nothing stays open, and contents are evicted all the same."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults({"catalog.tokens.any#1": FaultMode.LOST})
        async with machine.process() as here, machine.process(faults) as there:
            await here.store_content("a", b"one")
            await there.retrieve_content("a")
            await there.services.authorizing.refresh()
            await here.services.authorizing.create(scopes=[Scope.READ])
            await here.store_content("a", b"two")
            faults.start()
            await there.services.listener.poll()
            assert faults.fired
            assert await there.retrieve_content("a") == b"two"
            assert there.services.authorizing.known(None) is OWNER, "not known yet"
            await there.services.listener.poll()
            assert there.services.authorizing.known(None) is ANYBODY

    asyncio.run(scenario())


def test_what_was_cached_before_the_first_look_is_not_trusted(tmp_path: Path) -> None:
    """The feed could not be read when the process began; changes until its first look were never told."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults({"catalog.changes.position#1": FaultMode.LOST})
        faults.start()
        async with machine.process() as here, machine.process(faults) as there:
            assert faults.fired
            await here.store_content("a", b"one")
            assert await there.retrieve_content("a") == b"one"
            await here.store_content("a", b"two")
            await there.services.listener.poll()
            assert await there.retrieve_content("a") == b"two"

    asyncio.run(scenario())


def test_a_gap_tells_nothing_about_tokens_either(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as here, machine.process() as there:
            await there.services.authorizing.refresh()
            await here.services.authorizing.create(scopes=[Scope.READ])
            await here.store_content("a", b"one")
            await here.store_content("a", b"two")
            machine.clock.advance(Seconds(10))
            await here.services.adapters.catalog.changes.trim(before=machine.clock.now())
            await there.services.listener.poll()
            assert there.services.authorizing.known(None) is ANYBODY

    asyncio.run(scenario())


def test_silence_is_reckoned_from_the_last_answer(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults({"catalog.changes.since#3": FaultMode.LOST})
        async with machine.process(faults) as store:
            await store.store_content("a", b"one")
            await store.retrieve_content("a")
            faults.start()
            for _ in range(3):
                machine.clock.advance(Seconds(9))
                await store.services.listener.poll()
            assert faults.fired
            assert store.services.reading.hit("a") is not None

    asyncio.run(scenario())


def test_ones_own_change_heard_later_evicts_nothing(tmp_path: Path) -> None:
    """What is cached of that very version is right. What one committed without hearing of it goes."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults({"catalog.records.commit_write#1": FaultMode.CANCELLED})
        async with machine.process(faults) as store:
            await store.store_content("a", b"one")
            await store.retrieve_content("a")
            await store.services.listener.poll()
            assert store.services.reading.hit("a") is not None
            faults.start()
            with pytest.raises(asyncio.CancelledError):
                await store.store_content("a", b"two")
            await store.services.listener.poll()
            assert await store.retrieve_content("a") == b"two"

    asyncio.run(scenario())


def test_a_gap_may_have_held_a_change_of_anything(tmp_path: Path) -> None:
    """Only the newest change is still told; what was dropped before it concerned another content."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as here, machine.process() as there:
            for name in "ab":
                await here.store_content(name, b"one")
            await there.services.listener.poll()
            for name in "ab":
                await there.retrieve_content(name)
            for name in "ab":
                await here.store_content(name, b"two")
            machine.clock.advance(Seconds(10))
            await here.services.adapters.catalog.changes.trim(before=machine.clock.now())
            await there.services.listener.poll()
            for name in "ab":
                assert await there.retrieve_content(name) == b"two"

    asyncio.run(scenario())


def test_a_change_is_heard_once(tmp_path: Path) -> None:
    """Heard again and again it would take the lease of every fill that came after it."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as here, machine.process() as there:
            await here.store_content("a", b"one")
            await there.services.listener.poll()
            record = await there.stat("a")
            token = await there.services.cache.begin_fill(record.content_id)
            assert token is not None
            await there.services.listener.poll()
            await there.services.cache.fill(token, record, b"one")
            assert there.services.reading.hit("a") is not None

    asyncio.run(scenario())
