"""What a key of the memory cache remembers besides its value: leases and tombstones.

Marks are small but count too. The oldest are dropped when they take more than their share: a fill whose lease is gone
is refused, so that is safe.
"""

from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice
from typing import Final

MARK_BYTES: Final = 320
"""What a mark takes besides its key (measured: 290, rounded up)."""


class Mark:
    """A lease if it has a token, else a tombstone; fills older than `floor` are refused.

    Beside a value, the token is that of who refreshes it.
    """

    __slots__ = ("dies_at", "floor", "token")

    def __init__(self, token: str | None, floor: int, dies_at: float) -> None:
        self.token = token
        self.floor = floor
        self.dies_at = dies_at


class Marks:
    """Marks by key, the oldest first, and the bytes that they take. Every step takes constant time."""

    def __init__(self) -> None:
        self.bytes = 0
        # Ordered: an ordinary dictionary takes ever longer to find its first key when those before it left.
        self._marks: OrderedDict[str, Mark] = OrderedDict()

    def __len__(self) -> int:
        """Return how many there are, those that ended unnoticed included."""
        return len(self._marks)

    def live(self, key: str, now: float) -> Mark | None:
        """Return the mark that the key has at `now`."""
        mark = self._marks.get(key)
        if mark is not None and now >= mark.dies_at:
            self.drop(key)
            return None
        return mark

    def put(self, key: str, mark: Mark, now: float) -> None:
        """Give the key this mark, as the youngest."""
        self.drop(key)
        self._marks[key] = mark
        self.bytes += MARK_BYTES + len(key)
        # Dead ones pile up at the front; two looked at for each one added keeps them few.
        for oldest in tuple(islice(self._marks, 2)):
            self.live(oldest, now)

    def drop(self, key: str) -> None:
        """Forget the key's mark, if it has one."""
        if self._marks.pop(key, None) is not None:
            self.bytes -= MARK_BYTES + len(key)

    def drop_oldest(self) -> None:
        """Forget the oldest mark. Raises `StopIteration` if there is none."""
        self.drop(next(iter(self._marks)))

    def leased(self) -> Iterator[str]:
        """Yield the keys whose mark has a token."""
        return (key for key, mark in self._marks.items() if mark.token is not None)

    def clear(self) -> None:
        """Forget all."""
        self._marks.clear()
        self.bytes = 0
