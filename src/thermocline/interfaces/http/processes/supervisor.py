"""Running one service in several processes: started, watched, started again, asked what they count, and stopped.

The supervisor holds the listening socket, which every process inherits: one that ends takes no waiting connection
with it. It serves nothing itself. The first process starts alone, so that a service that cannot start says so once.
A process that ends by itself is started again, later each time. If the supervisor itself is killed, its processes
notice, drain and end.
"""

import asyncio
import contextlib
import itertools
import signal
import socket
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from thermocline.domain.units import Seconds
from thermocline.interfaces.http.processes.channel import Channel, Message
from thermocline.interfaces.http.processes.reports import Report, add_up

log = structlog.get_logger(__name__)

REPORT_WAIT = Seconds(2.0)
"""A process that does not tell what it counts for so long is left out of one answer."""
KEEP_EVERY = Seconds(10.0)
"""How often every process tells what it counts: so much at most is forgotten of one that is killed."""
FIRST_PAUSE = Seconds(1.0)
LONGEST_PAUSE = Seconds(30.0)
STEADY = Seconds(60.0)
"""A process that served for so long has not failed at its start."""
STOP_MARGIN = Seconds(15.0)
"""Beyond the drain, for what is done at the end: the last counts, the catalog."""


@dataclass(slots=True)
class _Member:
    """One of the processes."""

    number: int
    process: Process
    channel: Channel
    started: asyncio.Future[str]
    last_report: Report = field(default_factory=Report)
    asked: dict[int, asyncio.Future[Report]] = field(default_factory=dict)
    listening: asyncio.Task[None] | None = None


