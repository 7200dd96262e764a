"""Losses lie in the bins of the objects that they are of."""

from collections import defaultdict

import numpy as np
import pytest

from tests.economics.naive import random_history
from thermocline.economics.losses import READ_BINS, SIZE_BINS, losses


@pytest.mark.parametrize("seed", range(6))
def test_every_object_is_in_the_bin_of_its_size_and_reads(seed: int) -> None:
    draws = np.random.default_rng(seed)
    history = random_history(draws, objects=70, days=200, share=float(draws.choice([0.0, 0.03, 0.3])))
    history = history.with_sizes(history.sizes * draws.integers(1, 1000, 70))
    start = int(draws.integers(0, 150))
    optimum, policy = draws.random(70), draws.random(70) + 1
    found = losses(history, start, optimum, {"p": policy})
    counts: dict[tuple[str, str], int] = defaultdict(int)
    beyond: dict[tuple[str, str], float] = defaultdict(float)
    for number in range(70):
        size = int(history.sizes[number])
        edges = zip((131_072, 10**6, 10**7, 10**8, 10**9), SIZE_BINS, strict=False)
        size_bin = next((name for edge, name in edges if size < edge), SIZE_BINS[-1])
        days = [int(day) for day in history.read_days[history.objects == number] if day >= start]
        monthly = len(days) / ((200 - max(start, int(history.first_day[number]))) / 30.4375)
        reads = zip((1e-9, 1, 3, 10), READ_BINS, strict=False)
        read_bin = next((name for edge, name in reads if monthly < edge), READ_BINS[-1])
        counts[size_bin, read_bin] += 1
        beyond[size_bin, read_bin] += policy[number] - optimum[number]
    for row, size_bin in enumerate(SIZE_BINS):
        for column, read_bin in enumerate(READ_BINS):
            assert found.objects[row, column] == counts[size_bin, read_bin]
            assert found.beyond["p"][row, column] == pytest.approx(beyond[size_bin, read_bin])
    assert found.sizes.sum() == pytest.approx(history.sizes.sum())
    twice = found.plus(found)
    np.testing.assert_array_equal(twice.objects, 2 * found.objects)
    np.testing.assert_allclose(twice.beyond["p"], 2 * found.beyond["p"])
