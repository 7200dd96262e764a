"""Access tracking: reads counted in memory, per content and kind of read. Never on the way of a read."""

from enum import IntEnum


class ReadKind(IntEnum):
    """What served a read. Only storage reads cost retrieval money; all tell how warm a content is."""

    MEMORY = 0
    STORAGE = 1


class AccessTracker:
    """Counts of reads since the last `drain`, for at most `capacity` contents; the rest is only counted in total."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._counts: dict[str, list[int]] = {}
        self.totals = [0, 0]
        self.dropped = 0

    def note(self, content_id: str, kind: ReadKind) -> None:
        """Count one read."""
        self.totals[kind] += 1
        counts = self._counts.get(content_id)
        if counts is None:
            if len(self._counts) >= self._capacity:
                self.dropped += 1
                return
            counts = self._counts[content_id] = [0, 0]
        counts[kind] += 1

    def drain(self) -> dict[str, list[int]]:
        """Return the counts since the last call and begin anew."""
        counts, self._counts = self._counts, {}
        return counts

    def forget(self, content_id: str) -> None:
        """Drop what was counted of a content since the last `drain`."""
        self._counts.pop(content_id, None)
