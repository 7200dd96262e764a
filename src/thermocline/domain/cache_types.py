"""Types of cached values: each has its lifetime and its largest value, and its keys begin with its name."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from thermocline.domain.errors import InvalidInputError
from thermocline.domain.units import Bytes, Seconds

CONTENT: Final = "content"
"""Bytes of contents, as the catalog knows them."""
OWN_CONTENT: Final = "content.own"
"""What was cached as content but is none: the catalog knows no such id."""
TYPE_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
"""What a type may be called: fit to begin a key."""


@dataclass(frozen=True, slots=True)
class CacheType:
    """What holds for the values of one type."""

    name: str
    ttl: Seconds
    """Their lifetime, unless the caller or the tier says another."""
    max_size: Bytes
    """Larger values are refused."""


def unknown_type(name: str, known: Iterable[str]) -> InvalidInputError:
    """Return what to tell about a type that the settings lack."""
    return InvalidInputError(
        f"there is no cache type {name!r}; there are {', '.join(known)}; others are made by "
        f"[cache.types.{name}] in the settings"
    )


def type_of(key: str) -> str:
    """Return the name of the cache type that a key belongs to."""
    name = key.partition(":")[0]
    return CONTENT if name == OWN_CONTENT else name


def content_key(content_id: str) -> str:
    """Return the key of a content's bytes in every cache."""
    return "content:" + content_id


def value_key(cache_type: str, content_id: str) -> str:
    """Return the key of a value that no record stands behind."""
    return f"{OWN_CONTENT if cache_type == CONTENT else cache_type}:{content_id}"
