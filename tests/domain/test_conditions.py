"""Conditions: entity tags are revisions, compared strongly for changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline.domain.conditions import parse_condition, parse_entity_tags
from thermocline.domain.content import etag_of, revision_of
from thermocline.domain.errors import InvalidInputError

REVISIONS = st.integers(1, 2**62)


@given(REVISIONS)
def test_tags_round_trip(revision: int) -> None:
    assert revision_of(etag_of(revision)) == revision


@given(st.text(max_size=20))
def test_foreign_tags_name_nothing(text: str) -> None:
    revision = revision_of(text)
    assert revision is None or etag_of(revision) == text


@given(st.lists(REVISIONS, min_size=1, max_size=5), REVISIONS)
def test_if_match_holds_for_exactly_its_revisions(listed: list[int], current: int) -> None:
    condition = parse_condition(", ".join(etag_of(revision) for revision in listed), None)
    assert condition.holds_for(current) == (current in listed)
    assert not condition.holds_for(None)


def test_weak_and_foreign_tags_never_match() -> None:
    assert not parse_condition('W/"5"', None).holds_for(5)
    assert not parse_condition('"foreign"', None).holds_for(5)


def test_star_and_none_match() -> None:
    assert parse_condition("*", None).holds_for(5)
    assert not parse_condition("*", None).holds_for(None)
    assert parse_condition(None, "*").holds_for(None)
    assert not parse_condition(None, "*").holds_for(5)
    assert not parse_condition(None, 'W/"5"').holds_for(5)
    assert parse_condition(None, '"6"').holds_for(5)


@pytest.mark.parametrize("text", ["", " ", "5", '"a', 'a"', '"a" "b"', "**", '"a",,x', "W/", '"\x00"'])
def test_malformed_lists_are_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_condition(text, None)


@given(st.text(max_size=30))
def test_parsing_never_breaks(text: str) -> None:
    try:
        tags = parse_entity_tags(text)
    except InvalidInputError:
        return
    assert tags
