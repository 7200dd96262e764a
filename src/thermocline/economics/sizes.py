"""Sizes drawn for objects whose trace has none, or too small ones to matter."""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from thermocline.domain.errors import InvalidInputError
from thermocline.domain.units import LARGEST_SIZE, Bytes, parse_size
from thermocline.economics.sheets import Sizes

SMALLEST_SHARE: Final = 0.0325
"""Of the median: 130 KB where it is 4 MB."""
LARGEST_SHARE: Final = 1250
"""Of the median: 5 GB where it is 4 MB."""
LARGEST_SIGMA: Final = 10.0
LARGEST_SEED: Final = 2**64 - 1
_PARTS: Final = 4
_UNITS: Final = (("GB", 10**9), ("MB", 10**6), ("KB", 10**3))
_WRITTEN: Final = "lognormal:MEDIAN:SIGMA:SEED, such as lognormal:4MB:1.8:1"


@dataclass(frozen=True, slots=True)
class LogNormalSizes:
    """A log-normal distribution, cut off at `SMALLEST_SHARE` and `LARGEST_SHARE` of its median."""

    median: Bytes
    sigma: float
    seed: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what `lognormal:4MB:1.8:1` says. Raises `InvalidInputError`."""
        parts = text.split(":")
        if len(parts) != _PARTS or parts[0] != "lognormal":
            raise InvalidInputError(f"not a distribution of sizes: {text!r}; write {_WRITTEN}")
        try:
            median, sigma, seed = parse_size(parts[1]), float(parts[2]), int(parts[3])
        except ValueError as exc:
            raise InvalidInputError(f"not a distribution of sizes: {text!r} ({exc}); write {_WRITTEN}") from exc
        if not (
            0 < median <= LARGEST_SIZE // LARGEST_SHARE and 0 <= sigma <= LARGEST_SIGMA and 0 <= seed <= LARGEST_SEED
        ):
            raise InvalidInputError(
                f"not a distribution of sizes: {text!r}; the median is above 0, sigma from 0 to {LARGEST_SIGMA:g}, "
                "the seed not negative"
            )
        return cls(median, sigma, seed)

    def draw(self, object_ids: Iterable[str]) -> Sizes:
        """Return a size for each object: the same for the same id and seed, whatever else is in the trace."""
        salt = self.seed.to_bytes(8, "little")
        digests = b"".join(
            hashlib.blake2b(object_id.encode("utf-8", "surrogatepass"), digest_size=8, salt=salt).digest()
            for object_id in object_ids
        )
        halves = np.frombuffer(digests, "<u4").astype(np.float64).reshape(-1, 2)
        uniform = (halves + 0.5) / 2.0**32
        normal = np.sqrt(-2.0 * np.log(uniform[:, 0])) * np.cos(2.0 * math.pi * uniform[:, 1])
        sizes = self.median * np.exp(self.sigma * normal)
        least, most = self.median * SMALLEST_SHARE, self.median * LARGEST_SHARE
        cut: Sizes = np.clip(sizes, least, most).round().astype(np.int64)
        return cut

    def __str__(self) -> str:
        unit, factor = next((each for each in _UNITS if self.median % each[1] == 0), ("", 1))
        return f"lognormal:{self.median // factor}{unit}:{self.sigma:g}:{self.seed}"
