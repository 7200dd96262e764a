"""Drawn sizes: the distribution that was asked for, and for one object always the same."""

import numpy as np
import pytest

from thermocline.domain.errors import InvalidInputError
from thermocline.economics.sizes import LogNormalSizes

NAMES = [f"object {number}" for number in range(20_000)]


def test_an_objects_size_does_not_depend_on_the_others() -> None:
    drawn = LogNormalSizes.parse("lognormal:4MB:1.8:1")
    sizes = drawn.draw(NAMES)
    assert drawn.draw(NAMES[500:510]).tolist() == sizes[500:510].tolist()
    assert drawn.draw(reversed(NAMES))[::-1].tolist() == sizes.tolist()
    assert (LogNormalSizes.parse("lognormal:4MB:1.8:2").draw(NAMES) != sizes).mean() > 0.9
    assert drawn.draw(["\udcff", "é", ""]).tolist() == drawn.draw(["\udcff", "é", ""]).tolist()
    assert drawn.draw(["LICENSE"]).tolist() == [15_030_033], "of this version and every later one"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_distribution_is_the_one_asked_for(seed: int) -> None:
    sizes = LogNormalSizes.parse(f"lognormal:4MB:1.8:{seed}").draw(NAMES)
    logs = np.log(sizes)
    assert np.median(sizes) == pytest.approx(4e6, rel=0.06)
    low, high = np.quantile(logs, [0.1587, 0.8413])
    assert (high - low) / 2 == pytest.approx(1.8, rel=0.03)
    assert sizes.min() == 130_000
    assert sizes.max() <= 5_000_000_000


@pytest.mark.parametrize(
    "text",
    [
        "lognormal", "lognormal:4MB:1.8", "lognormal:4MB:1.8:1:2", "normal:4MB:1.8:1", "lognormal:4XB:1.8:1",
        "lognormal:4MB:-1:1", "lognormal:4MB:nan:1", "lognormal:4MB:1.8:x", "lognormal:4MB:1.8:-1", "lognormal:0:1:1",
        "lognormal:9000000TB:1:1", "lognormal:4MB:11:1", "",
    ],
)  # fmt: skip
def test_what_is_no_distribution_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="not a distribution of sizes"):
        LogNormalSizes.parse(text)
