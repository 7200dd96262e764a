"""Predictions of reads: pushed from outside, or learned from our own reads."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from thermocline.domain.content_id import ContentId, parse_content_id
from thermocline.domain.errors import InvalidInputError
from thermocline.domain.units import Seconds

KEYS = frozenset({"content_id", "access_probability"})


@dataclass(frozen=True, slots=True)
class Prediction:
    """How likely a content is read soon. Raises `InvalidInputError` unless the probability is in [0, 1]."""

    content_id: ContentId
    access_probability: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.access_probability <= 1.0:  # false of NaN too
            raise InvalidInputError(f"access_probability must be from 0 to 1, not {self.access_probability!r}")


class WarmOutcome(StrEnum):
    """What became of a predicted content."""

    WARMED = "warmed"
    ALREADY_CACHED = "already_cached"
    BELOW_THRESHOLD = "below_threshold"
    NOT_FOUND = "not_found"
    ARCHIVED = "archived"
    """It would have to be restored first, which warming never asks for."""
    NEVER_CACHED = "never_cached"
    """Its tier has no lifetime in caches."""
    TOO_LARGE = "too_large"
    """Larger than what is cached at all."""
    OVER_BUDGET = "over_budget"
    PAST_DEADLINE = "past_deadline"
    FAILED = "failed"


def parse_prediction(given: object) -> Prediction:
    """Return the prediction that a JSON value, or a `Prediction`, is. Raises `InvalidInputError`."""
    if isinstance(given, Prediction):
        return given
    if not isinstance(given, Mapping) or set(given) != KEYS:
        raise InvalidInputError(
            'a prediction is written {"content_id": "a/b", "access_probability": 0.9}, no more keys'
        )
    return Prediction(parse_content_id(_text(given["content_id"])), _number(given["access_probability"]))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidInputError(f"content_id must be text, not {type(value).__name__}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInputError(f"access_probability must be a number, not {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    return number


FIRST_BYTE: Final = Seconds(0.03)
"""How long a bucket in the same region takes to answer, roughly; only ratios matter here."""
BYTES_PER_SECOND: Final = 50_000_000
"""What one reader gets from a bucket, roughly."""
PAID_FACTOR: Final = 2.5
"""A read that costs retrieval money weighs so much more: the price of a GET in S3's Standard-IA over Standard (0.001 to
0.0004 US dollars a thousand, us-east-1, November 2026)."""


def cost_of_miss(size: int, *, is_paid: bool) -> Seconds:
    """Return what it costs to read so many bytes from storage, as the time that a reader would wait."""
    return Seconds((FIRST_BYTE + size / BYTES_PER_SECOND) * (PAID_FACTOR if is_paid else 1.0))
