"""Content ids: what is accepted round-trips, what is refused says why."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline.domain.content_id import MAX_CONTENT_ID_BYTES, parse_content_id, parse_prefix
from thermocline.domain.errors import InvalidContentIdError

SEGMENTS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1).filter(
    lambda text: text not in {".", ".."}
)


@given(st.lists(SEGMENTS, min_size=1, max_size=6).map("/".join))
def test_every_legal_id_is_returned_unchanged(text: str) -> None:
    if len(text.encode()) <= MAX_CONTENT_ID_BYTES:
        assert parse_content_id(text) == text
        assert parse_content_id(text.encode()) == text
    else:
        with pytest.raises(InvalidContentIdError):
            parse_content_id(text)


@given(st.binary(max_size=40))
def test_any_bytes_are_accepted_whole_or_refused(raw: bytes) -> None:
    try:
        accepted = parse_content_id(raw)
    except InvalidContentIdError:
        return
    assert accepted.encode() == raw
    assert not any(unicodedata.category(character) == "Cc" for character in accepted)
    assert all(segment not in {"", ".", ".."} for segment in accepted.split("/"))


@pytest.mark.parametrize(
    ("raw", "rule"),
    [
        ("", "empty"),
        ("a" * 901, "900"),
        ("é" * 451, "900"),
        ("a\x00b", "control"),
        ("a\nb", "control"),
        ("a\x7fb", "control"),
        ("a\x85b", "control"),
        (b"\xff", "UTF-8"),
        (b"a/\xc0\xaf", "UTF-8"),
        ("\ud800", "UTF-8"),
        ("/a", "leading"),
        ("a/", "trailing"),
        ("a//b", "doubled"),
        ("/", "leading"),
        (".", "segment"),
        ("..", "segment"),
        ("a/../b", "segment"),
        ("a/./b", "segment"),
        ("a/..", "segment"),
    ],
)
def test_refusals_name_the_rule(raw: str | bytes, rule: str) -> None:
    with pytest.raises(InvalidContentIdError, match=rule):
        parse_content_id(raw)


@pytest.mark.parametrize("text", ["a", "...", "a..b", "..a", "a b", "%2e%2e", "é" * 450, "a" * 900, "\u202e", "~"])
def test_unusual_but_legal(text: str) -> None:
    assert parse_content_id(text) == text


def test_prefixes_may_be_empty_or_end_in_a_slash() -> None:
    assert parse_prefix("") == ""
    assert parse_prefix("users/42/") == "users/42/"
    with pytest.raises(InvalidContentIdError):
        parse_prefix("a\x00")
