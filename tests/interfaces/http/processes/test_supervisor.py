"""What the supervisor does where the system refuses."""

import asyncio
import socket
from typing import Any

from thermocline.domain.units import Seconds
from thermocline.interfaces.http.processes.supervisor import Supervisor


def test_a_process_that_the_system_refuses_is_started_later() -> None:
    refusals: list[OSError] = [BlockingIOError("no process ids"), OSError("too many files")]

    class Refused(Supervisor):
        async def _start(self, number: int) -> Any:
            if refusals:
                raise refusals.pop()
            return number

    async def main() -> None:
        ours, theirs = socket.socketpair()  # stands for the listener: nobody connects
        with ours, theirs:
            supervisor = Refused([], 2, ours, drain_time=Seconds(0.0))
            started: object = await supervisor._start_at_last(7, Seconds(0.0))
        assert started == 7
        assert refusals == []

    asyncio.run(main())
