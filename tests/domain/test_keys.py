"""Object keys: unique, ordered in time, parsed back exactly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.domain.test_content_id import SEGMENTS
from thermocline.domain.content_id import ContentId
from thermocline.domain.keys import TOKEN_ENTROPY_BYTES, ObjectKey, is_name, new_token
from thermocline.domain.units import Timestamp

TIMES = st.integers(0, 2**47).map(lambda ms: Timestamp(ms * 1000))
ENTROPY = st.binary(min_size=TOKEN_ENTROPY_BYTES, max_size=TOKEN_ENTROPY_BYTES)


@given(TIMES, ENTROPY, TIMES, ENTROPY)
def test_tokens_sort_by_time_and_differ_by_entropy(a: Timestamp, x: bytes, b: Timestamp, y: bytes) -> None:
    first, second = new_token(a, x), new_token(b, y)
    assert (first == second) == ((a, x) == (b, y))
    if a != b:
        assert (first < second) == (a < b)


@given(
    st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join).filter(lambda t: len(t.encode()) <= 900), TIMES, ENTROPY
)
def test_keys_parse_back(content_id: str, now: Timestamp, entropy: bytes) -> None:
    key = ObjectKey("home-1", "standard", ContentId(content_id), new_token(now, entropy))
    assert ObjectKey.parse(str(key)) == key
    assert len(str(key).encode()) <= 1024


@given(st.text(max_size=80))
def test_foreign_keys_are_not_ours(text: str) -> None:
    parsed = ObjectKey.parse(text)
    assert parsed is None or str(parsed) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a/b/c",
        "A/standard/x/" + "0" * 26,
        "a/standard//" + "0" * 26,
        "a/standard/x/" + "0" * 25,
        "a/s/x/" + "u" * 26,
    ],
)
def test_near_misses(text: str) -> None:
    assert ObjectKey.parse(text) is None


def test_token_needs_all_its_entropy() -> None:
    with pytest.raises(ValueError, match="random bytes"):
        new_token(Timestamp(0), b"short")


@pytest.mark.parametrize(
    ("text", "legal"),
    [
        ("a", True),
        ("a-b", True),
        ("-a", False),
        ("a-", False),
        ("A", False),
        ("", False),
        ("a" * 32, True),
        ("a" * 33, False),
        ("a/b", False),
    ],
)
def test_names(text: str, legal: bool) -> None:
    assert is_name(text) is legal
