"""On a real trace, what is read next is predicted better than by counting all pairs in unbounded memory."""

import pytest

from bench.co_access.judging import judge
from bench.co_access.replay import replay
from bench.co_access.traces import FOLDER, load
from thermocline.domain.units import Bytes

pytestmark = pytest.mark.thorough
RETAIL = "online_retail_374d.csv.zst"


@pytest.mark.thorough
@pytest.mark.parametrize("memory", [None, Bytes(8 * 2**20)], ids=["default", "8 MiB"])
def test_precision_and_hits_on_the_retail_trace(memory: Bytes | None) -> None:
    """The protocol is `bench.co_access.judging`'s; a public simple method reaches .19 and .54 there."""
    reads = load(FOLDER / RETAIL)
    ours, popularity = judge(reads) if memory is None else judge(reads, memory)
    print(f"precision@5 {ours.precision:.4f}, hit@5 {ours.hit:.4f}; popularity {popularity}")  # noqa: T201
    assert ours.precision > 0.19
    assert ours.hit > 0.54
    assert popularity.precision < 0.08


@pytest.mark.parametrize(
    ("name", "precision", "hit"),
    [("gitlog_minio_11y.csv.zst", 0.15, 0.5), ("semicomplete_weblog_4d.csv.zst", 0.45, 0.68)],
)
def test_traces_that_nothing_was_chosen_for(name: str, precision: float, hit: float) -> None:
    ours, _ = judge(load(FOLDER / name))
    assert ours.precision > precision
    assert ours.hit > hit


def test_fetching_ahead_raises_the_hit_ratio_of_a_cache_of_the_same_size() -> None:
    reads = load(FOLDER / "semicomplete_weblog_4d.csv.zst")
    capacity = sum({read.content_id: read.size for read in reads}.values()) // 10
    without, ahead = replay(reads, capacity, ahead=False), replay(reads, capacity, ahead=True)
    print(f"{without.hit_ratio:.4f} without, {ahead.hit_ratio:.4f} with: {ahead}")  # noqa: T201
    assert without.fetched == 0
    assert ahead.hit_ratio > without.hit_ratio
    assert ahead.used > ahead.fetched / 5
