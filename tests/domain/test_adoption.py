"""Which unknown object is adopted, and what becomes of its content's record."""

from dataclasses import replace

import pytest

from thermocline.domain.adoption import Fate, adopted_record, depends_on_the_live_object, is_copy_of, judge, outcome_of
from thermocline.domain.content import ObjectAttributes, Record, StoredHeaders, Visibility
from thermocline.domain.content_id import ContentId
from thermocline.domain.keys import ObjectKey, new_token, token_time
from thermocline.domain.recovery import LARGEST_RANK, Candidate, FoundObject, Standing, rank_of
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Bytes, Timestamp

REVISION = 1_000_000_000
BEFORE, SAME, AFTER = REVISION - 5000, REVISION, REVISION + 5000
DIGEST = b"d" * 32
ID = ContentId("a/ü")


def record(**fields: object) -> Record:
    values: dict[str, object] = {
        "content_id": ID,
        "revision": REVISION,
        "version": REVISION + 3,
        "placement": "standard",
        "object_key": "old key",
        "digest": DIGEST,
        "chunk_digests": b"c" * 16,
        "size": Bytes(3),
        "headers": StoredHeaders("image/png", "max-age=1"),
        "metadata": {"k": "v"},
        "tier": StorageTier.HOT,
        "tier_since": Timestamp(5),
        "visibility": Visibility.PUBLIC,
        "created_at": Timestamp(5),
        "modified_at": Timestamp(6),
        "expires_at": Timestamp(7),
        "held": False,
    }
    return Record(**(values | fields))  # type: ignore[arg-type]  # by name, checked where it is read


def attributes(rank: int, **fields: object) -> ObjectAttributes:
    values: dict[str, object] = {
        "content_id": ID,
        "token": new_token(Timestamp(rank), bytes(10)),
        "content_type": "text/plain",
        "created_at": Timestamp(rank + 1),
        "tier": StorageTier.COLD,
    }
    return ObjectAttributes(**(values | fields))  # type: ignore[arg-type]  # by name, checked where it is read


def candidate(
    rank: int, standing: Standing | None, *, finished_at: int = 0, rival_at: int = 0, **fields: object
) -> Candidate:
    carried = attributes(rank, **fields)
    key = str(ObjectKey("home", "archive", ID, carried.token))
    found = FoundObject(
        ID,
        key,
        "archive",
        carried.token,
        rank,
        Bytes(4),
        Timestamp(finished_at or rank),
        carried.as_headers(),
        Timestamp(rival_at),
    )
    return Candidate(found, standing)


LIVE = Standing(REVISION, REVISION + 3, record())
HELD = Standing(REVISION, REVISION + 3, record(held=True))
DELETED = Standing(REVISION, REVISION + 3, None)


@pytest.mark.parametrize(
    ("one", "gone", "fate", "unproven"),
    [
        (candidate(BEFORE, None), False, Fate.ADOPTED, False),
        (candidate(AFTER, LIVE), False, Fate.ADOPTED, False),
        (candidate(AFTER, DELETED), False, Fate.ADOPTED, False),
        # Another object of the content was finished after this one was begun.
        (candidate(AFTER, None, rival_at=AFTER + 1000), False, Fate.ADOPTED, True),
        (candidate(AFTER, LIVE, rival_at=AFTER + 1000), False, Fate.ADOPTED, True),
        (candidate(AFTER, LIVE, rival_at=AFTER + 999), False, Fate.ADOPTED, False),
        # Older than what the catalog has.
        (candidate(BEFORE, LIVE), False, Fate.LEFT, False),
        (candidate(SAME, LIVE, finished_at=AFTER), False, Fate.LEFT, False),
        (candidate(BEFORE, DELETED), False, Fate.LEFT, False),
        # Begun before the catalog's last change, finished after it.
        (candidate(BEFORE, LIVE, finished_at=AFTER), False, Fate.UNCLEAR, False),
        (candidate(BEFORE, DELETED, finished_at=AFTER), False, Fate.UNCLEAR, False),
        # The record's object is gone: anything is better, but only a copy of the same bytes, or a newer one, is sure.
        (candidate(BEFORE, LIVE), True, Fate.ADOPTED, True),
        (candidate(SAME, LIVE, sha256=DIGEST), True, Fate.ADOPTED, False),
        (candidate(SAME, LIVE, sha256=b"e" * 32), True, Fate.ADOPTED, True),
        # A hold keeps what is there.
        (candidate(AFTER, HELD), False, Fate.UNCLEAR, False),
        (candidate(AFTER, HELD), True, Fate.ADOPTED, False),
        (candidate(BEFORE, HELD), False, Fate.LEFT, False),
    ],
)
def test_what_becomes_of_an_unknown_object(one: Candidate, gone: bool, fate: Fate, unproven: bool) -> None:
    judgement = judge(one, live_object_is_gone=gone)
    assert (judgement.fate, judgement.unproven) == (fate, unproven)
    outcome = outcome_of(one, judgement)
    replaces = fate is Fate.ADOPTED and one.standing is not None and one.standing.record is not None
    assert outcome.replaced == ("old key" if replaces else None)
    assert outcome.object_key == one.found.object_key


