"""What a read brings, and from where."""

from dataclasses import dataclass

from thermocline.ports.cache import CacheEntry
from thermocline.services.tracking import ReadKind


@dataclass(frozen=True, slots=True)
class Loaded:
    """A whole content, verified."""

    entry: CacheEntry
    kind: ReadKind
    """What served it: this process's memory, the shared cache, or storage."""