class Supervisor:
    """Keeps `size` processes of one service going until a signal asks it to stop."""

    def __init__(self, command: Sequence[str], size: int, listener: socket.socket, *, drain_time: Seconds) -> None:
        """Each process is `command` with `--as-process LISTENER:CHANNEL:SIZE`, two inherited file descriptors."""
        self._command = command
        self._size = size
        self._listener = listener
        self._drain_time = drain_time
        self._members: dict[int, _Member] = {}
        self._past = Report()
        self._numbers = itertools.count()
        self._stopping = asyncio.Event()

    async def run(self, on_started: Callable[[str], None]) -> int:
        """Run until SIGTERM or SIGINT; return 0, or the exit code of the first process if it could not start."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        first = await self._start(0)
        address = await self._await_start(first)
        if address is None:
            return await first.process.wait()
        keeping = [loop.create_task(self._keep(0, first)), loop.create_task(self._ask_regularly())]
        others = [await self._start(number) for number in range(1, self._size)]
        keeping += [loop.create_task(self._keep(member.number, member)) for member in others]
        for member in others:
            await self._await_start(member)
        if not self._stopping.is_set():
            on_started(address)
        try:
            await self._stopping.wait()
        finally:
            for task in keeping:
                task.cancel()
            await asyncio.wait(keeping)
            await self._end_all()
        return 0

    def _stop(self, number: signal.Signals) -> None:
        if self._stopping.is_set() and number is signal.SIGINT:
            self._signal_all(signal.SIGINT)  # once more: each ends at once
        self._stopping.set()

    async def _start(self, number: int) -> _Member:
        ours, theirs = socket.socketpair()
        with theirs:
            inherited = (self._listener.fileno(), theirs.fileno())
            process = await asyncio.create_subprocess_exec(
                *self._command,
                "--as-process",
                f"{inherited[0]}:{inherited[1]}:{self._size}",
                pass_fds=inherited,
                stdin=asyncio.subprocess.DEVNULL,
            )
        channel = await Channel.open(ours)
        member = _Member(number, process, channel, asyncio.get_running_loop().create_future())
        self._members[number] = member
        member.listening = asyncio.get_running_loop().create_task(self._listen(member))
        return member

    async def _start_at_last(self, number: int, pause: Seconds) -> _Member:
        """Start the process, however often the system refuses: memory or process ids may be short for a while."""
        while True:
            await asyncio.sleep(pause)
            try:
                return await self._start(number)
            except OSError as exc:
                pause = Seconds(min(2 * pause, LONGEST_PAUSE))
                log.warning("server_process_not_started", process=number, error=str(exc), again_in=pause)

    async def _await_start(self, member: _Member) -> str | None:
        """Return the address that the process serves, or None if it ended or shall end first."""
        ended = asyncio.ensure_future(member.process.wait())
        stopping = asyncio.ensure_future(self._stopping.wait())
        awaited: list[asyncio.Future[Any]] = [member.started, ended, stopping]
        try:
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            stopping.cancel()
        if self._stopping.is_set() and not member.started.done():
            await self._end_all()
        return member.started.result() if member.started.done() else None

    async def _keep(self, number: int, member: _Member) -> None:
        """Start the process again whenever it ends."""
        pause = FIRST_PAUSE
        while True:
            began = time.monotonic()
            code = await member.process.wait()
            self._past = add_up([self._past, member.last_report.of_the_past()])
            member.last_report = Report()
            if self._stopping.is_set():
                return
            pause = FIRST_PAUSE if time.monotonic() - began > STEADY else Seconds(min(2 * pause, LONGEST_PAUSE))
            log.warning("server_process_ended", process=number, pid=member.process.pid, code=code, again_in=pause)
            member = await self._start_at_last(number, pause)
            log.info("server_process_started", process=number, pid=member.process.pid)

    async def _listen(self, member: _Member) -> None:
        gathering: set[asyncio.Task[None]] = set()
        while (message := await member.channel.receive()) is not None:
            if "gather" in message:
                member.last_report = Report.from_json(message["mine"])
                task = asyncio.get_running_loop().create_task(self._gather_for(member, message))
                gathering.add(task)
                task.add_done_callback(gathering.discard)
            elif "started" in message and not member.started.done():
                member.started.set_result(message["started"])
            elif "left" in message:
                member.last_report = Report.from_json(message["left"])
            elif "of" in message:
                member.last_report = Report.from_json(message["of"])
                if (asked := member.asked.get(message["report"])) is not None and not asked.done():
                    asked.set_result(member.last_report)
        await member.channel.close()

    async def _gather_for(self, member: _Member, message: Message) -> None:
        others = [other for other in self._alive() if other is not member]
        answered = await self._ask(others)
        reports = [self._past, *(other.last_report for other in others)]
        member.channel.send(
            {
                "gathered": message["gather"],
                "reports": [report.as_json() for report in reports],
                "answered": answered,
            }
        )

    async def _ask(self, members: Sequence[_Member]) -> int:
        """Have processes tell what they count; return how many did. Of the others the last report stays."""
        number = next(self._numbers)
        answers: list[asyncio.Future[Report]] = [asyncio.get_running_loop().create_future() for _ in members]
        for member, answer in zip(members, answers, strict=True):
            member.asked[number] = answer
            member.channel.send({"report": number})
        if answers:
            await asyncio.wait(answers, timeout=REPORT_WAIT)
        for member in members:
            del member.asked[number]
        return sum(answer.done() for answer in answers)

    async def _ask_regularly(self) -> None:
        while True:
            await asyncio.sleep(KEEP_EVERY)
            await self._ask(self._alive())

    def _alive(self) -> list[_Member]:
        return [member for member in self._members.values() if member.process.returncode is None]

    async def _end_all(self) -> None:
        """Have every process drain and end; end those that take too long."""
        self._signal_all(signal.SIGTERM)
        ends = [asyncio.ensure_future(member.process.wait()) for member in self._members.values()]
        _, late = await asyncio.wait(ends, timeout=self._drain_time + STOP_MARGIN)
        if late:
            log.warning("server_processes_killed", processes=len(late))
            self._signal_all(signal.SIGKILL)
            await asyncio.wait(late)

    def _signal_all(self, number: signal.Signals) -> None:
        for member in self._alive():
            with contextlib.suppress(ProcessLookupError):
                member.process.send_signal(number)
