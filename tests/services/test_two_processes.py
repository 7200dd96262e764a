"""Two processes on one catalog and store: what one commits, the other's memory forgets at its next look."""

import asyncio
from pathlib import Path

import pytest

from tests.machine import Machine
from thermocline.domain.access import Scope
from thermocline.domain.errors import ContentNotFoundError
from thermocline.domain.units import Seconds
from thermocline.services.authorizing import ANYBODY, OWNER
from thermocline.testing.faults import Faults


def test_changes_of_another_process_are_heard(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as here, machine.process() as there:
            await here.store_content("a", b"one")
            assert await there.retrieve_content("a") == b"one"
            await here.store_content("a", b"two")
            await there.services.listener.poll()
            assert await there.retrieve_content("a") == b"two"
            await here.update_metadata("a", visibility="public")
            await there.services.listener.poll()
            assert (await there.services.reading.retrieve("a")).visibility == "public"  # type: ignore[arg-type]
            await here.delete_content("a")
            await there.services.listener.poll()
            with pytest.raises(ContentNotFoundError):
                await there.retrieve_content("a")

    asyncio.run(scenario())


def test_after_a_gap_everything_is_forgotten(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as here, machine.process() as there:
            await here.store_content("a", b"one")
            assert await there.retrieve_content("a") == b"one"
            await here.store_content("a", b"two")
            machine.clock.advance(Seconds(10))
            await here.services.adapters.catalog.changes.trim(before=machine.clock.now())
            await there.services.listener.poll()
            assert await there.retrieve_content("a") == b"two"

    asyncio.run(scenario())


def test_a_silent_feed_empties_memory(tmp_path: Path) -> None:
    """While nobody can say what others commit, nothing cached is served beyond the bound."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults()
        async with machine.process(faults) as here:
            await here.store_content("a", b"one")
            await here.retrieve_content("a")
            assert here.services.reading.hit("a") is not None
            faults.dead = True  # the catalog does not answer any more

            async def silent(position: int, *, limit: int) -> None:
                from thermocline.domain.errors import UnavailableError

                raise UnavailableError("down")

            here.services.adapters.catalog.changes.since = silent  # type: ignore[method-assign, assignment]
            faults.dead = False
            await here.services.listener.poll()
            assert here.services.reading.hit("a") is not None, "for a bounded time it is served"
            machine.clock.advance(Seconds(60))
            await here.services.listener.poll()
            assert here.services.reading.hit("a") is None

    asyncio.run(scenario())


def test_tokens_made_and_revoked_elsewhere_take_effect(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as here, machine.process() as there:
            await there.services.authorizing.refresh()
            assert there.services.authorizing.known(None) is OWNER
            text = await here.services.authorizing.create(scopes=[Scope.READ], prefix="users/42/")
            await there.services.listener.poll()
            assert there.services.authorizing.known(None) is ANYBODY
            caller = await there.services.authorizing.identify(text)
            assert caller.may(Scope.READ, "users/42/cat")
            assert not caller.may(Scope.READ, "users/43/cat")
            assert not caller.may(Scope.WRITE, "users/42/cat")
            assert there.services.authorizing.known(text) is caller
            assert await there.services.authorizing.identify(text[:-1] + "0") is ANYBODY or text.endswith("0")
            assert caller.token_id is not None
            await here.services.authorizing.revoke(caller.token_id)
            await there.services.listener.poll()
            assert await there.services.authorizing.identify(text) is ANYBODY
            assert there.services.authorizing.known(None) is ANYBODY, "revoking the last token opens nothing"

    asyncio.run(scenario())


def test_a_slow_fill_never_outlives_a_change(tmp_path: Path) -> None:
    """The reader pauses with the old bytes in hand; the change is acknowledged; the old bytes are not cached."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults()
        async with machine.process(faults) as store:
            await store.store_content("a", b"old")
            await store.services.background.drain()
            await store.services.cache.clear()
            faults.start()
            gate = faults.gate("objects.fetch#1", after=True)
            reading = asyncio.create_task(store.retrieve_content("a"))
            await gate.reached()
            await store.store_content("a", b"new" * 10, initial_tier="warm")
            joined = asyncio.create_task(store.retrieve_content("a"))
            await asyncio.sleep(0)
            gate.open()
            assert await reading == b"old", "it began before the change"
            assert await joined == b"new" * 10, "it began after the change"
            assert await store.retrieve_content("a") == b"new" * 10

    asyncio.run(scenario())
