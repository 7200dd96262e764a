"""Objects that a recovery finds in the stores, and how they stand to the catalog.

The catalog may be a backup, older than the stores. Whether an unknown object was ever acknowledged, no store knows;
how it is ordered among its content's others, its key and attributes tell.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from thermocline.domain.content import ObjectAttributes, Record
from thermocline.domain.content_id import ContentId
from thermocline.domain.keys import token_time
from thermocline.domain.units import Bytes, Timestamp

LARGEST_RANK = 2**62
"""Revisions are microseconds since 1970: what is beyond was not written by us."""
_MILLISECOND = 1000


@dataclass(frozen=True, slots=True)
class FoundObject:
    """The newest unknown object of a content, so far."""

    content_id: ContentId
    object_key: str
    placement: str
    token: str
    rank: int
    """The revision, where the object carries it; else when its upload began, comparable with revisions."""
    size: Bytes
    finished_at: Timestamp
    """By the store's clock."""
    attributes: Mapping[str, str]
    rival_at: Timestamp = Timestamp(0)
    """When the latest of the content's other unknown objects was finished; 0: there is none."""

    @property
    def is_contested(self) -> bool:
        """Whether another object was finished after this one was begun: then their order cannot be told."""
        return self.rival_at >= self.rank + _MILLISECOND


def rank_of(attributes: ObjectAttributes, token: str) -> int | None:
    """Return what orders an object among those of its content, or None if it cannot be one of ours."""
    rank = token_time(token) if attributes.revision is None else attributes.revision
    return rank if 0 <= rank < LARGEST_RANK else None


@dataclass(frozen=True, slots=True)
class Standing:
    """What the catalog knows of a content: a record, or that it was deleted."""

    revision: int
    version: int
    record: Record | None
    """None: a catalog tombstone."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A found object beside what the catalog knows of its content."""

    found: FoundObject
    standing: Standing | None
    """None: the catalog does not know the content."""
