"""Whether a value may come into a cache that is nearly full: what is read once must not push out what is read often.

Each question counts its key: it is asked when storage was read, so it tells how often a cache would have helped. Counts
are a sketch of fixed size (count-min: Cormode and Muthukrishnan, 2005): never too low within the last `window`
questions, and too high by collisions only. Two generations take turns, so that old questions are forgotten.

Refusing what is new is right where much is read once, and wrong where most comes back soon. Which of the two it is, a
sample of the keys shows, of which what is new is always refused: by how many of those are asked for again.
"""

from typing import Final

PRESSURE: Final = 0.85
"""Share of the cache's memory in use below which everything comes in: nothing is pushed out yet."""
WINDOW: Final = 32_768
"""Questions that are remembered at least; at most twice as many."""
COMES_BACK: Final = 0.15
"""Of the sampled new keys, how many must be asked for again for all that is new to come in. Measured: decision 29."""
_SAMPLED: Final = 8
"""One of so many keys is sampled."""
_ENOUGH: Final = 32
_SAMPLE_MEMORY: Final = 128
"""Sampled new keys after which older ones count half."""
_FIRST: Final = 1
_SECOND: Final = 2
_ROWS: Final = 4
_COUNTERS_OF_A_ROW: Final = 4
"""Counters of a row for each question of a window: with 4 rows, a new key looks like a known one in 0.2 to 2.4%."""
_MOST: Final = 255
_SIZES: Final = 4096
"""Questions over which the typical size is averaged."""
_LARGE: Final = 8.0
"""What is so many times larger than is typical must be asked for once more, what is its square, twice more."""
_FACTORS: Final = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)
"""Odd numbers, to take four places from one hash."""


class Admission:
    """Admits everything while there is room; beyond that what was asked for before, the larger the more often.

    Every step takes constant time, and memory is bounded: 32 bytes for each question of the window, 1 MiB by default.
    """

    def __init__(self, *, window: int = WINDOW) -> None:
        if window < 1:
            raise ValueError(f"a window holds at least one question, not {window}")
        self.refused = 0
        self._window = window
        self._width = window * _COUNTERS_OF_A_ROW
        self._now = bytearray(self._width * _ROWS)
        self._before = bytearray(self._width * _ROWS)
        self._asked = 0
        self._typical = 0.0
        self._new = 0.0
        self._again = 0.0

    def admits(self, key: str, size: int, *, pressure: float) -> bool:
        """Count the question, and return whether the value, of so many bytes, may come in.

        `pressure` is the share of the cache's memory in use, 0 where that is unknown or without bound.
        """
        digest = hash(key)
        seen = self._count(digest)
        self._typical += (size - self._typical) / min(self._asked, _SIZES)
        is_sampled = digest % _SAMPLED == 0
        if is_sampled:
            self._note_sampled(seen)
        if (
            pressure < PRESSURE
            or seen >= self._needed(size)
            or (not is_sampled and self._new >= _ENOUGH and self._again > COMES_BACK * self._new)
        ):
            return True
        self.refused += 1
        return False

    def _needed(self, size: int) -> int:
        needed, large = _SECOND, self._typical * _LARGE
        while size > large > 0:
            needed, large = needed + 1, large * _LARGE
        return needed

    def _note_sampled(self, seen: int) -> None:
        if seen == _FIRST:
            self._new += 1
            if self._new >= _SAMPLE_MEMORY:
                self._new /= 2
                self._again /= 2
        elif seen == _SECOND:
            self._again += 1

    def _count(self, digest: int) -> int:
        """Count the key; return how often it was asked for lately, now included."""
        if self._asked and self._asked % self._window == 0:
            self._now, self._before = bytearray(len(self._now)), self._now
        self._asked += 1
        lowest = 2 * _MOST
        for row, factor in enumerate(_FACTORS):
            place = row * self._width + ((digest * factor) >> 32) % self._width
            count = self._now[place]
            if count < _MOST:
                self._now[place] = count + 1
            lowest = min(lowest, count + 1 + self._before[place])
        return lowest
