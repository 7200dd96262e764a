"""Which value a full cache gives up: S3-FIFO, with a trial queue as large as it pays.

Values come into a short trial queue. What is hit twice there moves to the main queue; what is not leaves, and is
remembered for a while: if it is asked for again, it comes into the main queue at once. So content read once passes
through the trial and pushes nothing out. The main queue gives up what was not hit since its last turn (Yang, Zhang,
Qiu, Yue and Rashmi, "FIFO queues are all you need for cache eviction", SOSP 2023; constants as in libcachesim).

New here: the trial's share is not a tenth, but follows what more room would have earned. A value that is asked for
shortly after the trial gave it up would have been a hit in a longer one; shortly after the main queue gave it up, in a
longer main queue. The first lengthens the trial, the second shortens it, and more so: a loop a little longer than the
cache must not make the queues swing. Both are measured over the same window, so that the two compare.
"""

from collections import OrderedDict
from typing import Final, Protocol

FIRST_TRIAL: Final = 0.1
SHORTEST_TRIAL: Final = 0.01
LONGEST_TRIAL: Final = 0.9
REMEMBERED: Final = 0.8
"""Of the capacity, how much of what the trial gave up is remembered. S3-FIFO's 0.9 let loops that just are too long
for it push out what they themselves hit: a tenth of all hits (decision 29)."""
WINDOW: Final = 0.1
"""Of the capacity: what was given up within it would have been held by a slightly longer queue."""
LENGTHEN: Final = 0.5
SHORTEN: Final = 0.75
"""Of a value's cost, by how much the trial grows or shrinks. Measured: `docs/decisions/0029`."""
HITS_TO_STAY: Final = 2
MOST_TURNS: Final = 3
"""How many turns of the main queue a value survives without a hit at most."""

_TRIAL: Final = 0
_MAIN: Final = 1


class Evictable:
    """A value as the eviction sees it: its cost, and the hits that it counts itself."""

    __slots__ = ("after", "base", "before", "cost", "hits", "key_hash", "queue")

    def __init__(self, key_hash: int, cost: int) -> None:
        self.key_hash = key_hash
        self.cost = cost
        self.hits = 0
        """Raised by whoever hits it."""
        # The eviction's own, from here on.
        self.base = 0
        self.queue = _TRIAL
        self.before: Evictable = self
        self.after: Evictable = self


class Eviction(Protocol):
    """An order of giving up values. Every step takes constant time, amortised over the values added."""

    def add(self, value: Evictable) -> None:
        """Take in a new value."""

    def replace(self, old: Evictable, new: Evictable) -> None:
        """Put a new value for the same key in the place of the old one, as well liked as that was."""

    def remove(self, value: Evictable) -> None:
        """Forget a value that went for another reason than room. If it was liked, remember that it was."""

    def give_up(self) -> Evictable:
        """Remove the value that is worth least, and return it. There must be one."""

    def clear(self) -> None:
        """Forget everything."""


class _Queue:
    """First in, first out; whatever is in the middle leaves in constant time."""

    def __init__(self) -> None:
        self.cost = 0
        self._ring = Evictable(0, 0)  # before it the youngest, after it the oldest

    def __bool__(self) -> bool:
        return self._ring.after is not self._ring

    def push(self, value: Evictable) -> None:
        ring, youngest = self._ring, self._ring.before
        value.before, value.after = youngest, ring
        youngest.after = ring.before = value
        self.cost += value.cost

    def oldest(self) -> Evictable:
        return self._ring.after

    def take(self, value: Evictable) -> None:
        before, after = value.before, value.after
        before.after, after.before = after, before
        value.before = value.after = value  # nothing may keep its neighbours alive
        self.cost -= value.cost

    def swap(self, old: Evictable, new: Evictable) -> None:
        before, after = old.before, old.after
        new.before, new.after = before, after
        before.after = after.before = new
        old.before = old.after = old
        self.cost += new.cost - old.cost


