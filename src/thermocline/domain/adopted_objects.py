"""Objects that somebody else made and contents adopted where they lie: by what each is known again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from thermocline.domain.units import MICROS_PER_SECOND, Bytes, Timestamp


@dataclass(frozen=True, slots=True)
class ObjectStamp:
    """What changes when an object is replaced, by its store's own word."""

    size: Bytes
    modified_at: Timestamp | None
    """A whole second; None: nobody knows any more."""
    etag: str | None = None
    """None: nobody knows, or the store has none."""

    @classmethod
    def seen(cls, size: Bytes, modified_at: Timestamp, etag: str | None) -> "ObjectStamp":
        """Return the stamp of an object as its store describes it now."""
        return cls(size, Timestamp(modified_at // MICROS_PER_SECOND * MICROS_PER_SECOND), etag)

    def is_kept_by(self, now: "ObjectStamp") -> bool:
        """Whether the object is surely still the one of this stamp. An unknown time proves nothing."""
        is_same = (self.size, self.modified_at) == (now.size, now.modified_at)
        return is_same and self.modified_at is not None and (self.etag is None or self.etag == now.etag)


@dataclass(frozen=True, slots=True)
class BarredObjects:
    """Adopted objects that no record names any more, and that nobody can adopt until they are let go."""

    token: str
    """Whose bar it is."""
    stamps: Mapping[str, Sequence[ObjectStamp]]
    """By object key: the object as each content had adopted it."""
    busy: frozenset[str]
    """Those that something is at work on just now: an adoption, or an earlier deletion that is not settled."""
