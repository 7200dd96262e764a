"""Random histories against a dictionary, with faults at every port call.

Each rule may carry a fault: the n-th port call from now fails in one of the modes. After a fault the outcome may be
unclear, never in between: the content is as before the operation or as after it. Whatever was acknowledged stays.
Requests to the store that were on their way when their process died or gave up land at any later time, also after
everything was cleaned up. At the end of each history a fault-free process recovers: nothing is missing, nothing is
left over.

`pytest --hypothesis-show-statistics` tells how often the histories came through the states that matter.
"""

import asyncio
import contextlib
import hashlib
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.crash.known import BODIES, FAULTS, IDS, LATE, LATER, TIERS, Fault, Known
from tests.machine import Machine, read_whole, settle
from thermocline import Receipt, StorageOrchestrator
from thermocline.domain.errors import (
    ContentArchivedError,
    ContentHeldError,
    ContentNotFoundError,
    InvalidRangeError,
    PreconditionFailedError,
    RestoreBudgetError,
    StorageError,
)
from thermocline.domain.units import Seconds
from thermocline.testing.faults import FaultMode, Faults, ProcessDied

ARCHIVED = b"archived"
"""Stands for content that must be restored before it is read."""


class History(RuleBasedStateMachine):
    """A machine, its present process, and the dictionary that it must agree with."""

    @initialize(seed=st.integers(0, 2**32))
    def start(self, seed: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.machine = self.make_machine(Path(self.folder.name), seed)
        self.model: dict[str, Known] = {}
        self.revisions: dict[str, int] = {}
        self.on_their_way: list[Faults] = []
        self.faults = Faults()
        self.open_process()

    def make_machine(self, folder: Path, seed: int) -> Machine:
        return Machine(folder, seed=seed)

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

    async def land_in_time(self, fired: list[tuple[str, FaultMode]]) -> None:
        """Let a commit that was on its way arrive now; a request to the store may take as long as it likes."""
        for point, mode in fired:
            if mode in LATE and point.startswith("objects."):
                event(f"on its way: {point.partition('#')[0]}")
                if self.faults not in self.on_their_way:
                    self.on_their_way.append(self.faults)
            elif mode in LATE:
                await self.faults.land()

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
                if isinstance(
                    exc, PreconditionFailedError | ContentHeldError | ContentNotFoundError | RestoreBudgetError
                ):
                    return not self.faults.fired, exc
                return False, exc
            finally:
                self.countdown = None
                self.faults.stop()
            return True, result

        sure, result = self.runner.run(guarded())
        for _, mode in self.faults.fired:
            event(f"struck: {mode}")
        self.runner.run(self.land_in_time(self.faults.fired))
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
        # Where nothing happened the model stays: what expired on hold is not shown, and is there all the same.
        if not self.describes(before, shown):
            assert self.describes(after, shown), f"{content_id!r} shows {shown}, neither {before} nor {after}"
            self.book(content_id, after)
        elif before is not None and after is not None and self.describes(after, shown):
            self.book(content_id, before.perhaps(after))  # they differ in where it is, which may still change
        self.runner.run(self.machine.spread())
        if not self.faults.dead:
            # What this process did not hear of its own commit reaches its memory by the change feed.
            self.runner.run(self.store.services.listener.poll())

    async def look(self, content_id: str) -> tuple[object, ...] | None:
        """Look with a fault-free process of its own, past every cache; late commits have landed."""
        async with self.machine.process() as store:
            try:
                record = await store.stat(content_id)
            except ContentNotFoundError:
                return None
            with contextlib.suppress(ContentArchivedError):
                # A cache that processes share shows what it has until the background work or the feed tells it.
                async with store.open_content(content_id) as content:
                    body = b"".join([bytes(chunk) async for chunk in content])
                assert hashlib.sha256(body).digest() == record.digest
            return record.digest, record.expires_at, record.held, record.pinned, record.metadata.get("album")

    @staticmethod
    def describes(state: Known | None, shown: tuple[object, ...] | None) -> bool:
        return (state and state.shows()) == shown

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

    def written(self, content_id: str, body: bytes, expires_at: int | None = None, *, tier: str = "hot") -> Known:
        """Return what is known of new bytes: only a pin outlives the old ones."""
        before = self.alive(content_id)
        pinned = before is not None and before.pinned
        return Known(body, expires_at, pinned=pinned, tiers=frozenset({tier}), wish=tier)

    def moment(self, delay: float | None) -> int | None:
        return None if delay is None else self.machine.clock.now() + round(delay * 1_000_000)

    # --- operations --------------------------------------------------------------------------------------------------

    @rule(content_id=IDS, body=BODIES, expires_in=LATER, fault=FAULTS, streamed=st.booleans(), tier=TIERS)
    def store_content(
        self, content_id: str, body: bytes, expires_in: float | None, fault: Fault, streamed: bool, tier: str
    ) -> None:
        async def pieces() -> object:
            for start in range(0, len(body), 50):
                yield body[start : start + 50]

        held = (known := self.model.get(content_id)) is not None and known.held
        result = self.run(
            lambda: self.store.store_content(
                content_id,
                pieces() if streamed else body,  # type: ignore[arg-type]
                initial_tier=tier,
                expires_in=expires_in,
            ),
            fault,
            content_id,
            known if held else self.written(content_id, body, self.moment(expires_in), tier=tier),
        )
        assert isinstance(result, ContentHeldError) or not held or result is None or isinstance(result, StorageError)
        if isinstance(result, Receipt):
            assert result.revision > self.revisions.get(content_id, 0), "revisions only grow, whatever the clock does"
            self.revisions[content_id] = result.revision

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
            known if stale else self.written(content_id, body),
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
            known if known is not None else self.written(content_id, body),
        )

    @rule(content_id=IDS, fault=FAULTS, erased=st.booleans())
    def delete(self, content_id: str, fault: Fault, erased: bool) -> None:
        known = self.model.get(content_id)
        held = known is not None and known.held
        act = self.store.erase_content if erased else self.store.delete_content
        self.run(lambda: act(content_id), fault, content_id, known if held else None)

    @rule(
        content_id=IDS,
        fault=FAULTS,
        album=st.sampled_from(["x", "y"]),
        held=st.sampled_from([None, True, False]),
        pinned=st.sampled_from([None, None, True, False]),
    )
    def change(self, content_id: str, fault: Fault, album: str, held: bool | None, pinned: bool | None) -> None:
        known = self.alive(content_id)
        after = known and replace(
            known,
            album=album,
            held=known.held if held is None else held,
            pinned=known.pinned if pinned is None else pinned,
        )
        self.run(
            lambda: self.store.update_metadata(content_id, {"album": album}, held=held, pinned=pinned),
            fault,
            content_id,
            after,
        )

    @rule(content_id=IDS, fault=FAULTS, tier=TIERS, wait=st.booleans())
    def move(self, content_id: str, fault: Fault, tier: str, wait: bool) -> None:
        known = self.alive(content_id)
        # A wish for the present tier drops a plan, also of what is on hold; any other is refused there.
        stays = known is None or (known.held and known.tiers != frozenset({tier}))
        after = known if stays or known is None else known.asked_for(tier)
        result = self.run(lambda: self.store.set_tier(content_id, tier, wait=wait), fault, content_id, after)
        if known is not None and known.held and not isinstance(result, StorageError) and result is not None:
            self.book(content_id, known.asked_for(tier))

    @rule(content_id=IDS, fault=FAULTS, days=st.sampled_from([1, 3]))
    def restore(self, content_id: str, fault: Fault, days: int) -> None:
        known = self.model.get(content_id)
        self.run(lambda: self.store.restore_content(content_id, days=days), fault, content_id, known)

    @rule(content_id=IDS, fault=FAULTS, start=st.integers(0, 200), length=st.integers(1, 200))
    def read(self, content_id: str, fault: Fault, start: int, length: int) -> None:
        """A read changes nothing, and shows the truth or fails."""
        known = self.alive(content_id)

        async def whole_and_range() -> None:
            try:
                body = await self.store.retrieve_content(content_id)
            except ContentArchivedError:
                assert known is not None
                assert "archive" in known.tiers
                return
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
            ["invalidate", "delete_objects", "expire", "forget_tombstones", "trim_changes", "move", "move", "restore"]
        ),
        fault=FAULTS,
    )
    def work_now(self, job: str, fault: Fault) -> None:
        self.work(job, fault)

    def work(self, job: str, fault: Fault) -> None:
        """Background work changes nothing that anybody can see."""
        chosen = next(found for found in self.store.services.worker.jobs if found.name == job)
        self.note_states(job)
        self.run(chosen.run, fault, "a", self.model.get("a"))  # what expired on hold is there all the same

    @rule()
    def crash(self) -> None:
        if self.runner.run(self.count_quarantined()):
            event("crash with objects in quarantine")
        self.faults.dead = True
        self.restart()

    @rule(content_id=IDS, requests=st.integers(1, 3), mode=st.sampled_from(sorted(LATE)))
    def another_process_dies_uploading(self, content_id: str, requests: int, mode: FaultMode) -> None:
        """It leaves an intent, perhaps an object, and a request on its way."""
        left = requests

        def strike(point: str) -> FaultMode | None:
            nonlocal left
            left -= point.startswith("objects.")
            return mode if not left and point.startswith("objects.") else None

        async def die() -> None:
            faults = Faults(chooser=strike)
            with contextlib.suppress(ProcessDied):
                async with self.machine.process(faults) as other:
                    faults.start()
                    with contextlib.suppress(ProcessDied, asyncio.CancelledError):
                        await other.store_content(content_id, b"never" * 20)
                    faults.stop()
            assert faults.fired
            self.on_their_way.append(faults)

        self.runner.run(die())

    @rule(fault=FAULTS, seconds=st.sampled_from([61.0, 121.0]))
    def clean_later(self, fault: Fault, seconds: float) -> None:
        """Come to the next step of the cleaner."""
        self.machine.clock.advance(Seconds(seconds))
        self.work("clean_intents", fault)

    @rule(fault=FAULTS, job=st.sampled_from(["sweep_orphans", "empty_quarantine"]))
    def sweep_later(self, fault: Fault, job: str) -> None:
        """Come to the next step of a sweep."""
        self.machine.clock.advance(Seconds(3 * 3600.0))
        self.work(job, fault)

    @rule()
    def late_requests_land(self) -> None:
        """Whatever was on its way to the store arrives, whoever sent it."""
        if self.on_their_way:
            self.runner.run(self.land())

    async def land(self) -> None:
        before, _, _, intents = await self.machine.remains()
        while self.on_their_way:
            await self.on_their_way.pop().land()
        stored, _, _, _ = await self.machine.remains()
        if stored - before:
            event(f"landed after {'all was cleaned up' if not intents else 'its sender died'}")

    @rule(content_id=IDS, body=BODIES, deleted=st.booleans())
    def another_process_changes(self, content_id: str, body: bytes, deleted: bool) -> None:
        """What this process has in memory is forgotten at its next look at the feed."""
        known = self.model.get(content_id)
        if known is not None and known.held:
            return

        async def change() -> None:
            async with self.machine.process() as other:
                if deleted:
                    await other.delete_content(content_id)
                else:
                    await other.store_content(content_id, body)
            await self.store.services.listener.poll()

        self.runner.run(change())
        self.book(content_id, None if deleted else self.written(content_id, body))

    @rule(seconds=st.sampled_from([1.0, 100.0, 1000.0]))
    def clock_jumps_back(self, seconds: float) -> None:
        """Only where nothing has expired: what was not deleted yet would live again, which the model cannot know."""
        if all(self.alive(content_id) for content_id in self.model):
            self.machine.clock.jump(-seconds)

    # --- what the histories came through -----------------------------------------------------------------------------

    def note_states(self, job: str) -> None:
        if job == "expire" and any(known.held and not self.alive(name) for name, known in self.model.items()):
            event("expiry ran over expired content on hold")
        if job == "clean_intents" and self.runner.run(self.count_between_deletions()):
            event("cleaner came between the two deletions")
        if job == "empty_quarantine" and self.runner.run(self.count_quarantined()):
            event("quarantine held objects when it was emptied")
        if job == "sweep_orphans" and self.on_their_way:
            event("sweep with requests on their way")

    async def count_between_deletions(self) -> int:
        return await self.count("SELECT count(*) FROM intents WHERE deleted_once")

    async def count_quarantined(self) -> int:
        return await self.count("SELECT count(*) FROM quarantine")

    async def count(self, query: str) -> int:
        ((count,),) = await self.machine.query(query)
        return int(str(count))

    @invariant()
    def everything_acknowledged_is_there(self) -> None:
        if not hasattr(self, "store"):
            return
        for content_id in list(self.model):
            known = self.alive(content_id)
            shown = self.runner.run(shown_by(self.store, content_id))
            if shown == ARCHIVED and known is not None and "archive" in known.tiers:
                continue
            assert shown == (known and known.body), f"{content_id!r} shows {shown!r}, not {known}"

    @invariant()
    def nothing_is_held_between_operations(self) -> None:
        if hasattr(self, "store"):
            services = self.store.services
            assert services.memory.in_use == 0
            assert not services.cache.flights
            assert not services.keeper._held

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        try:
            self.runner.run(self.end_process())
            if self.on_their_way:
                self.runner.run(self.machine.recover())
                self.runner.run(self.land())
            for content_id in list(self.model):
                if self.alive(content_id) is None and not self.model[content_id].held:
                    del self.model[content_id]
            self.runner.run(self.recover_and_check())
        finally:
            self.runner.run(self.machine.close())
            self.runner.close()
            self.machine.discard()
            self.folder.cleanup()

    async def recover_and_check(self) -> None:
        async with self.machine.process() as store:
            await settle(store, self.machine.clock)
            for content_id, known in self.model.items():
                if self.alive(content_id) is not None:
                    await self.check_place(store, content_id, known)
                    assert await read_whole(store, self.machine.clock, content_id) == known.body
        stored, named, rows, intents = await self.machine.remains()
        hidden = sum(1 for content_id in self.model if self.alive(content_id) is None and self.model[content_id].held)
        assert named <= stored, f"missing: {named - stored}"
        assert len(stored - named) <= hidden, f"orphans: {stored - named}"
        assert (rows, intents) == (0, 0)
        left = await self.machine.work_left()
        held = sum(known.held for known in self.model.values())
        assert left["moves"] <= held, f"{left} with {held} on hold"

    async def check_place(self, store: StorageOrchestrator, content_id: str, known: Known) -> None:
        """Every wish that was acknowledged has come true by now; what is on hold stays."""
        record = await store.stat(content_id)
        assert record.tier.value in known.tiers, f"{content_id!r} is {record.tier}, not in {sorted(known.tiers)}"
        assert store.services.placements.of_tier(record.tier).name == record.placement
        if known.wish is not None and not known.held:
            event(f"a wish for {known.wish} came true")
            assert record.tier.value == known.wish, f"{content_id!r} is {record.tier}, not {known.wish}"


async def shown_by(store: StorageOrchestrator, content_id: str) -> bytes | None:
    try:
        return await store.retrieve_content(content_id)
    except ContentNotFoundError:
        return None
    except ContentArchivedError:
        return ARCHIVED


TestHistory = pytest.mark.thorough(History.TestCase)
TestHistory.settings = settings(
    max_examples=settings().max_examples,
    stateful_step_count=30,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],  # it takes a busy machine for a slow strategy
)
