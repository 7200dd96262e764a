"""A world of three processes over one shared cache, in one event loop, with dice: for thousands of schedules.

The services are the real ones; what they stand on is made up: a catalog of one content, a storage that answers at
once or later, a shared cache whose calls take their time, fail before or after their effect, and that may forget what
it took in last, as a failover does. Time passes when somebody sleeps.
"""

import asyncio
from collections.abc import Sequence

from tests.services.simulated_facts import MAX_AGE, A, Facts
from tests.services.simulated_process import Process, WatchedLevel
from thermocline.domain.units import Seconds


class World(Facts):
    """The facts, and the processes that act on them."""

    def __init__(self, seed: int, *, failing: float, losing: bool = False, steps: Sequence[str] | None = None) -> None:
        super().__init__(seed, failing=failing, losing=losing, steps=steps)
        self.shared = WatchedLevel(self)
        self.processes: list[Process] = [Process(self, self.shared) for _ in range(3)]

    async def run(self) -> None:
        actors = [self._act(self.dice.choice(self.processes)) for _ in range(self.dice.randrange(2, 9))]
        await asyncio.gather(*actors)
        # All is told by now, and the second pass runs.
        self.failing = 0.0
        for process, what in self.heard:
            await process.hear(what)
        assert await self.processes[0].cache.invalidate(A, self.committed)
        # What memory took in from the shared cache before the second pass is served for a bounded time.
        self.clock.advance(MAX_AGE)
        state = self.states[self.committed]
        for process in self.processes:
            assert await process.read() == (self.committed if state.exists else None)
            shown = await process.look()
            assert (shown is not None) == (state.exists and state.public)
        for process in self.processes:
            await process.background.close()

    async def _act(self, process: "Process") -> None:
        for _ in range(self.dice.randrange(1, 8)):
            await self.drift()
            await self._step(process)

    async def _step(self, process: "Process") -> None:
        step = self.dice.choice(self.steps)
        match step:
            case "hear" if self.heard:
                told, what = self.heard.pop(self.dice.randrange(len(self.heard)))
                await told.hear(what)
            case "flush":
                await self.shared.clear()
            case "forget":
                await process.cache.clear()
            case "wait":
                await self.clock.sleep(Seconds(self.dice.choice((0.5, 1.5, 4.0, 11.0, 130.0))))
            case "leave":
                reader = asyncio.ensure_future(process.read())
                await self.drift()
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)
            case "copy":
                self.shared.copy_to_replica()
            case "lose":
                await self.shared.fail_over()
            case "hear":
                pass
            case _:
                with self.operation():
                    await getattr(process, step)()
