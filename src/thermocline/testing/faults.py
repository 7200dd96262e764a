"""Faults at every call of a port: the process dies, an acknowledgement is lost, the caller is cancelled.

    faults = Faults({"objects.put#2": FaultMode.AFTER})
    store = faults.wrap("objects", MemoryObjectStore(clock))
    faults.start()

Each intercepted call is a *point*: the wrapped object's name, the method, and which call of that method it is since
`start`. Nested parts and what a call opens are wrapped too:

    objects.put#1                   the first put
    objects.upload.complete#1       of what begin_upload returned
    objects.stream.next#3           each step of an asynchronous iterator, the one that ends it too
    catalog.records.commit_write#1  a port that is an attribute of a port

A run with an empty plan records all points; a test then runs every (point, mode) once and asserts with `fired`
that each was really struck.
"""

import asyncio
import contextlib
import inspect
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar, cast

from thermocline.domain.errors import CommitUnknownError, StorageError, UnavailableError

T = TypeVar("T")

Chooser = Callable[[str], "FaultMode | None"]
"""Decides at each point which fault strikes there, if any."""


class FaultMode(StrEnum):
    """What happens at a point."""

    BEFORE = "before"
    """The process dies before the call takes effect."""
    AFTER = "after"
    """The process dies after the call took effect, before it hears of it."""
    DIED_LATE = "died late"
    """The process dies with the request on its way; it takes effect when the test calls `land`."""
    LOST = "lost"
    """The call takes effect; its caller gets `UnavailableError`, of a commit `CommitUnknownError`."""
    CANCELLED = "cancelled"
    """The call takes effect, its caller gets `CancelledError`."""
    CANCELLED_BEFORE = "cancelled before"
    """The caller gets `CancelledError`; the call never takes effect."""
    CANCELLED_LATE = "cancelled late"
    """The caller gets `CancelledError`; the request takes effect when the test calls `land`."""


class ProcessDied(BaseException):
    """The process is dead: whatever it still tries through a wrapped port has no effect.

    Not an `Exception`: nothing may catch it and go on.
    """


class Gate:
    """Holds one call until a test opens it, so that two operations interleave as the test says."""

    def __init__(self) -> None:
        self._reached = asyncio.Event()
        self._opened = asyncio.Event()

    async def reached(self) -> None:
        """Return once the call waits here."""
        await self._reached.wait()

    def open(self) -> None:
        """Let the call go on, now or when it comes."""
        self._opened.set()

    async def pass_through(self) -> None:
        """Wait here until the gate is open."""
        self._reached.set()
        await self._opened.wait()


class Faults:
    """A plan of faults, and the record of what was called. It sleeps until `start`: calls pass and are not counted.

    After `ProcessDied` was raised once, every further call through any object wrapped by this instance raises it
    at once and has no effect, so that no `finally` of the dead process can tidy up.
    """

    def __init__(self, plan: Mapping[str, FaultMode] | None = None, *, chooser: Chooser | None = None) -> None:
        self.points: list[str] = []
        """Every point passed since `start`, in order."""
        self.fired: list[tuple[str, FaultMode]] = []
        """The faults that struck, in order."""
        self.dead = False
        self._chooser = chooser if chooser is not None else dict(plan or {}).get
        self._active = False
        self._calls: Counter[str] = Counter()
        self._gates: dict[tuple[str, bool], Gate] = {}
        self._late: list[Callable[[], Awaitable[object]]] = []

    def start(self) -> None:
        """Count calls and strike from now on, with ordinals from 1."""
        self._active = True
        self._calls.clear()
        self.points.clear()

    def stop(self) -> None:
        """Let calls pass again, uncounted; the dead stay dead."""
        self._active = False

    def wrap(self, name: str, port: T) -> T:
        """Return a stand-in for `port` whose asynchronous methods are points; everything else is its own."""
        return cast("T", _Proxy(self, name, port))

    def gate(self, point: str, *, after: bool = False) -> Gate:
        """Return a gate that the call at `point` will wait at: before its effect, or after it."""
        return self._gates.setdefault((point, after), Gate())

    async def land(self) -> None:
        """Let every request that is still on its way take effect, in order, also of a dead process."""
        while self._late:
            effect = self._late.pop(0)
            with contextlib.suppress(StorageError, StopAsyncIteration, EOFError):
                await effect()  # refused or not, nobody hears of it

    def check_alive(self) -> None:
        """Return if the process lives. Raises `ProcessDied`."""
        if self.dead:
            raise ProcessDied

    async def strike(self, method: str, effect: Callable[[], Awaitable[T]]) -> T:
        """Pass the next point of `method`: run `effect`, or what the plan says instead."""
        self.check_alive()
        if not self._active:
            return await effect()
        self._calls[method] += 1
        point = f"{method}#{self._calls[method]}"
        self.points.append(point)
        mode = self._chooser(point)
        await self._wait_at(point, after=False)
        if mode is not None:
            return await self._inflict(mode, point, method, effect)
        result = await effect()
        await self._wait_at(point, after=True)
        return result

    async def _wait_at(self, point: str, *, after: bool) -> None:
        gate = self._gates.get((point, after))
        if gate is not None:
            await gate.pass_through()
        self.check_alive()  # another task may have died meanwhile

    async def _inflict(self, mode: FaultMode, point: str, method: str, effect: Callable[[], Awaitable[T]]) -> T:
        self.fired.append((point, mode))
        if mode in {FaultMode.AFTER, FaultMode.LOST, FaultMode.CANCELLED}:
            with contextlib.suppress(StorageError, StopAsyncIteration, EOFError):
                await effect()  # if it failed by itself, the caller does not hear of that either
            await self._wait_at(point, after=True)
        if mode in {FaultMode.DIED_LATE, FaultMode.CANCELLED_LATE}:
            self._late.append(effect)
        if mode in {FaultMode.BEFORE, FaultMode.AFTER, FaultMode.DIED_LATE}:
            self.dead = True
            raise ProcessDied(point)
        if mode is FaultMode.LOST:
            raise _lost(method)
        raise asyncio.CancelledError(f"fault: {mode} at {point}")


