"""Background work is bounded, shed when full, and never breaks its host."""

import asyncio

from thermocline.services.background import Background


def test_too_much_work_is_shed_and_counted() -> None:
    async def scenario() -> None:
        background = Background(2)
        gate = asyncio.Event()
        started = [background.spawn(gate.wait()) for _ in range(3)]
        assert started == [True, True, False]
        assert background.shed == 1
        gate.set()
        await background.drain()
        assert background.spawn(gate.wait())
        await background.close()

    asyncio.run(scenario())


def test_failures_are_counted_and_running_work_ends_at_close() -> None:
    async def scenario() -> None:
        background = Background(2)
        cancelled = asyncio.Event()

        async def fail() -> None:
            raise RuntimeError("as planned")

        async def hang() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        background.spawn(fail())
        background.spawn(hang())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await background.close()
        assert background.failed == 1
        assert cancelled.is_set()

    asyncio.run(scenario())
