"""Hypothesis strategies for what users and attackers send."""

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from thermocline.adapters.objects.key_rules import MAX_KEY_BYTES
from thermocline.domain.content_id import MAX_CONTENT_ID_BYTES, ContentId
from thermocline.domain.keys import TOKEN_ENTROPY_BYTES, ObjectKey, new_token
from thermocline.domain.units import Timestamp

_AWKWARD = ("%", "~", "+", " ", "\\", "*", "?", "[", "]", "^", "#", "&", "=", ":", '"', "'", "<", "é", "E\u0301", "Ä")
_AWKWARD_SEGMENTS = (
    "a",
    "A",
    "a~",
    "%41",
    "%2f",
    "..a",
    "a.",
    "-",
    "_",
    ".a",
    "con",
    "ß",
    "ẞ",
    "\u0130",
    "🜁",
    "x" * 255,
)

_characters = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="/")
_segments = (
    st.text(_characters, min_size=1, max_size=12)
    | st.sampled_from(_AWKWARD_SEGMENTS)
    | st.lists(st.sampled_from(_AWKWARD), min_size=1, max_size=4).map("".join)
).filter(lambda segment: segment not in {".", ".."})


def content_ids() -> st.SearchStrategy[ContentId]:
    """Return valid content ids: short ones, awkward ones, ids of the greatest length."""
    usual = st.lists(_segments, min_size=1, max_size=4).map("/".join)
    longest = st.sampled_from(("a", "A", "é", "~")).map(
        lambda character: character * (MAX_CONTENT_ID_BYTES // len(character.encode()))
    )
    return (usual | longest).filter(lambda text: len(text.encode()) <= MAX_CONTENT_ID_BYTES).map(ContentId)


def hostile_content_ids() -> st.SearchStrategy[str | bytes]:
    """Return what must be refused as a content id."""
    valid = content_ids()
    return st.one_of(
        st.sampled_from(("", "/", ".", "..", "a//b", "/a", "a/", "a/./b", "a/../b", "../../etc/passwd", "a/..")),
        st.tuples(valid, st.characters(max_codepoint=0x1F), valid).map("".join),
        valid.map(lambda text: text + "x" * (MAX_CONTENT_ID_BYTES + 1 - len(text.encode()))),
        valid.map(lambda text: text.encode() + b"\xff"),
        st.just("\ud800"),
    )


def tokens() -> st.SearchStrategy[str]:
    """Return tokens of object keys."""
    moments = st.integers(0, (1 << 48) * 1000 - 1).map(Timestamp)
    return st.builds(new_token, moments, st.binary(min_size=TOKEN_ENTROPY_BYTES, max_size=TOKEN_ENTROPY_BYTES))


def names() -> st.SearchStrategy[str]:
    """Return names of installations and placements."""
    return st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?", fullmatch=True)


def object_keys() -> st.SearchStrategy[str]:
    """Return object keys as Thermocline makes them."""
    return (
        st.builds(ObjectKey, names(), names(), content_ids(), tokens())
        .map(str)
        .filter(lambda key: len(key.encode()) <= MAX_KEY_BYTES)
    )


def free_keys() -> st.SearchStrategy[str]:
    """Return any key that an object store must take, from `.` to 1024 bytes."""
    characters = st.characters(codec="utf-8", exclude_characters="\0")
    awkward = st.sampled_from((".", "..", "/", "//", "a", "A", "a/b", "a/", ".uploads/a~", ".free/61/a~", "~", "+"))
    long = st.sampled_from(("x", "X", "é")).map(
        lambda character: character * (MAX_KEY_BYTES // len(character.encode()))
    )
    return (st.text(characters, min_size=1, max_size=60) | awkward | long | object_keys()).filter(
        lambda key: len(key.encode()) <= MAX_KEY_BYTES
    )


def bodies(max_size: int = 5000) -> st.SearchStrategy[bytes]:
    """Return contents, the empty one too."""
    repeated = st.builds(
        lambda piece, count: (piece * count)[:max_size], st.binary(max_size=8), st.integers(0, max_size)
    )
    return st.binary(max_size=min(max_size, 200)) | repeated


@st.composite
def ranges(draw: st.DrawFn, size: int) -> tuple[int, int]:
    """Return `(start, end)` within `size` bytes, empty ones too."""
    start = draw(st.integers(0, size))
    return start, draw(st.integers(start, size))


def metadata() -> st.SearchStrategy[Mapping[str, Any]]:
    """Return metadata that users may attach."""
    values = st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    )  # fmt: skip
    return st.dictionaries(st.text(max_size=10), values, max_size=4)


def attributes() -> st.SearchStrategy[Mapping[str, str]]:
    """Return attributes of objects: short ASCII texts under names that travel in HTTP headers."""
    texts = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)
    return st.dictionaries(st.from_regex(r"[a-z][a-z0-9-]{0,15}", fullmatch=True), texts, max_size=5)
