"""Whether an unknown object shall become the live one of its content, and what its record is then."""

from dataclasses import dataclass, replace
from enum import StrEnum

from thermocline.domain.content import ObjectAttributes, Record, StoredHeaders, Visibility
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import InvalidMetadataError
from thermocline.domain.recovery import Candidate, FoundObject


class Fate(StrEnum):
    """What becomes of an unknown object."""

    ADOPTED = "adopted"
    """It is the live object of its content now."""
    LEFT = "left"
    """It is older than what the catalog has; the sweep will remove it."""
    UNCLEAR = "unclear"
    """It may be newer than what the catalog has, or the content is on hold; nothing was changed."""
    CONTRADICTED = "contradicted"
    """Its bytes are not those that it says it has."""
    ARCHIVED = "archived"
    """It cannot be read before its store restores it, and does not say what its bytes are; it waits for a later run."""
    UNREADABLE = "unreadable"
    """Its store answers, but could not read it; it waits for a later run."""
    FOREIGN = "foreign"
    """It does not say what it is."""

    @property
    def needs_a_look(self) -> bool:
        """Whether somebody should look at it before the recovery is confirmed."""
        return self not in {Fate.ADOPTED, Fate.LEFT}


@dataclass(frozen=True, slots=True)
class Judgement:
    """What shall become of an object, and why."""

    fate: Fate
    detail: str
    unproven: bool = False
    """Of an adopted one: whether it could not be proven that these are the content's newest bytes."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one unknown object, and why."""

    fate: Fate
    content_id: ContentId
    object_key: str
    detail: str
    replaced: str | None = None
    """The object key that the record named before."""
    unproven: bool = False
    """Whether the bytes, or that they are the newest, could not be proven."""


def depends_on_the_live_object(candidate: Candidate) -> Record | None:
    """Return the record whose object decides, by being there or not, what becomes of the candidate; or None."""
    record = None if candidate.standing is None else candidate.standing.record
    if record is not None and (record.held or candidate.found.rank <= record.revision):
        return record
    return None


def judge(candidate: Candidate, *, live_object_is_gone: bool) -> Judgement:
    """Return what becomes of the candidate, if its bytes are what they say.

    `live_object_is_gone` tells of the record that `depends_on_the_live_object` returned.
    """
    found, standing = candidate.found, candidate.standing
    if standing is None:
        return Judgement(Fate.ADOPTED, "the catalog did not know the content", found.is_contested)
    record, is_newer = standing.record, found.rank > standing.revision
    if live_object_is_gone and record is not None:
        return Judgement(Fate.ADOPTED, "the record's object was gone", not is_newer and not is_copy_of(found, record))
    if is_newer and record is not None and record.held:
        return Judgement(Fate.UNCLEAR, "it is newer than the record, which is on hold")
    if is_newer:
        known = "deletion" if record is None else "record"
        return Judgement(Fate.ADOPTED, f"it is newer than the catalog's {known}", found.is_contested)
    if found.rank < standing.revision < found.finished_at:
        return Judgement(
            Fate.UNCLEAR, "its upload began before the catalog's last change of the content and ended after it"
        )
    return Judgement(Fate.LEFT, "the catalog has the same or newer bytes")


def is_copy_of(found: FoundObject, record: Record) -> bool:
    """Whether a move made this object of the record's own bytes."""
    return found.rank == record.revision and found.attributes.get("sha256") == record.digest.hex()


def adopted_record(
    candidate: Candidate, attributes: ObjectAttributes, digest: bytes, chunk_digests: bytes | None, *, unproven: bool
) -> Record:
    """Return what the content's record shall be; of what the object does not tell, the most careful value.

    The revision is the least that it may be. `chunk_digests` is None if the bytes could not be read.
    """
    found, standing = candidate.found, candidate.standing
    old = None if standing is None else standing.record
    if old is not None and is_copy_of(found, old):
        return replace(
            old,
            placement=found.placement,
            object_key=found.object_key,
            chunk_digests=old.chunk_digests if chunk_digests is None else chunk_digests,
            tier=attributes.tier,
            tier_since=attributes.transitioned_at or old.tier_since,
        )
    begun_at = attributes.created_at
    return Record(
        content_id=found.content_id,
        revision=found.rank + 1,
        version=0,
        placement=found.placement,
        object_key=found.object_key,
        digest=digest,
        chunk_digests=chunk_digests or b"",
        size=found.size,
        headers=_headers_of(attributes),
        metadata={},
        tier=attributes.tier,
        tier_since=attributes.transitioned_at or begun_at,
        visibility=Visibility.PRIVATE,
        created_at=begun_at if old is None else old.created_at,
        modified_at=begun_at,
        expires_at=None,
        held=old is not None and old.held,
        pinned=old is not None and old.pinned,
        unproven=unproven,
    )


def outcome_of(candidate: Candidate, judgement: Judgement) -> Outcome:
    """Return what became of the candidate, for people."""
    found, standing = candidate.found, candidate.standing
    record = None if standing is None else standing.record
    adopted = judgement.fate is Fate.ADOPTED
    return Outcome(
        judgement.fate,
        found.content_id,
        found.object_key,
        judgement.detail,
        replaced=record.object_key if adopted and record is not None else None,
        unproven=adopted and judgement.unproven,
    )


def _headers_of(attributes: ObjectAttributes) -> StoredHeaders:
    try:
        return StoredHeaders(attributes.content_type)
    except InvalidMetadataError:
        return StoredHeaders()
