"""Sequences of reads, and their replay through our eviction and through libcachesim's S3-FIFO, the oracle."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import libcachesim
import numpy as np
from numpy.random import Generator

from bench.co_access.traces import FOLDER, load
from thermocline.adapters.cache.eviction import Evictable, Eviction, TrialAndMain
from thermocline.adapters.cache.memory import LARGEST_SHARE

Ids = np.ndarray[Any, np.dtype[np.int64]]
Reads = Sequence[tuple[int, int]]
"""Which object, of what size."""

_ELSEWHERE = 1_000_000


def zipf(dice: Generator, objects: int, reads: int, alpha: float) -> Ids:
    weights = 1.0 / np.arange(1, objects + 1) ** alpha
    return dice.permutation(objects)[dice.choice(objects, reads, p=weights / weights.sum())].astype(np.int64)


def zipf_by(alpha: float) -> Callable[[Generator, int], Ids]:
    return lambda dice, reads: zipf(dice, reads // 6, reads, alpha)


def with_scans(dice: Generator, reads: int) -> Ids:
    """A third of the reads scan objects that are read once."""
    popular = np.array_split(zipf(dice, reads // 12, reads * 2 // 3, 0.9), 10)
    scans = np.array_split(np.arange(_ELSEWHERE, _ELSEWHERE + reads // 3), 10)
    return np.concatenate([part for pair in zip(popular, scans, strict=True) for part in pair])


def loop_of(times: float) -> Callable[[Generator, int], Ids]:
    """A loop over so many times what the larger of the two capacities holds; the rest is read once."""

    def made(_dice: Generator, reads: int) -> Ids:
        once = reads // 6
        length = max(2, round(times * once / (10 - times)))
        return np.concatenate(
            [np.tile(np.arange(length), (reads - once) // length), np.arange(_ELSEWHERE, _ELSEWHERE + once)]
        )

    return made


def loop_and_zipf(dice: Generator, reads: int) -> Ids:
    loop = np.arange(reads) % (reads // 15) + _ELSEWHERE
    return np.where(dice.random(reads) < 0.3, loop, zipf(dice, reads // 12, reads, 0.9))


def shifting(dice: Generator, reads: int) -> Ids:
    """What is popular changes all at once, five times."""
    return np.concatenate([zipf(dice, reads // 8, reads // 5, 0.9) for _ in range(5)])


def drifting(dice: Generator, reads: int) -> Ids:
    """What is popular changes little by little."""
    weights = 1.0 / np.arange(1, reads // 20 + 1) ** 0.9
    return dice.choice(reads // 20, reads, p=weights / weights.sum()) + np.arange(reads) // 10


def wonders(share: float) -> Callable[[Generator, int], Ids]:
    """Of the objects, `share` is read once."""

    def made(dice: Generator, reads: int) -> Ids:
        once = reads * 3 // 10
        others = zipf(dice, int(once * (1 - share) / share) + 1, reads - once, 0.9)
        return dice.permutation(np.concatenate([others, np.arange(_ELSEWHERE, _ELSEWHERE + once)]))

    return made


def flash_crowd(dice: Generator, reads: int) -> Ids:
    ids = zipf(dice, reads // 7, reads, 0.8)
    for number in range(5):
        start = reads * (2 * number + 1) // 10
        crowd = slice(start, start + reads // 25)
        ids[crowd] = np.where(dice.random(reads // 25) < 0.7, _ELSEWHERE + number, ids[crowd])
    return ids


def bursts(dice: Generator, reads: int) -> Ids:
    """Each object is read four times within a while, and never again."""
    objects = reads // 4
    when = dice.integers(0, reads, objects).repeat(4) + dice.exponential(reads / 300, objects * 4)
    return np.arange(objects).repeat(4)[np.argsort(when, kind="stable")]


SHAPES: Mapping[str, Callable[[Generator, int], Ids]] = {
    **{f"zipf {alpha}": zipf_by(alpha) for alpha in (0.6, 0.8, 1.0, 1.2)},
    **{f"loop {times}": loop_of(times) for times in (1.02, 1.1, 1.5, 2.0, 3.0)},
    **{f"once {share}": wonders(share) for share in (0.4, 0.8)},
    "scans": with_scans,
    "loop and zipf": loop_and_zipf,
    "shifting": shifting,
    "drifting": drifting,
    "flash crowd": flash_crowd,
    "bursts": bursts,
}


def make_reads(shape: str, seed: int, reads: int, *, sized: bool) -> Reads:
    """Return such a sequence; `sized`: sizes are log-normal, otherwise 1."""
    ids = SHAPES[shape](np.random.default_rng(seed), reads)
    if not sized:
        return [(int(number), 1) for number in ids]
    dice = np.random.default_rng(seed + 1)
    objects = np.unique(ids)
    sizes = np.minimum(np.exp(dice.normal(np.log(20_000), 1.8, len(objects))), 5e6).astype(int) + 1
    size_of = dict(zip(objects.tolist(), sizes.tolist(), strict=True))
    return [(number, size_of[number]) for number in ids.tolist()]


TRACES: Final = ("online_retail_374d", "gitlog_minio_11y", "semicomplete_weblog_4d")


def read_trace(name: str, *, sized: bool) -> Reads:
    """Return the reads of a trace of `bench/traces`; `sized`: each object at its largest, 1 where no size is known."""
    rows = [(read.content_id, read.size) for read in load(FOLDER / f"{name}.csv.zst")]
    numbers: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for obj, size in rows:
        numbers.setdefault(obj, len(numbers))
        sizes[obj] = max(size, sizes.get(obj, 1)) if sized else 1
    return [(numbers[obj], sizes[obj]) for obj, _ in rows]


def footprint(reads: Reads) -> int:
    return sum(dict(reads).values())


def ours(reads: Reads, capacity: int, make: Callable[[int], Eviction] = TrialAndMain) -> tuple[float, float]:
    """Return the hit ratios, by object and by byte, of a cache that does what `MemoryCache` does."""
    eviction, held, used = make(capacity), dict[int, Evictable](), 0
    largest = capacity if {size for _, size in reads} == {1} else capacity * LARGEST_SHARE
    hits = hit_bytes = 0
    for number, size in reads:
        value = held.get(number)
        if value is not None:
            value.hits += 1
            hits += 1
            hit_bytes += size
        elif size <= largest:
            held[number] = value = Evictable(number, size)
            eviction.add(value)
            used += size
            while used > capacity:
                victim = eviction.give_up()
                del held[victim.key_hash]
                used -= victim.cost
    return hits / len(reads), hit_bytes / sum(size for _, size in reads)


def oracle(reads: Reads, capacity: int, policy: Any = libcachesim.S3FIFO) -> tuple[float, float]:
    """Return the hit ratios of libcachesim's policy."""
    cache, request = policy(capacity, hashpower=14), libcachesim.Request()
    hits = hit_bytes = 0
    for number, size in reads:
        request.obj_id, request.obj_size = number, size
        if cache.get(request):
            hits += 1
            hit_bytes += size
    return hits / len(reads), hit_bytes / sum(size for _, size in reads)