def test_the_live_object_is_only_asked_for_where_it_decides() -> None:
    assert depends_on_the_live_object(candidate(AFTER, LIVE)) is None
    assert depends_on_the_live_object(candidate(BEFORE, DELETED)) is None
    assert depends_on_the_live_object(candidate(BEFORE, None)) is None
    assert depends_on_the_live_object(candidate(BEFORE, LIVE)) == LIVE.record
    assert depends_on_the_live_object(candidate(AFTER, HELD)) == HELD.record


def test_what_the_object_does_not_tell_is_the_most_careful_value() -> None:
    one = candidate(AFTER, LIVE, transitioned_at=Timestamp(AFTER + 9))
    made = adopted_record(one, attributes(AFTER, transitioned_at=Timestamp(AFTER + 9)), DIGEST, b"x", unproven=True)
    assert made == Record(
        content_id=ID,
        revision=AFTER + 1,
        version=0,
        placement="archive",
        object_key=one.found.object_key,
        digest=DIGEST,
        chunk_digests=b"x",
        size=Bytes(4),
        headers=StoredHeaders("text/plain"),
        metadata={},
        tier=StorageTier.COLD,
        tier_since=Timestamp(AFTER + 9),
        visibility=Visibility.PRIVATE,
        created_at=Timestamp(5),
        modified_at=Timestamp(AFTER + 1),
        expires_at=None,
        held=False,
        unproven=True,
    )
    unknown = adopted_record(candidate(AFTER, None), attributes(AFTER), DIGEST, None, unproven=False)
    assert (unknown.created_at, unknown.tier_since, unknown.chunk_digests) == (AFTER + 1, AFTER + 1, b"")


def test_holds_and_pins_outlive_their_object() -> None:
    standing = Standing(REVISION, REVISION, record(held=True, pinned=True))
    made = adopted_record(candidate(AFTER, standing), attributes(AFTER), DIGEST, b"", unproven=False)
    assert (made.held, made.pinned) == (True, True)


@pytest.mark.parametrize("chunk_digests", [None, b"n" * 16])
def test_a_copy_that_a_move_made_keeps_all_that_is_known(chunk_digests: bytes | None) -> None:
    one = candidate(SAME, LIVE, sha256=DIGEST)
    assert LIVE.record is not None
    assert is_copy_of(one.found, LIVE.record)
    made = adopted_record(one, attributes(SAME), DIGEST, chunk_digests, unproven=True)
    assert made == replace(
        LIVE.record,
        placement="archive",
        object_key=one.found.object_key,
        tier=StorageTier.COLD,
        chunk_digests=chunk_digests or b"c" * 16,
    )


def test_a_type_that_cannot_be_sent_is_not_taken_over() -> None:
    made = adopted_record(
        candidate(AFTER, None), attributes(AFTER, content_type="no type"), DIGEST, b"", unproven=False
    )
    assert made.headers == StoredHeaders()


def test_objects_are_ordered_by_their_revision_or_by_when_they_were_begun() -> None:
    token = new_token(Timestamp(1_234_567_899), b"\xff" * 10)
    assert token_time(token) == 1_234_567_000
    assert rank_of(attributes(1), token) == 1_234_567_000
    assert rank_of(attributes(1, revision=77), token) == 77
    assert rank_of(attributes(1, revision=LARGEST_RANK), token) is None
    assert rank_of(attributes(1, revision=-1), token) is None
    assert token_time("z" * 26) < 2**62


def test_only_attention_is_asked_for_where_something_is_left_to_decide() -> None:
    assert {fate for fate in Fate if not fate.needs_a_look} == {Fate.ADOPTED, Fate.LEFT}