class _Memory:
    """What a queue gave up lately, by the hash of the key, and how much it has given up since."""

    def __init__(self, span: float) -> None:
        self._span = span
        self._given_up = 0
        self._when: OrderedDict[int, int] = OrderedDict()

    def note(self, value: Evictable) -> None:
        self._given_up += value.cost
        self._put(value.key_hash, self._given_up)

    def note_liked(self, value: Evictable, window: float) -> None:
        """Remember a value that was not given up: it tells nothing of how long the queues should be."""
        self._given_up += value.cost
        self._put(value.key_hash, self._given_up - int(window) - 1)

    def recall(self, key_hash: int) -> int | None:
        """Forget the value; return how much was given up since it was, or None if it is not remembered."""
        when = self._when.pop(key_hash, None)
        return None if when is None else self._given_up - when

    def clear(self) -> None:
        self._when.clear()

    def _put(self, key_hash: int, when: int) -> None:
        self._when.pop(key_hash, None)
        self._when[key_hash] = when
        while self._given_up - next(iter(self._when.values())) > self._span and len(self._when) > 1:
            self._when.popitem(last=False)


class TrialAndMain(Eviction):
    """S3-FIFO for values of any cost, whose trial queue adapts. `capacity` is what all values together may cost."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._trial_share = capacity * FIRST_TRIAL
        self._window = capacity * WINDOW
        self._trial = _Queue()
        self._main = _Queue()
        self._left_trial = _Memory(capacity * REMEMBERED)
        self._left_main = _Memory(self._window)
        self._full = False

    def add(self, value: Evictable) -> None:
        """Take in a new value: on trial, unless its key is remembered."""
        since = self._left_trial.recall(value.key_hash)
        if since is not None:
            if since <= self._window:
                self._trial_share = min(self._capacity * LONGEST_TRIAL, self._trial_share + LENGTHEN * value.cost)
            self._push_main(value)
            return
        if self._left_main.recall(value.key_hash) is not None:
            self._trial_share = max(self._capacity * SHORTEST_TRIAL, self._trial_share - SHORTEN * value.cost)
        with_it = self._trial.cost + value.cost
        if not self._full and with_it > self._trial_share and with_it + self._main.cost <= self._capacity:
            self._push_main(value)  # nothing had to be given up yet: there is room for it
        else:
            value.queue = _TRIAL
            self._trial.push(value)

    def replace(self, old: Evictable, new: Evictable) -> None:
        """Put `new` where `old` was; the hits that `old` had since its last turn count for it."""
        new.queue = old.queue
        new.base = new.hits - (old.hits - old.base)
        (self._main if old.queue == _MAIN else self._trial).swap(old, new)

    def remove(self, value: Evictable) -> None:
        """Forget a value; if it was in the main queue, or on the way there, it comes back there."""
        if value.queue == _MAIN:
            self._main.take(value)
        else:
            self._trial.take(value)
            if value.hits - value.base < HITS_TO_STAY:
                return
        self._left_trial.note_liked(value, self._window)

    def give_up(self) -> Evictable:
        """Remove the value that is worth least, and return it."""
        self._full = True
        if self._trial and (self._main.cost <= self._capacity - self._trial_share or not self._main):
            while self._trial:
                value = self._trial.oldest()
                self._trial.take(value)
                if value.hits - value.base < HITS_TO_STAY:
                    self._left_trial.note(value)
                    return value
                self._push_main(value)
        while True:
            value = self._main.oldest()
            self._main.take(value)
            turns = min(value.hits - value.base, MOST_TURNS)
            if turns == 0:
                self._left_main.note(value)
                return value
            value.base = value.hits - turns + 1
            self._main.push(value)

    def clear(self) -> None:
        """Forget everything but how long the trial should be."""
        self._trial, self._main = _Queue(), _Queue()
        self._left_trial.clear()
        self._left_main.clear()
        self._full = False

    def _push_main(self, value: Evictable) -> None:
        value.queue = _MAIN
        value.base = value.hits
        self._main.push(value)
