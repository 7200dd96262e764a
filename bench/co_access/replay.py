"""A trace replayed through a cache of fixed size, with and without fetching ahead: what production would decide.

The cache evicts what was used least lately. What is fetched ahead takes room like any other content. Predictor, judge
and the rule (probability x weight of a wait > 1 + size / largest) are those of production, with its defaults; the
predictor learns as the trace goes, so nothing is known at its beginning. The first fifth is not counted.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from bench.co_access.judging import DEFAULTS, moment, predictor
from bench.co_access.traces import Read
from thermocline.domain.predictions import cost_of_miss
from thermocline.domain.units import Seconds, Timestamp
from thermocline.ports.clock import Clock
from thermocline.services.judging import Judge
from thermocline.services.prefetching import MOST_AT_ONCE_PER_READ, MOST_RELATED
from thermocline.services.tracking import ReadKind

WARM_UP_SHARE = 0.2
FLUSH_EVERY = 200
LARGEST_SHARE = 8


@dataclass
class Outcome:
    reads: int = 0
    hits: int = 0
    fetched: int = 0
    fetched_bytes: int = 0
    used: int = 0
    wasted_bytes: int = 0
    switched_off: int = 0

    @property
    def hit_ratio(self) -> float:
        return self.hits / max(self.reads, 1)


class _TraceClock(Clock):
    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> Timestamp:
        return moment(self.at)

    def monotonic(self) -> Seconds:
        return Seconds(self.at)

    async def sleep(self, delay: Seconds) -> None:
        raise NotImplementedError(delay)


def replay(reads: Sequence[Read], capacity: int, *, ahead: bool) -> Outcome:
    """Return what a cache of `capacity` bytes (contents, where the trace has no sizes) makes of the trace."""
    cache: OrderedDict[str, int] = OrderedDict()
    sizes: dict[str, int] = {}
    held = 0
    counts: dict[str, list[int]] = {}
    clock, learner, outcome = _TraceClock(), predictor(), Outcome()
    judge = Judge(clock, window=DEFAULTS.window, wait_weight=DEFAULTS.wait_weight, counted=counts.get)
    largest = max(capacity // LARGEST_SHARE, 1)

    def keep(content_id: str, size: int) -> None:
        nonlocal held
        cache[content_id] = size
        held += size
        while held > capacity:
            held -= cache.popitem(last=False)[1]

    start = int(len(reads) * WARM_UP_SHARE)
    for number, read in enumerate(reads):
        if number == start:
            outcome.reads = outcome.hits = 0
        clock.at = read.at
        sizes[read.content_id] = read.size
        hit = read.content_id in cache
        outcome.reads += 1
        outcome.hits += hit
        counts.setdefault(read.content_id, [0] * len(ReadKind))[ReadKind.MEMORY if hit else ReadKind.STORAGE] += 1
        if hit:
            cache.move_to_end(read.content_id)
        elif read.size <= largest:
            keep(read.content_id, read.size)
        if not ahead:
            continue
        learner.note(read.content_id, read.session, moment(read.at))
        if number % FLUSH_EVERY == 0:
            while learner.learn(moment(read.at), most=100):
                pass
            judge.look_through(counts)
            counts.clear()
        if not judge.may_prefetch():
            continue
        fetched = 0
        for prediction in learner.predict(read.content_id, limit=MOST_RELATED):
            size = sizes.get(prediction.content_id, 1)
            if prediction.access_probability * DEFAULTS.wait_weight <= 1 + size / largest:
                break
            if fetched >= MOST_AT_ONCE_PER_READ or not judge.may_prefetch():
                break
            if prediction.content_id in cache or judge.is_outstanding(prediction.content_id) or size > largest:
                continue
            keep(prediction.content_id, size)
            judge.note_fetched(prediction.content_id, size, cost_of_miss(size, is_paid=False))
            fetched += 1
    outcome.fetched, outcome.fetched_bytes = judge.fetched, judge.fetched_bytes
    outcome.used, outcome.wasted_bytes = judge.used, judge.wasted_bytes
    outcome.switched_off = judge.switched_off
    return outcome
