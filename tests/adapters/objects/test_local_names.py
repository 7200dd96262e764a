"""Every key has one place, every place of ours one key."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from thermocline.adapters.objects.local_names import (
    FREE,
    UPLOADS,
    Place,
    escape,
    is_continued,
    is_shard,
    object_key,
    object_place,
    unescape,
    upload_key,
    upload_place,
)
from thermocline.testing import strategies

KEYS = strategies.free_keys() | strategies.object_keys()


def key_at(place: Place) -> str | None:
    shard, *chain = place.branch
    return object_key(place.trunk, shard, (*chain, place.name))


@given(KEYS)
def test_keys_come_back_from_names_alone(key: str) -> None:
    place = object_place(key)
    assert key_at(place) == key
    upload = upload_place(key)
    assert upload_key((*upload.branch, upload.name)) == key
    assert upload.trunk == (UPLOADS,)


@given(KEYS)
def test_names_are_safe_on_every_file_system(key: str) -> None:
    for place in (object_place(key), upload_place(key)):
        for name in (*place.branch, place.name):
            assert 0 < len(name) <= 201
            assert set(name) <= set(string.ascii_lowercase + string.digits + "._-%~+")
            assert name not in {".", ".."}
        assert all(is_continued(name) == name.endswith("+") for name in (*place.branch, place.name))
        assert not place.name.endswith("+")
    assert is_shard(object_place(key).branch[0])


@given(st.lists(KEYS, min_size=2, max_size=2, unique=True))
@example(["inst/main/a/01kdvdna00f1w7gy3rf1w7gy3r", "inst/main/A/01kdvdna00f1w7gy3rf1w7gy3r"])
@example(["x" * 400, "x" * 399])
def test_different_keys_never_meet(keys: list[str]) -> None:
    paths = [(*place.trunk, *place.branch, place.name) for place in map(object_place, keys)]
    one, other = (tuple(part.casefold() for part in path) for path in paths)
    assert one != other
    # Nor is one the folder of the other.
    assert one[: len(other)] != other
    assert other[: len(one)] != one


TOKEN_CHARACTERS = 26


@given(strategies.object_keys())
@example("0/0/" + "a" * 180 + "/" + "1" * 26)
def test_revisions_of_a_content_share_a_folder(key: str) -> None:
    head, _, _ = key.rpartition("/")
    one, other = object_place(key), object_place(f"{head}/{'0' * 26}")
    # A long name may be cut in the middle of its token: from there on the folders of revisions part.
    shared = 1 if len(one.name) < TOKEN_CHARACTERS else len(one.branch)
    assert (one.trunk, one.branch[:shared]) == (other.trunk, other.branch[:shared])
    assert one.trunk != (FREE,)


@given(st.text(st.sampled_from("ab%6124~+/.A"), max_size=12))
def test_only_names_of_ours_are_decoded(name: str) -> None:
    for shard in ("43", "9c"):
        key = object_key((FREE,), shard, (name,))
        if key is not None:
            assert object_place(key) == Place((FREE,), (shard,), name)
    key = upload_key((name,))
    if key is not None:
        assert upload_place(key) == Place((UPLOADS,), (), name)


@given(st.text())
def test_escaping_is_reversed_exactly(text: str) -> None:
    assert unescape(escape(text)) == text


@pytest.mark.parametrize("text", ["A", "%", "%4", "%4A", "%61", "%FF", "%ff", "a/b", "a~", "é", "+"])
def test_what_was_not_escaped_by_us_is_foreign(text: str) -> None:
    assert unescape(text) is None
