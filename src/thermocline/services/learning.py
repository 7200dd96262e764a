"""Keeping what the predictor learns: from the reads of every process, across restarts, in bounded room.

Reads are noted on their way, and learned from in small steps beside the requests. Every few minutes a process
1. wins an election, 2. loads what all learned together, if another process has saved since, and learns its own part on
top of it, 3. saves the whole under a new number. A crash loses at most what came since, and sessions that went on.
If a step fails, what was learned here waits for the next time, in bounded memory.

The state is a row of `cursors`: how far learning has come, in the words of the predictor. An erasure takes the content
out of it at once, and raises its epoch: a process that finds another epoch drops what it has not saved, since that may
name what was erased. Until then, at most one interval, other processes may still know the erased content's id.
"""

import asyncio
import base64
from collections.abc import Callable

import structlog

from thermocline.domain.errors import BusyError, StorageError
from thermocline.domain.units import Seconds
from thermocline.domain.work import Cursor
from thermocline.ports.clock import Clock
from thermocline.ports.cursors import Cursors
from thermocline.ports.elections import Elections
from thermocline.ports.predictor import Predictor

log = structlog.get_logger(__name__)

CURSOR = "prediction/1"
"""The number is that of the format: programs of two formats that run together leave each other's alone."""
LEASE = Seconds(30.0)
LEARN_EVERY = Seconds(5.0)
STEP = 4
"""Stretches of sessions that are learned without a pause: a few milliseconds."""
TRIES = 20
TRY_AGAIN = Seconds(0.5)


