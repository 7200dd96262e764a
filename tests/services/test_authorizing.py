"""Tokens: what was revoked or has expired opens nothing, whatever was remembered or under way."""

import asyncio
from pathlib import Path

import pytest

from tests.machine import Machine
from thermocline.domain.access import Scope
from thermocline.domain.errors import InvalidInputError, UnavailableError
from thermocline.domain.units import Seconds
from thermocline.services import authorizing
from thermocline.services.authorizing import ANYBODY, OWNER, REMEMBERED_SECONDS
from thermocline.testing.faults import Faults


def test_a_token_looked_up_while_it_is_revoked_is_not_remembered(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults()
        async with machine.process(faults) as store:
            service = store.services.authorizing
            text = await service.create(scopes=[Scope.READ])
            gate = faults.gate("catalog.tokens.find#1", after=True)
            faults.start()
            identifying = asyncio.create_task(service.identify(text))
            await gate.reached()
            await service.revoke(text.split("_")[1])
            gate.open()
            await identifying
            assert await service.identify(text) is ANYBODY

    asyncio.run(scenario())


def test_once_closed_never_open_again_whatever_was_under_way(tmp_path: Path) -> None:
    """A look from before the first token was created ends after it."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults()
        async with machine.process(faults) as store:
            service = store.services.authorizing
            assert service.known(None) is None, "not looked yet"
            gate = faults.gate("catalog.tokens.any#1", after=True)
            faults.start()
            looking = asyncio.create_task(service.refresh())
            await gate.reached()
            await service.create(scopes=[Scope.READ])
            assert service.known(None) is ANYBODY
            gate.open()
            await looking
            assert service.known(None) is ANYBODY
            assert await service.identify(None) is ANYBODY

    asyncio.run(scenario())


def test_what_memory_knows_ends_with_the_token_and_with_its_own_bound(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            service = store.services.authorizing
            assert await service.identify(None) is OWNER
            text = await service.create(scopes=[Scope.READ, Scope.WRITE], prefix="u/", expires_in=Seconds(90.0))
            assert service.known(text) is None
            caller = await service.identify(text)
            assert service.known(text) is caller
            assert caller.may(Scope.WRITE, "u/1")
            assert not caller.may(Scope.WRITE, "v/1")
            assert not caller.may(Scope.ADMIN, "u/1")
            assert not caller.may(Scope.WRITE), "everything is more than its prefix"
            machine.clock.advance(REMEMBERED_SECONDS)
            assert service.known(text) is None
            await service.identify(text)
            machine.clock.jump(29.999999)
            assert service.known(text) is not ANYBODY
            machine.clock.jump(0.000001)
            assert service.known(text) is ANYBODY
            assert await service.identify(text) is ANYBODY

    asyncio.run(scenario())


def test_a_token_is_trusted_for_a_bounded_time_without_the_catalog(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            service = store.services.authorizing
            text = await service.create(scopes=[Scope.READ])
            caller = await service.identify(text)

            async def down(_token_id: str) -> None:
                raise UnavailableError("down")

            store.services.adapters.catalog.tokens.find = down  # type: ignore[method-assign, assignment]
            assert await service.identify(text) is caller
            machine.clock.advance(REMEMBERED_SECONDS)
            with pytest.raises(UnavailableError):
                await service.identify(text)

    asyncio.run(scenario())


def test_guesses_are_refused_and_fill_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(authorizing, "MAX_REMEMBERED", 3)
        machine = Machine(tmp_path)
        async with machine.process() as store:
            service = store.services.authorizing
            text = await service.create(scopes=[Scope.READ])
            wrong = text[:-1] + ("1" if text.endswith("0") else "0")
            unknown = f"tc_{'0' * 12}_{'0' * 48}"
            for guess in (wrong, unknown, "", "tc_", text + "0", text.upper()):
                assert await service.identify(guess) is ANYBODY
            assert len(service._remembered) == 0
            for _ in range(5):
                await service.identify(await service.create(scopes=[Scope.READ]))
            texts = [await service.create(scopes=[Scope.READ]) for _ in range(5)]
            for known in texts:
                await service.identify(known)
            assert len(service._remembered) <= 3

    asyncio.run(scenario())


def test_tokens_that_would_be_useless_are_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            service = store.services.authorizing
            with pytest.raises(InvalidInputError, match="scope"):
                await service.create(scopes=[])
            for expires_in in (0.0, -1.0):
                with pytest.raises(InvalidInputError, match="future"):
                    await service.create(scopes=[Scope.READ], expires_in=Seconds(expires_in))
            assert await service.all() == []
            assert await service.is_open()

    asyncio.run(scenario())
