"""What a read brings, and from where."""

from typing import NamedTuple

from thermocline.ports.cache import CacheEntry
from thermocline.services.cache_levels import Found, Level
from thermocline.services.tracking import ReadKind

_KINDS = {Level.MEMORY: ReadKind.MEMORY, Level.SHARED: ReadKind.REDIS}


class Loaded(NamedTuple):
    """A whole content, verified."""

    entry: CacheEntry
    kind: ReadKind
    """What served it: this process's memory, the shared cache, or storage."""


def loaded_from(found: Found) -> Loaded:
    """Return what a cache level had."""
    return Loaded(found.entry, _KINDS[found.level])
