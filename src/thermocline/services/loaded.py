"""What a read brings, and from where."""

from typing import NamedTuple

from thermocline.ports.cache import CacheEntry
from thermocline.services.tracking import ReadKind


class Loaded(NamedTuple):
    """A whole content, verified."""

    entry: CacheEntry
    kind: ReadKind
    """What served it: this process's memory, the shared cache, or storage."""
