"""Plain counts of what the HTTP interface did; metrics are made of them when somebody asks."""

from bisect import bisect_left
from collections import Counter, defaultdict

from thermocline.interfaces.http.facts import Source

DURATION_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the duration buckets, in seconds."""


class Durations:
    """A histogram of durations."""

    def __init__(self) -> None:
        self.buckets = [0] * (len(DURATION_BOUNDS) + 1)
        self.total_seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.buckets[bisect_left(DURATION_BOUNDS, seconds)] += 1
        self.total_seconds += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        """Return `(upper bound, count up to it)`, the last bound being infinity."""
        counts: list[tuple[str, float]] = []
        total = 0
        for bound, count in zip((*map(str, DURATION_BOUNDS), "+Inf"), self.buckets, strict=True):
            total += count
            counts.append((bound, total))
        return counts


class Tally:
    """A count that whoever counts often keeps at hand."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class HttpCounters:
    """Counts since the start of the process, of one application."""

    def __init__(self) -> None:
        self.requests: defaultdict[tuple[str, int], Tally] = defaultdict(Tally)
        """By route and status."""
        self.reads: defaultdict[tuple[Source, str], Tally] = defaultdict(Tally)
        """Answers with content or 304, by what served them and the content's tier."""
        self.durations = {source: Durations() for source in Source}
        """Of reads that came through ASGI, until the client had taken the last byte."""
        self.cut_answers = 0
        """Answers that had begun and could not be finished."""
        self.wire_refusals: Counter[str] = Counter()
        """What the wire refused before it became a request; replaced by the wire's own count when it runs."""
