"""A server process's view of the others that serve the same port: it can ask what they count."""

import asyncio
import itertools
import socket
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol

from thermocline.domain.units import Seconds
from thermocline.interfaces.http.processes.channel import Channel
from thermocline.interfaces.http.processes.reports import Report

GATHER_WAIT = Seconds(6.0)
"""Longer than the supervisor waits for a process that does not answer."""


Gathered = tuple[Sequence[Report], int]
"""Reports of other processes, those that have ended included, and how many live ones answered."""


class Siblings(Protocol):
    """The other processes of this service."""

    size: int
    """How many processes the service shall have, this one included."""

    @abstractmethod
    async def gather(self) -> Gathered:
        """Return what the others count."""


class NoSiblings(Siblings):
    """A service of one process."""

    size = 1

    async def gather(self) -> Gathered:
        """Return nothing."""
        return (), 0


class SupervisedSiblings(Siblings):
    """The others, asked through the supervisor."""

    def __init__(
        self, channel: Channel, size: int, report: Callable[[], Report], on_orphaned: Callable[[], None]
    ) -> None:
        self.size = size
        self._channel = channel
        self._report = report
        self._on_orphaned = on_orphaned
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[Gathered]] = {}

    @classmethod
    async def join(
        cls, end: socket.socket, size: int, report: Callable[[], Report], on_orphaned: Callable[[], None]
    ) -> "SupervisedSiblings":
        """Return the siblings that the supervisor at the other end of `end` knows.

        `report` tells what this process counts; `on_orphaned` is called when the supervisor is gone.
        """
        return cls(await Channel.open(end), size, report, on_orphaned)

    def tell_started(self, address: str) -> None:
        """Tell the supervisor that this process accepts connections."""
        self._channel.send({"started": address})

    async def gather(self) -> Gathered:
        """Return the reports of the others; of none if the supervisor does not answer."""
        number = next(self._numbers)
        answer: asyncio.Future[Gathered] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        # With what this process counts: what it tells a client now, nobody may hear less of after its end.
        self._channel.send({"gather": number, "mine": self._report().as_json()})
        try:
            async with asyncio.timeout(GATHER_WAIT):
                return await answer
        except TimeoutError:
            return (), 0
        finally:
            del self._asked[number]

    async def listen(self) -> None:
        """Answer the supervisor until it is gone."""
        while (message := await self._channel.receive()) is not None:
            if "report" in message:
                self._channel.send({"report": message["report"], "of": self._report().as_json()})
            elif (asked := self._asked.get(message["gathered"])) is not None and not asked.done():
                asked.set_result(([Report.from_json(each) for each in message["reports"]], message["answered"]))
        self._on_orphaned()

    async def leave(self) -> None:
        """Tell the supervisor a last time what this process counted."""
        self._channel.send({"left": self._report().as_json()})
        await self._channel.close()
