"""What is true in a simulated world of several processes, what was acknowledged when, its clock and its dice."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from thermocline.domain.cache_types import CONTENT, CacheType
from thermocline.domain.content_id import ContentId
from thermocline.domain.units import Bytes, Seconds
from thermocline.testing.clock import ManualClock

A = ContentId("a")
FACT = ContentId("fact")
TYPE = "metadata"
TYPES = {name: CacheType(name, Seconds(3600.0), Bytes(1000)) for name in (CONTENT, TYPE)}
MAX_AGE = Seconds(10.0)
KEEP_STALE = Seconds(60.0)
NEGATIVE_TTL = Seconds(2.0)
CHANGES = ("write", "show", "delete", "learn", "put")
READS = ("read", "look", "fetch", "get")
RARE = ("hear", "hear", "flush", "forget", "wait", "leave", "refresh", "evict", "copy", "lose")


class RestlessClock(ManualClock):
    """Whoever sleeps moves the time for all, and lets others go first."""

    pace = 1.0
    """Slow time: what takes turns of the loop is quick beside what sleeps."""

    async def sleep(self, delay: Seconds) -> None:
        self._move(max(round(delay * self.pace * 1_000_000), 1))
        await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class State:
    """The content as one version has it."""

    revision: int
    exists: bool = True
    public: bool = False


@dataclass(slots=True)
class Teaching:
    """A change of the fact that cached values tell, to the number `fact`."""

    process: object
    fact: int
    begin: int
    is_put: bool
    end: int | None = None
    """When it was over, acknowledged or not; by the count of steps."""
    acknowledged_at: float | None = None


class Facts:
    """What is committed, what was acknowledged, and the dice."""

    def __init__(self, seed: int, *, failing: float, losing: bool = False, steps: Sequence[str] | None = None) -> None:
        self.dice = random.Random(seed)
        self.failing = failing
        self.losing = losing
        self.slowest = self.dice.choice((3, 10, 30))
        rare = [step for step in self.dice.sample(RARE, self.dice.randrange(6)) if losing or step != "lose"]
        self.ttl = Seconds(self.dice.choice((5.0, 3600.0)))
        changes, reads = (self.dice.sample(some, self.dice.randrange(1, len(some) + 1)) for some in (CHANGES, READS))
        self.steps = list(steps or (*changes, *reads * self.dice.choice((1, 3, 6)), *rare))
        """What the processes do; drawn unless `steps` are given, to look at some of it alone."""
        self.clock = RestlessClock()
        self.states = {1: State(1)}
        self.committed = 1
        self.acknowledged: list[tuple[float, int]] = [(0.0, 1)]
        self.heard: list[tuple[Any, int | tuple[str, int]]] = []
        self.fact = 0
        self.teachings: list[Teaching] = []
        self.processes: list[Any] = []
        self.storage_reads = 0
        self.is_calm = not failing and not losing
        """Whether the bound of quiet weather holds elsewhere."""
        self._turn = 0
        self._running: dict[int, float] = {}
        self._longest = 0.0

    @property
    def bound(self) -> float:
        """For how long after its acknowledgement a change may go unseen elsewhere in quiet weather.

        What was asked just before the change may be taken into memory when the answer is there, and is then shown.
        """
        now = self.clock.monotonic()
        return MAX_AGE + max([self._longest, *(now - begin for begin in self._running.values())])

    def turn(self) -> int:
        """Count what happens, so that one can say what came first."""
        self._turn += 1
        return self._turn

    @contextmanager
    def operation(self) -> Iterator[None]:
        me, begin = self.turn(), self.clock.monotonic()
        self._running[me] = begin
        try:
            yield
        finally:
            del self._running[me]
            self._longest = max(self._longest, self.clock.monotonic() - begin)

    def acknowledged_before(self, moment: float) -> int:
        return max((version for at, version in self.acknowledged if at < moment), default=1)

    async def drift(self) -> None:
        for _ in range(self.dice.choice((0, 0, 1, 2, self.slowest))):
            await asyncio.sleep(0)
