"""What users may attach to a content."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline.domain.content import StoredHeaders, freeze_metadata, merge_metadata, parse_visibility
from thermocline.domain.errors import InvalidInputError, InvalidMetadataError
from thermocline.domain.tiers import parse_tier

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