def random_chooser(seed: int, *, rate: float, modes: tuple[FaultMode, ...] = tuple(FaultMode)) -> Chooser:
    """Return a chooser that strikes at a share `rate` of all points, always the same for the same calls and seed."""
    source = random.Random(seed)  # noqa: S311 - faults shall repeat, nobody must not guess them
    return lambda _point: source.choice(modes) if source.random() < rate else None


class _Proxy:
    """Stands in for a port. `isinstance` sees the port's class."""

    def __init__(self, faults: Faults, name: str, target: object) -> None:
        object.__setattr__(self, "_faults", faults)
        object.__setattr__(self, "_name", name)
        object.__setattr__(self, "_target", target)

    @property
    def __class__(self) -> type:
        """The port's class."""
        return type(self._target)

    @__class__.setter
    def __class__(self, value: type) -> None:
        raise TypeError(f"a wrapped port stays what it is, not {value}")

    def __setattr__(self, attribute: str, value: object) -> None:
        setattr(self._target, attribute, value)

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(self._target, attribute)
        if attribute.startswith("_"):
            return value
        name = f"{self._name}.{attribute}"
        if callable(value) and not _is_port(value):
            return _intercepted(self._faults, name, value)
        return _Proxy(self._faults, name, value) if _is_port(value) else value


def _intercepted(faults: Faults, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(method):

        async def call(*args: Any, **kwargs: Any) -> Any:
            result = await faults.strike(name, lambda: method(*args, **kwargs))
            # What a call opens is part of the port: begin_upload -> objects.upload.
            owner, _, own_name = name.rpartition(".")
            return _Proxy(faults, f"{owner}.{own_name.removeprefix('begin_')}", result) if _is_port(result) else result

        return call

    def call_now(*args: Any, **kwargs: Any) -> Any:
        faults.check_alive()
        result = method(*args, **kwargs)
        return _Steps(faults, name, result) if hasattr(result, "__anext__") else result

    return call_now


class _Steps(AsyncIterator[Any]):
    """An asynchronous iterator each step of which is a point."""

    def __init__(self, faults: Faults, name: str, steps: AsyncIterator[Any]) -> None:
        self._faults = faults
        self._name = name
        self._steps = steps

    def __aiter__(self) -> "_Steps":
        return self

    async def __anext__(self) -> Any:
        return await self._faults.strike(f"{self._name}.next", self._steps.__anext__)

    async def aclose(self) -> None:
        """Close what is wrapped: that only lets go of this process's own resources, so the dead may do it too."""
        close = getattr(self._steps, "aclose", None)
        if close is not None:
            await close()


def _is_port(value: object) -> bool:
    """Whether `value` is an object with asynchronous methods of its own."""
    if inspect.isroutine(value) or inspect.isclass(value) or hasattr(value, "__anext__"):
        return False
    return _has_asynchronous_methods(type(value))  # type: ignore[arg-type]  # mypy looks for the hash of instances


@cache
def _has_asynchronous_methods(kind: type) -> bool:
    return any(
        inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member)
        for cls in kind.__mro__
        for attribute, member in vars(cls).items()
        if not attribute.startswith("_")
    )


def _lost(method: str) -> UnavailableError:
    _, _, own_name = method.rpartition(".")
    if own_name.startswith("commit_"):
        return CommitUnknownError(f"fault: the answer to {method} was lost")
    return UnavailableError(f"fault: the answer of {method} was lost")
