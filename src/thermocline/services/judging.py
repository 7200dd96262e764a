"""Whether prefetching pays: what was fetched ahead and read in time was used, all else was wasted.

Reads are not watched one by one: the counts that the tracker hands to its flush are looked through for what was fetched
ahead. So a hit costs nothing more. What is read from storage again was evicted before it was of use.

A predictor that loses switches itself off: when what its hits spared readers is worth less than what its fetches cost.
After a pause it tries again on a small sample; each time that it loses once more, the pause doubles, up to a day.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import structlog

from thermocline.domain.units import Seconds
from thermocline.ports.clock import Clock
from thermocline.services.tracking import ReadKind

log = structlog.get_logger(__name__)

MOST_OUTSTANDING = 10_000
MEMORY_OF_JUDGEMENTS = 500
"""A judgement so many judgements ago weighs 1/e."""
FEWEST_TO_STOP = 50
FEWEST_TO_RESUME = 20
SAMPLE = 20
"""How many are fetched ahead to try again."""
LOSES_BELOW, WINS_ABOVE = 0.9, 1.1
"""Value over cost; between the two it stays as it is."""
FIRST_PAUSE, LONGEST_PAUSE = Seconds(600.0), Seconds(86_400.0)


class Mode(StrEnum):
    """What a predictor may do."""

    ON = "on"
    OFF = "off"
    """It lost, and pauses."""
    TRYING = "trying"
    """It fetches a small sample ahead to see whether it wins by now."""


@dataclass(slots=True)
class _Ahead:
    """A content that was fetched ahead and is not judged yet."""

    size: int
    cost: Seconds
    ends_at: Seconds
    hits_before: int
    """Cache reads that the tracker had counted then and has not handed on."""
    misses_before: int


class Judge:
    """Measures prefetching, and decides whether it goes on."""

    def __init__(
        self,
        clock: Clock,
        *,
        window: Seconds,
        wait_weight: float,
        counted: Callable[[str], Sequence[int] | None],
    ) -> None:
        """`counted` returns what the tracker has counted of a content since its last flush, by kind of read."""
        self._clock = clock
        self._window = window
        self._wait_weight = wait_weight
        self._counted = counted
        self._ahead: OrderedDict[str, _Ahead] = OrderedDict()
        self._gained = 0.0
        self._spent = 0.0
        self._judged = 0
        """Since the mode changed."""
        self._left = 0
        self._resumes_at = Seconds(0.0)
        self._pause = FIRST_PAUSE
        self.mode = Mode.ON
        self.switched_off = 0
        self.fetched = self.fetched_bytes = 0
        self.used = self.used_bytes = 0
        self.wasted = self.wasted_bytes = 0

    @property
    def outstanding(self) -> int:
        """How many contents wait for their judgement."""
        return len(self._ahead)

    @property
    def precision(self) -> float | None:
        """The share of the judged that was used; None before the first."""
        judged = self.used + self.wasted
        return self.used / judged if judged else None

    def may_prefetch(self) -> bool:
        """Whether another content may be fetched ahead now."""
        if self.mode is Mode.OFF and self._clock.monotonic() >= self._resumes_at:
            self._begin(Mode.TRYING)
            self._left = SAMPLE
        if self.mode is Mode.TRYING:
            return self._left > 0
        return self.mode is Mode.ON and len(self._ahead) < MOST_OUTSTANDING

    def is_outstanding(self, content_id: str) -> bool:
        """Whether it was fetched ahead and not judged yet."""
        return content_id in self._ahead

    def note_fetched(self, content_id: str, size: int, cost: Seconds) -> None:
        """Take in that a content was fetched ahead just now."""
        counts = self._counted(content_id) or (0,) * len(ReadKind)
        self._ahead[content_id] = _Ahead(
            size, cost, Seconds(self._clock.monotonic() + self._window), _hits(counts), counts[ReadKind.STORAGE]
        )
        self._left -= self.mode is Mode.TRYING
        self.fetched += 1
        self.fetched_bytes += size

    def forget(self, content_id: str) -> None:
        """Drop a content unjudged."""
        if self._ahead.pop(content_id, None) is not None:
            self._left += self.mode is Mode.TRYING

    def take_back(self, counts: Mapping[str, Sequence[int]]) -> None:
        """Take in that the tracker could not hand on these counts after all: they come again."""
        for content_id, ahead in self._ahead.items():
            counted = counts.get(content_id)
            if counted is not None:
                ahead.hits_before += _hits(counted)
                ahead.misses_before += counted[ReadKind.STORAGE]

    def look_through(self, counts: Mapping[str, Sequence[int]]) -> None:
        """Judge by the reads that the tracker counted since it last handed them on; then by the time."""
        for content_id in list(self._ahead):
            counted, ahead = counts.get(content_id), self._ahead[content_id]
            if counted is None:
                continue
            if _hits(counted) > ahead.hits_before:
                self._judge(content_id, is_used=True)
            elif counted[ReadKind.STORAGE] > ahead.misses_before:
                self._judge(content_id, is_used=False)
            else:
                ahead.hits_before = ahead.misses_before = 0
        now = self._clock.monotonic()
        while self._ahead:
            content_id, oldest = next(iter(self._ahead.items()))
            if oldest.ends_at > now:
                break
            self._judge(content_id, is_used=False)

    def _judge(self, content_id: str, *, is_used: bool) -> None:
        ahead = self._ahead.pop(content_id)
        fading = 1.0 - 1.0 / MEMORY_OF_JUDGEMENTS
        self._gained = self._gained * fading + (self._wait_weight * ahead.cost if is_used else 0.0)
        self._spent = self._spent * fading + ahead.cost
        self._judged += 1
        if is_used:
            self.used += 1
            self.used_bytes += ahead.size
        else:
            self.wasted += 1
            self.wasted_bytes += ahead.size
        self._decide()

    def _decide(self) -> None:
        if self.mode is Mode.ON and self._judged >= FEWEST_TO_STOP and self._gained < self._spent * LOSES_BELOW:
            self._stop()
        elif self.mode is Mode.TRYING and self._judged >= FEWEST_TO_RESUME:
            if self._gained > self._spent * WINS_ABOVE:
                self._pause = FIRST_PAUSE
                self._begin(Mode.ON)
                log.info("prefetching_resumed", value_over_cost=round(self._gained / self._spent, 3))
            else:
                self._pause = Seconds(min(self._pause * 2, LONGEST_PAUSE))
                self._stop()

    def _stop(self) -> None:
        ratio = round(self._gained / self._spent, 3) if self._spent else 0.0
        self.switched_off += 1
        self._resumes_at = Seconds(self._clock.monotonic() + self._pause)
        self._begin(Mode.OFF)
        log.warning(
            "prefetching_switched_off",
            value_over_cost=ratio,
            precision=self.precision,
            wasted_bytes=self.wasted_bytes,
            tries_again_in_seconds=self._pause,
        )

    def _begin(self, mode: Mode) -> None:
        self.mode = mode
        self._judged = 0
        if mode is not Mode.ON:
            self._gained = self._spent = 0.0


def _hits(counts: Sequence[int]) -> int:
    return counts[ReadKind.MEMORY] + counts[ReadKind.REDIS]
