"""Contents that were looked for and are not there, remembered for a moment: who asks again costs the catalog nothing.

Fenced by a count: an absence is taken in only if nothing was heard of changes since the catalog was asked.
"""

from typing import Final

from thermocline.domain.units import Seconds
from thermocline.ports.clock import Clock

MOST: Final = 4096


class Absences:
    """Ids without content, each for `ttl`; 0 remembers nothing. Every step takes constant time."""

    def __init__(self, clock: Clock, *, ttl: Seconds) -> None:
        self._clock = clock
        self._ttl = ttl
        self._until: dict[str, float] = {}
        self._heard = 0
        self.hits = 0
        """Questions that were answered from here."""

    def mark(self) -> int:
        """Return what a later `note` needs; must be called before the catalog is asked."""
        return self._heard

    def note(self, content_id: str, mark: int) -> None:
        """Remember that there was no such content, unless a change was heard of since `mark`."""
        if self._ttl <= 0 or mark != self._heard:
            return
        if len(self._until) >= MOST:
            del self._until[next(iter(self._until))]
        self._until.pop(content_id, None)
        self._until[content_id] = self._clock.monotonic() + self._ttl

    def knows(self, content_id: str) -> bool:
        """Whether there was no such content a moment ago."""
        until = self._until.get(content_id)
        if until is None:
            return False
        if self._clock.monotonic() >= until:
            del self._until[content_id]
            return False
        self.hits += 1
        return True

    def forget(self, content_id: str) -> None:
        """Take in that the content changed, or may have."""
        self._heard += 1
        self._until.pop(content_id, None)

    def clear(self) -> None:
        """Take in that anything may have changed."""
        self._heard += 1
        self._until.clear()
