"""A predictor from what is read together in sessions: shrunk co-occurrence, decayed, in bounded memory.

1. `note` adds a read to its session. 2. A session that was silent for a while, or grew by a stretch, is learned: every
pair of its contents. 3. `predict` asks the table alone. What was learned since the state was last kept is remembered
as stretches, so that it can be learned again on top of what others learned. A crash loses that, and open sessions.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from thermocline.adapters.predictors.co_access_state import decode, encode
from thermocline.adapters.predictors.co_access_table import LONGEST_STRETCH, CoAccessTable
from thermocline.domain.content_id import ContentId
from thermocline.domain.predictions import Prediction
from thermocline.domain.units import MICROS_PER_SECOND, Bytes, Seconds, Timestamp
from thermocline.ports.predictor import Predictor

SHARE_OF_QUEUES = 8
"""Open sessions, stretches to learn, and those not kept yet take an eighth of the memory each, at the most."""
ENTRY_BYTES = 64
SESSION_BYTES = 500


@dataclass(slots=True)
class _Session:
    last_at: Timestamp
    begun: int = 0
    """Contents that were handed on already."""
    content_ids: list[str] = field(default_factory=list)
    cost: int = SESSION_BYTES


@dataclass(frozen=True, slots=True)
class _Stretch:
    content_ids: tuple[str, ...]
    at: Timestamp
    begun: int
    cost: int


class CoAccessPredictor(Predictor):
    """Learns from sessions that end after `session_idle` without a read; old observations fade by `half_life`."""

    def __init__(self, *, memory: Bytes, half_life: Seconds, session_idle: Seconds) -> None:
        self._queue_bytes = memory // SHARE_OF_QUEUES
        self._table_bytes = Bytes(memory - 3 * self._queue_bytes)
        self._half_life = half_life
        self._idle = round(session_idle * MICROS_PER_SECOND)
        self._table = CoAccessTable(self._table_bytes, half_life)
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._session_bytes = 0
        self._ended: deque[_Stretch] = deque()
        self._ended_bytes = 0
        self._unkept: deque[_Stretch] = deque()
        self._unkept_bytes = 0
        self._saved = 0
        self.learned = 0
        """Reads that were learned from."""
        self.dropped = 0
        """Reads that were not, for want of room."""

    @property
    def contents(self) -> int:
        """How many contents it knows."""
        return len(self._table.rows)

    @property
    def used_bytes(self) -> int:
        """How much memory it takes."""
        return self._table.used_bytes + self._session_bytes + self._ended_bytes + self._unkept_bytes

    def note(self, content_id: str, session: str, at: Timestamp) -> None:
        """Take in one read."""
        held = self._sessions.get(session)
        if held is not None and at - held.last_at > self._idle:
            self._end(session)
            held = None
        if held is None:
            held = self._sessions[session] = _Session(at)
            self._session_bytes += held.cost
        else:
            self._sessions.move_to_end(session)
        held.last_at = max(held.last_at, at)
        if content_id in held.content_ids:
            return
        if len(held.content_ids) >= LONGEST_STRETCH:
            self._hand_on(held)
        cost = ENTRY_BYTES + len(content_id)
        held.content_ids.append(content_id)
        held.cost += cost
        self._session_bytes += cost
        while self._session_bytes > self._queue_bytes and len(self._sessions) > 1:
            self._end(next(iter(self._sessions)))

    def learn(self, at: Timestamp, *, most: int, everything: bool = False) -> int:
        """Learn from up to `most` stretches of sessions that have ended; return from how many."""
        while self._sessions:
            name, oldest = next(iter(self._sessions.items()))
            if not everything and at - oldest.last_at <= self._idle:
                break
            self._end(name)
        done = 0
        while self._ended and done < most:
            stretch = self._ended.popleft()
            self._ended_bytes -= stretch.cost
            done += 1
            if not stretch.content_ids:
                continue  # all of it was forgotten meanwhile
            self._table.learn(stretch.content_ids, stretch.at, begun=stretch.begun)
            self.learned += len(stretch.content_ids)
            self._unkept.append(stretch)
            self._unkept_bytes += stretch.cost
            while self._unkept_bytes > self._queue_bytes:
                self._unkept_bytes -= self._unkept.popleft().cost
                self._saved = max(self._saved - 1, 0)
        return done

    def predict(self, content_id: str, *, limit: int) -> Sequence[Prediction]:
        """Return what is read in the same session as this content, most probable first."""
        return [Prediction(ContentId(name), chance) for name, chance in self._table.likely(content_id, limit)]

    def forget(self, content_id: str) -> int:
        """Drop all that is known of a content; return in how many places it stood."""
        count = self._table.forget(content_id)
        for session in self._sessions.values():
            if content_id in session.content_ids:
                session.content_ids.remove(content_id)
                count += 1
        for stretches in (self._ended, self._unkept):
            for index, stretch in enumerate(stretches):
                if content_id in stretch.content_ids:
                    left = tuple(other for other in stretch.content_ids if other != content_id)
                    stretches[index] = _Stretch(left, stretch.at, stretch.begun, stretch.cost)
                    count += 1
        return count

    def save(self) -> bytes:
        """Return what was learned, of at most 4 MiB."""
        self._saved = len(self._unkept)
        return encode(self._table)

    def load(self, state: bytes, *, afresh: bool = False) -> bool:
        """Replace what was learned by a state, and learn on top of it what came since the last `confirm`."""
        if afresh:
            self._sessions.clear()
            self._ended.clear()
            self._unkept.clear()
            self._session_bytes = self._ended_bytes = self._unkept_bytes = self._saved = 0
            self._table = CoAccessTable(self._table_bytes, self._half_life)
        table = decode(state, self._table_bytes, self._half_life)
        if table is None:
            return False
        for stretch in self._unkept:
            if stretch.content_ids:
                table.learn(stretch.content_ids, stretch.at, begun=stretch.begun)
        self._table = table
        return True

    def confirm(self) -> None:
        """Take note that what `save` returned is kept."""
        for _ in range(self._saved):
            self._unkept_bytes -= self._unkept.popleft().cost
        self._saved = 0

    def _end(self, name: str) -> None:
        session = self._sessions.pop(name)
        self._hand_on(session)
        self._session_bytes -= session.cost

    def _hand_on(self, session: _Session) -> None:
        """Queue what the session read since it was last handed on."""
        content_ids, cost = tuple(session.content_ids), session.cost - SESSION_BYTES
        stretch = _Stretch(content_ids, session.last_at, session.begun, cost + ENTRY_BYTES)
        session.content_ids = []
        session.begun += len(content_ids)
        session.cost -= cost
        self._session_bytes -= cost
        if not content_ids:
            return
        if self._ended_bytes + stretch.cost > self._queue_bytes:
            self.dropped += len(content_ids)
            return
        self._ended.append(stretch)
        self._ended_bytes += stretch.cost
