"""Random histories against a dictionary, with faults at every port call.

Each rule may carry a fault: the n-th port call from now fails in one of the modes. After a fault the outcome may be
unclear, never in between: the content is as before the operation or as after it. Whatever was acknowledged stays.
At the end of each history a fault-free process recovers: nothing is missing, nothing is left over.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.machine import Machine, settle
from thermocline import StorageOrchestrator
from thermocline.domain.errors import (
    ContentHeldError,
    ContentNotFoundError,
    InvalidRangeError,
    PreconditionFailedError,
    StorageError,
)
from thermocline.domain.units import Seconds
from thermocline.testing.faults import FaultMode, Faults, ProcessDied

IDS = st.sampled_from(["a", "a/b", "A", "ü"])
BODIES = st.one_of(
    st.sampled_from([b"", b"x", b"y" * 64, b"z" * 65, b"w" * 200]), st.binary(max_size=300), st.just(b"same" * 20)
)
LATER = st.sampled_from([None, None, None, 30.0, 4000.0])
FAULTS = st.one_of(st.none(), st.none(), st.tuples(st.integers(1, 14), st.sampled_from(list(FaultMode))))
Fault = tuple[int, FaultMode] | None


@dataclass(frozen=True)
class Known:
    """What the model knows of a content."""

    body: bytes
    expires_at: int | None = None
    held: bool = False
    album: str | None = None


class History(RuleBasedStateMachine):
    """A machine, its present process, and the dictionary that it must agree with."""

    @initialize(seed=st.integers(0, 2**32))
    def start(self, seed: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.machine = Machine(Path(self.folder.name), seed=seed)
        self.model: dict[str, Known] = {}
        self.faults = Faults()
        self.open_process()

    def open_process(self) -> None:
        self.faults = Faults(chooser=self.choose)
        self.countdown: Fault = None
        self.process: AbstractAsyncContextManager[StorageOrchestrator] = self.machine.process(self.faults)
        self.store = self.runner.run(self.process.__aenter__())

    def choose(self, _point: str) -> FaultMode | None:
        if self.countdown is None:
            return None
        calls, mode = self.countdown
        self.countdown = (calls - 1, mode) if calls > 1 else None
        return mode if calls == 1 else None

    def restart(self) -> None:
        self.runner.run(self.end_process())
        self.open_process()

    async def end_process(self) -> None:
        with contextlib.suppress(ProcessDied):
            await self.process.__aexit__(None, None, None)
        await self.faults.land()  # what was still on its way arrives after the process has ended

    # --- running one operation ---------------------------------------------------------------------------------------

    def run(
        self, operation: Callable[[], Awaitable[object]], fault: Fault, content_id: str, after: Known | None
    ) -> object:
        """Run; book `after` if it was acknowledged; if it is unclear, look which of both states holds."""

        async def guarded() -> tuple[bool, object]:
            self.countdown = fault
            self.faults.start()
            try:
                result = await operation()
                await self.store.services.background.drain()
            except (ProcessDied, asyncio.CancelledError):
                return False, None
            except StorageError as exc:
                if isinstance(exc, PreconditionFailedError | ContentHeldError | ContentNotFoundError):
                    return not self.faults.fired, exc
                return False, exc
            finally:
                self.countdown = None
                self.faults.stop()
            return True, result

        sure, result = self.runner.run(guarded())
        if sure and not isinstance(result, StorageError):
            self.book(content_id, after)
        elif not sure:
            self.look_which(content_id, after)
        if self.faults.dead:
            self.restart()
        self.faults.fired.clear()
        return result

    def look_which(self, content_id: str, after: Known | None) -> None:
        before = self.alive(content_id)
        shown = self.runner.run(self.look(content_id))
        states = [state for state in (before, after) if self.describes(state, shown)]
        assert states, f"{content_id!r} shows {shown}, neither {before} nor {after}"
        self.book(content_id, states[0])
        if not self.faults.dead:
            # What this process did not hear of its own commit reaches its memory by the change feed.
            self.runner.run(self.store.services.listener.poll())

    async def look(self, content_id: str) -> tuple[bytes, object, bool, object] | None:
        """Look with a fault-free process of its own, past every cache; late requests have landed."""
        await self.faults.land()
        async with self.machine.process() as store:
            try:
                record = await store.stat(content_id)
                body = await store.retrieve_content(content_id)
            except ContentNotFoundError:
                return None
            return body, record.expires_at, record.held, record.metadata.get("album")

    @staticmethod
    def describes(state: Known | None, shown: tuple[bytes, object, bool, object] | None) -> bool:
        if state is None or shown is None:
            return state is None and shown is None
        return (state.body, state.expires_at, state.held, state.album) == shown

    def book(self, content_id: str, state: Known | None) -> None:
        if state is None:
            self.model.pop(content_id, None)
        else:
            self.model[content_id] = state

    def alive(self, content_id: str) -> Known | None:
        known = self.model.get(content_id)
        if known is not None and known.expires_at is not None and self.machine.clock.now() >= known.expires_at:
            return None
        return known

    def moment(self, delay: float | None) -> int | None:
        return None if delay is None else self.machine.clock.now() + round(delay * 1_000_000)

    # --- operations --------------------------------------------------------------------------------------------------

    @rule(content_id=IDS, body=BODIES, expires_in=LATER, fault=FAULTS, streamed=st.booleans())
    def store_content(
        self, content_id: str, body: bytes, expires_in: float | None, fault: Fault, streamed: bool
    ) -> None:
        async def pieces() -> object:
            for start in range(0, len(body), 50):
                yield body[start : start + 50]

        held = (known := self.model.get(content_id)) is not None and known.held
        result = self.run(
            lambda: self.store.store_content(content_id, pieces() if streamed else body, expires_in=expires_in),  # type: ignore[arg-type]
            fault,
            content_id,
            known if held else Known(body, self.moment(expires_in)),
        )
        assert isinstance(result, ContentHeldError) or not held or result is None or isinstance(result, StorageError)

    @rule(content_id=IDS, body=BODIES, fault=FAULTS, stale=st.booleans())
    def store_if_match(self, content_id: str, body: bytes, fault: Fault, stale: bool) -> None:
        known = self.alive(content_id)
        if known is None or known.held:
            return
        etag = self.runner.run(self.store.stat(content_id)).etag
        condition = '"1"' if stale else etag
        result = self.run(
            lambda: self.store.store_content(content_id, body, if_match=condition),
            fault,
            content_id,
            known if stale else Known(body),
        )
        if stale:
            assert result is None or isinstance(result, StorageError)

    @rule(content_id=IDS, body=BODIES, fault=FAULTS)
    def create_only(self, content_id: str, body: bytes, fault: Fault) -> None:
        known = self.alive(content_id)
        hidden = self.model.get(content_id)
        if hidden is not None and hidden.held:
            return
        self.run(
            lambda: self.store.store_content(content_id, body, if_none_match="*"),
            fault,
            content_id,
            known if known is not None else Known(body),
        )

    @rule(content_id=IDS, fault=FAULTS, erased=st.booleans())
    def delete(self, content_id: str, fault: Fault, erased: bool) -> None:
        known = self.model.get(content_id)
        held = known is not None and known.held
        act = self.store.erase_content if erased else self.store.delete_content
        self.run(lambda: act(content_id), fault, content_id, known if held else None)

    @rule(content_id=IDS, fault=FAULTS, album=st.sampled_from(["x", "y"]), held=st.sampled_from([None, True, False]))
    def change(self, content_id: str, fault: Fault, album: str, held: bool | None) -> None:
        known = self.alive(content_id)
        after = known and replace(known, album=album, held=known.held if held is None else held)
        self.run(lambda: self.store.update_metadata(content_id, {"album": album}, held=held), fault, content_id, after)

    @rule(content_id=IDS, fault=FAULTS, start=st.integers(0, 200), length=st.integers(1, 200))
    def read(self, content_id: str, fault: Fault, start: int, length: int) -> None:
        """A read changes nothing, and shows the truth or fails."""
        known = self.alive(content_id)

        async def whole_and_range() -> None:
            body = await self.store.retrieve_content(content_id)
            assert known is not None
            assert body == known.body
            try:
                async with self.store.open_content(content_id, start=start, end=start + length) as content:
                    piece = b"".join([bytes(chunk) async for chunk in content])
            except InvalidRangeError:
                assert start >= len(known.body)
            else:
                assert piece == known.body[start : start + length]

        result = self.run(whole_and_range, fault, content_id, known)
        if fault is None:
            assert (result is None) == (known is not None), result

    @rule(seconds=st.sampled_from([1.0, 31.0, 130.0, 5000.0, 8 * 86400.0]))
    def time_passes(self, seconds: float) -> None:
        self.machine.clock.advance(Seconds(seconds))

    @rule(
        job=st.sampled_from(
            ["invalidate", "delete_objects", "clean_intents", "expire", "forget_tombstones", "sweep_orphans"]
        ),
        fault=FAULTS,
    )
    def work(self, job: str, fault: Fault) -> None:
        """Background work changes nothing that anybody can see."""
        chosen = next(found for found in self.store.services.worker.jobs if found.name == job)
        self.run(chosen.run, fault, "a", self.alive("a"))

    @rule()
    def crash(self) -> None:
        self.faults.dead = True
        self.restart()

    @invariant()
    def everything_acknowledged_is_there(self) -> None:
        if not hasattr(self, "store"):
            return
        for content_id in list(self.model):
            known = self.alive(content_id)
            shown = self.runner.run(shown_by(self.store, content_id))
            assert shown == (known and known.body), f"{content_id!r} shows {shown!r}, not {known}"

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        try:
            self.runner.run(self.end_process())
            for content_id in list(self.model):
                if self.alive(content_id) is None and not self.model[content_id].held:
                    del self.model[content_id]
            self.runner.run(self.recover_and_check())
        finally:
            self.runner.close()
            self.folder.cleanup()

    async def recover_and_check(self) -> None:
        async with self.machine.process() as store:
            await settle(store, self.machine.clock)
            for content_id, known in self.model.items():
                if self.alive(content_id) is not None:
                    assert await store.retrieve_content(content_id) == known.body
        stored, named, rows, intents = await self.machine.remains()
        hidden = sum(1 for content_id in self.model if self.alive(content_id) is None and self.model[content_id].held)
        assert named <= stored, f"missing: {named - stored}"
        assert len(stored - named) <= hidden, f"orphans: {stored - named}"
        assert (rows, intents) == (0, 0)


async def shown_by(store: StorageOrchestrator, content_id: str) -> bytes | None:
    try:
        return await store.retrieve_content(content_id)
    except ContentNotFoundError:
        return None


TestHistory = History.TestCase
TestHistory.settings = settings(
    max_examples=settings().max_examples, stateful_step_count=30, deadline=None, print_blob=True
)
