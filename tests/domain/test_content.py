"""What users may attach to a content."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline.domain.content import (
    LAST_MOMENT,
    MAX_METADATA_DEPTH,
    ObjectAttributes,
    StoredHeaders,
    check_end,
    etag_of,
    freeze_metadata,
    merge_metadata,
    parse_visibility,
    revision_of,
)
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import InvalidInputError, InvalidMetadataError
from thermocline.domain.tiers import StorageTier, parse_tier
from thermocline.domain.units import Timestamp

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=10), inner, max_size=3)
    ),
    max_leaves=10,
)
OBJECTS = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=10), JSON, max_size=4)


@given(OBJECTS)
def test_metadata_is_kept_as_it_is(metadata: dict[str, Any]) -> None:
    assert dict(freeze_metadata(metadata)) == json.loads(json.dumps(metadata))


@pytest.mark.parametrize(
    "metadata", [{"a": object()}, {"a": float("nan")}, {"a": "x" * 20_000}, {1: "a"}, {"a": {1, 2}}, {"a": "\ud800"}]
)
def test_what_is_not_json_or_too_large_is_refused(metadata: Any) -> None:
    with pytest.raises(InvalidMetadataError):
        freeze_metadata(metadata)


@given(OBJECTS, OBJECTS)
def test_merge_patch_follows_its_rules(current: dict[str, Any], patch: dict[str, Any]) -> None:
    merged = merge_metadata(freeze_metadata(current), patch)
    for key, value in patch.items():
        if value is None:
            assert key not in merged
        elif not isinstance(value, dict):
            assert merged[key] == json.loads(json.dumps(value))
    for key in current.keys() - patch.keys():
        assert merged[key] == freeze_metadata(current)[key]


@pytest.mark.parametrize(
    "value",
    ["", "image", "image/", "/png", "image/png\r\nX: y", "image/png; \x00", "a b/c", "é/x", "image/" + "x" * 2000],
)
def test_content_types_that_cannot_be_sent_are_refused(value: str) -> None:
    with pytest.raises(InvalidMetadataError):
        StoredHeaders(content_type=value)


@pytest.mark.parametrize("value", ["", " x", "x\r\nSet-Cookie: a", "x\x00", "é", "x" * 2000])
def test_headers_that_cannot_be_sent_are_refused(value: str) -> None:
    with pytest.raises(InvalidMetadataError):
        StoredHeaders(cache_control=value)
    with pytest.raises(InvalidMetadataError):
        StoredHeaders(content_disposition=value)


def test_usual_headers_are_accepted() -> None:
    StoredHeaders("text/html; charset=utf-8", "public, max-age=60", "attachment; filename*=UTF-8''a%20b.txt")


def test_names_of_tiers_and_visibilities() -> None:
    assert parse_tier("cold") == "cold"
    with pytest.raises(InvalidInputError, match="hot, warm, cold, archive"):
        parse_tier("tepid")
    with pytest.raises(InvalidInputError, match="public or private"):
        parse_visibility("secret")


def nested(levels: int, *, lists: bool) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value] if lists else {"a": value}
    return {"a": value}


@pytest.mark.parametrize("lists", [True, False])
def test_metadata_so_deep_that_rendering_it_could_fail_is_refused(*, lists: bool) -> None:
    """One record that nobody can render would break every listing with it."""
    deepest = nested(MAX_METADATA_DEPTH - 1, lists=lists)
    assert dict(freeze_metadata(deepest)) == deepest
    for levels in (MAX_METADATA_DEPTH, 900, 2000):
        with pytest.raises(InvalidMetadataError, match="levels deep"):
            freeze_metadata(nested(levels, lists=lists))
        with pytest.raises(InvalidMetadataError, match="levels deep"):
            merge_metadata({}, nested(levels, lists=lists))


def test_the_longest_value_that_a_header_takes() -> None:
    StoredHeaders(content_disposition="x" * 1024)
    with pytest.raises(InvalidMetadataError):
        StoredHeaders(content_disposition="x" * 1025)


@pytest.mark.parametrize("offset", [-1, 0])
def test_content_cannot_be_told_to_end_in_the_past(offset: int) -> None:
    with pytest.raises(InvalidInputError, match="future"):
        check_end(Timestamp(1000 + offset), Timestamp(1000))


def test_ends_in_the_future_and_none_are_fine() -> None:
    check_end(None, Timestamp(1000))
    check_end(Timestamp(1001), Timestamp(1000))
    check_end(LAST_MOMENT, Timestamp(1000))
    with pytest.raises(InvalidInputError, match="10000"):
        check_end(Timestamp(LAST_MOMENT + 1), Timestamp(1000))


@given(st.integers(0, 2**63))
def test_entity_tags_name_their_revision(revision: int) -> None:
    assert revision_of(etag_of(revision)) == revision


@pytest.mark.parametrize("etag", ["", '"', '""', "1f", '"1F"', '"01f"', '"0x1f"', '"1_f"', '"-1f"', '" 1f"', 'W/"1f"'])
def test_tags_that_are_not_ours_name_none(etag: str) -> None:
    assert revision_of(etag) is None


def test_objects_carry_all_that_rebuilds_a_catalog() -> None:
    attributes = ObjectAttributes(
        ContentId("ü/a b"),
        "0" * 26,
        "image/png",
        Timestamp(5),
        StorageTier.COLD,
        previous_tier=StorageTier.HOT,
        transitioned_at=Timestamp(7),
        sha256=b"\x01" * 32,
    )
    assert attributes.as_headers() == {
        "content-id": "%C3%BC/a%20b",
        "token": "0" * 26,
        "type": "image/png",
        "created-at": "5",
        "tier": "cold",
        "previous-tier": "hot",
        "transitioned-at": "7",
        "sha256": "01" * 32,
    }
    bare = ObjectAttributes(ContentId("a"), "0" * 26, "image/png", Timestamp(5), StorageTier.HOT)
    assert bare.as_headers().keys() == {"content-id", "token", "type", "created-at", "tier"}