class LearningService:
    """Feeds one predictor, and shares what it learned with other processes."""

    def __init__(
        self,
        make_predictor: Callable[[], Predictor],
        cursors: Cursors,
        elections: Elections,
        clock: Clock,
        *,
        holder: str,
        save_every: Seconds,
    ) -> None:
        self._make_predictor = make_predictor
        self._cursors = cursors
        self._elections = elections
        self._clock = clock
        self._holder = holder
        self._save_every = save_every
        self._one_at_a_time = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._number = 0
        """Of the state that was last loaded or saved."""
        self._epoch = 0
        self._has_news = False
        self.predictor: Predictor | None = None
        """Made when the first read is to be learned from: most commands never need it."""
        self.notes = 0
        self.saves = 0
        self.failures = 0
        self.refused = 0
        """States that were damaged or foreign."""
        self.state_bytes = 0
        """Size of the state, last time it was saved or loaded."""

    def note(self, content_id: str, session: str) -> None:
        """Take in a read of this session. The very first ones only wake the predictor."""
        self.notes += 1
        if self.predictor is None:
            self._wanted.set()
        else:
            self.predictor.note(content_id, session, self._clock.now())
            self._has_news = True

    async def run(self) -> None:
        """Learn and save until cancelled, from the first noted read on."""
        await self._wanted.wait()
        save_at = self._clock.monotonic() + self._save_every
        while True:
            try:
                await self.open()
                await self._clock.sleep(LEARN_EVERY)
                await self.learn()
                if self._clock.monotonic() >= save_at and await self.sync():
                    save_at = self._clock.monotonic() + self._save_every
            except Exception:
                # A bug. Reads go on without predictions; trying again at once would fill the log.
                self.failures += 1
                log.exception("prediction_failed")
                await self._clock.sleep(self._save_every)

    async def open(self) -> Predictor:
        """Make the predictor and load what is known, unless that was done; return it. Never raises `StorageError`."""
        async with self._one_at_a_time:
            if self.predictor is None:
                # In a thread: what it is made of takes a while to import.
                predictor = await asyncio.to_thread(self._make_predictor)
                try:
                    await self._load(predictor, await self._cursors.load(CURSOR))
                except StorageError as exc:
                    self._note_failure("prediction_not_loaded", exc)
                self.predictor = predictor
            return self.predictor

    async def learn(self, *, everything: bool = False) -> None:
        """Learn from the sessions that have ended, in small steps."""
        if self.predictor is None:
            return
        async with self._one_at_a_time:
            more = True
            while more:
                more = self.predictor.learn(self._clock.now(), most=STEP, everything=everything) > 0
                await asyncio.sleep(0)

    async def sync(self) -> bool:
        """Share what was learned; whether that was done. Nothing new is no work. Never raises `StorageError`."""
        if self.predictor is None:
            return True
        async with self._one_at_a_time:
            try:
                if not await self._elections.win(CURSOR, self._holder, lease=LEASE):
                    return False
                try:
                    await self._exchange(self.predictor)
                finally:
                    await self._elections.resign(CURSOR, self._holder)
            except StorageError as exc:
                self._note_failure("prediction_not_saved", exc)
                return False
            return True

    async def close(self, *, max_wait: Seconds) -> None:
        """Learn what is left and save it, if that is possible within `max_wait`."""
        if self.predictor is None or not self._has_news:
            return
        try:
            async with asyncio.timeout(max_wait):
                await self.learn(everything=True)
                while not await self.sync():
                    await self._clock.sleep(TRY_AGAIN)
        except TimeoutError:
            log.warning("prediction_not_saved", error="TimeoutError")

    async def erase(self, content_id: str) -> int:
        """Drop all that was learned of a content, here and in what is saved; return in how many places it stood.

        Raises `StorageError` if what is saved could not be changed yet; repeating it is safe.
        """
        async with self._one_at_a_time:
            count = 0 if self.predictor is None else self.predictor.forget(content_id)
            for _ in range(TRIES):
                if await self._elections.win(CURSOR, self._holder, lease=LEASE):
                    break
                await self._clock.sleep(TRY_AGAIN)
            else:
                raise BusyError("another process saves what was learned; try again shortly", retry_after=TRY_AGAIN)
            try:
                return count + await self._erase(content_id)
            finally:
                await self._elections.resign(CURSOR, self._holder)

    async def _erase(self, content_id: str) -> int:
        saved = await self._cursors.load(CURSOR)
        if saved is None or not saved.position:
            # Nothing is saved. But what others will save may name it: the epoch tells them.
            number, epoch = (0, 0) if saved is None else (saved.done, saved.findings)
            await self._save("", number + 1, epoch + 1)
            return 0
        if self.predictor is None:
            self.predictor = await asyncio.to_thread(self._make_predictor)
        await self._load(self.predictor, saved)
        count = self.predictor.forget(content_id)
        await self._save_all(self.predictor, self._epoch + 1)
        return count

    async def _exchange(self, predictor: Predictor) -> None:
        """Load what others saved, and save the sum. For whoever was elected."""
        await self._load(predictor, await self._cursors.load(CURSOR))
        if self._has_news:
            await self._save_all(predictor, self._epoch)

    async def _save_all(self, predictor: Predictor, epoch: int) -> None:
        self._has_news = False
        state = await asyncio.to_thread(predictor.save)
        try:
            await self._save(base64.b85encode(state).decode(), self._number + 1, epoch)
        except BaseException:
            self._has_news = True
            raise
        predictor.confirm()
        self.state_bytes = len(state)
        self.saves += 1

    async def _save(self, text: str, number: int, epoch: int) -> None:
        now = self._clock.now()
        await self._cursors.save(CURSOR, Cursor(text, now, now, done=number, findings=epoch))
        self._number, self._epoch = number, epoch

    async def _load(self, predictor: Predictor, saved: Cursor | None) -> None:
        if saved is None or (saved.done, saved.findings) == (self._number, self._epoch):
            return
        try:
            state = base64.b85decode(saved.position)
        except ValueError:
            state = b""
        if await asyncio.to_thread(predictor.load, state, afresh=saved.findings != self._epoch):
            self.state_bytes = len(state)
        elif saved.position:
            self.refused += 1
            log.warning("prediction_state_refused", bytes=len(state))
        self._number, self._epoch = saved.done, saved.findings

    def _note_failure(self, event: str, exc: StorageError) -> None:
        self.failures += 1
        log.warning(event, error=type(exc).__name__, message=str(exc))
