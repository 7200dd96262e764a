"""The costing rules again, one object and one day at a time, from the words of the design."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from thermocline.economics.bills import Moves
from thermocline.economics.figures import ClassPrices
from thermocline.economics.histories import History
from thermocline.economics.starts import Starts

MONTH = 30.4375
GB = 1e9


@dataclass(frozen=True)
class Rules:
    """Under which an object is billed."""

    classes: Sequence[ClassPrices]
    stages: tuple[int, int] = (30, 90)
    delayed_read: float = 0.0


def storage_a_day(prices: ClassPrices, size: int, stage: int = 0) -> float:
    """Of one object, without monitoring."""
    billed = max(size, prices.minimum_bytes) + prices.value("overhead_bytes")
    rate = prices.value("storage")
    if prices.is_watching and size >= prices.value("monitored_bytes"):
        rate = [rate, prices.value("storage_after_30_days"), prices.value("storage_after_90_days")][stage]
    own = rate * billed / GB
    index = prices.value("overhead_bytes_standard") * prices.value("overhead_storage") / GB
    return (own + index) / MONTH


def bill_object(
    rules: Rules,
    size: int,
    reads: set[int],
    moves: dict[int, int],
    begin: int,
    end: int,
    last_read: int,
    place: int = 0,
    been_there: int = 0,
) -> float:
    """What one object costs from `begin` to before `end`; `moves` by day; `last_read` before `begin`.

    It begins in `place`, and has been there for some days.
    """
    since, cost = begin - been_there, 0.0
    for day in range(begin, end):
        if day in moves:
            source, target = rules.classes[place], rules.classes[moves[day]]
            cost += target.transition / 1000
            abroad = source.vendor != target.vendor
            if (abroad or target.value("rank") < source.value("rank")) and day - 1 not in reads:
                cost += (source.value("get") + source.value("retrieval_request")) / 1000
                cost += source.value("retrieval") * size / GB
            if abroad:
                cost += source.value("egress") * size / GB
            left = max(source.minimum_days - (day - since), 0)
            cost += left * storage_a_day(source, size)
            place, since = moves[day], day
        prices = rules.classes[place]
        if day in reads:
            last_read = day
        silence = day - max(last_read, since)
        stage = sum(silence >= days for days in rules.stages)
        cost += storage_a_day(prices, size, stage)
        if prices.is_watching and size >= prices.value("monitored_bytes"):
            cost += prices.value("monitoring") / 1000 / MONTH
        if day in reads:
            cost += (prices.value("get") + prices.value("retrieval_request")) / 1000
            cost += prices.value("retrieval") * size / GB
            if prices.vendor != rules.classes[0].vendor:
                cost += prices.value("egress") * size / GB
            if prices.first_byte > 0:
                cost += rules.delayed_read
    return cost


def bills(rules: Rules, history: History, moves: Moves, start: int, starts: Starts | None = None) -> list[float]:
    """Of each object."""
    return [
        bill_object(
            rules,
            int(history.sizes[number]),
            reads_of(history, number),
            {
                int(day): int(place)
                for mover, day, place in zip(moves.objects, moves.days, moves.classes, strict=True)
                if mover == number
            },
            max(int(history.first_day[number]), start),
            history.days,
            last_read_of(history, number, start),
            *_begun(starts, number),
        )
        for number in range(history.object_count)
    ]


def _begun(starts: Starts | None, number: int) -> tuple[int, int]:
    return (0, 0) if starts is None else (int(starts.places[number]), int(starts.days[number]))


def reads_of(history: History, number: int) -> set[int]:
    return {int(day) for day in history.read_days[history.objects == number]}


def last_read_of(history: History, number: int, start: int) -> int:
    return max((day for day in reads_of(history, number) if day < start), default=int(history.first_day[number]))


def cheapest(rules: Rules, history: History, number: int, start: int, starts: Starts | None = None) -> float:
    """Of all sequences of classes that one object can go through."""
    begin = max(int(history.first_day[number]), start)
    was_there = int(history.first_day[number]) < start
    reads, last_read = reads_of(history, number), last_read_of(history, number, start)
    place, been_there = _begun(starts, number)
    return min(
        bill_object(rules, int(history.sizes[number]), reads, moves, begin, history.days, last_read, place, been_there)
        for moves in _all_moves(len(rules.classes), place, begin, history.days, was_there=was_there)
    )


def _all_moves(classes: int, begun: int, begin: int, end: int, *, was_there: bool) -> Iterator[dict[int, int]]:
    first = range(classes) if was_there else (begun,)
    for rest in itertools.product(range(classes), repeat=end - begin - 1):
        for place in first:
            path = (begun, place, *rest)
            yield {begin + day: now for day, (before, now) in enumerate(itertools.pairwise(path)) if now != before}


def random_history(draws: np.random.Generator, *, objects: int, days: int, share: float) -> History:
    """Some objects that appear at some time and are read on some days, several times on some."""
    first = draws.integers(0, max(days - 1, 1), objects)
    first[0] = 0
    reads = [
        (number, day, int(draws.integers(1, 4)))
        for number in range(objects)
        for day in range(int(first[number]), days)
        if day == first[number] or draws.random() < share
    ]
    rows = np.array(reads, np.int64)
    sizes = np.exp(draws.normal(13, 2, objects)).astype(np.int64) + 1
    return History(
        20_000,
        days,
        sizes,
        first.astype(np.int32),
        rows[:, 0].astype(np.int32),
        rows[:, 1].astype(np.int32),
        rows[:, 2],
    )


def random_starts(draws: np.random.Generator, history: History, start: int, classes: int, *, longest: int) -> Starts:
    """Places and, for what is there when it starts, days in them."""
    days = np.minimum(draws.integers(0, longest + 1, history.object_count), np.maximum(start - history.first_day, 0))
    return Starts(draws.integers(0, classes, history.object_count).astype(np.int8), days.astype(np.int32))


def random_classes(draws: np.random.Generator, names: Sequence[str]) -> tuple[ClassPrices, ...]:
    """Classes whose prices make many different moves worth while within days."""
    from thermocline.economics.price_books import chosen, with_overrides

    figures = {
        name: {
            "storage": float(draws.choice([0.1, 1, 3]) * draws.random()),
            "get": float(draws.choice([0, 0.001]) * draws.random()),
            "retrieval": float(draws.choice([0, 0.02, 0.2]) * draws.random()),
            "transition": float(draws.choice([0, 0.001, 0.02]) * draws.random()),
            "minimum_bytes": int(draws.choice([0, 500_000])),
            "minimum_days": 0 if name == "s3.intelligent" else int(draws.integers(0, 6)),
            "egress": float(draws.choice([0, 0.02])),
            "first_byte_seconds": float(draws.choice([0, 60])),
        }
        for name in names
    }
    for name in names:
        if name == "s3.intelligent":
            figures[name] |= {
                "storage_after_30_days": figures[name]["storage"] * 0.6,
                "storage_after_90_days": figures[name]["storage"] * 0.3,
                "monitoring": float(draws.choice([0, 0.02])),
                "monitored_bytes": 100_000,
            }
    return chosen(with_overrides(figures), names)
