"""Paths are decoded exactly once, whatever the server calls the prefix."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline.domain.errors import InvalidInputError
from thermocline.interfaces.http.targets import decode_path, encode_path, path_below_root


@pytest.mark.parametrize(
    ("raw", "decoded"),
    [
        (b"/v1/content/a", b"/v1/content/a"),
        (b"/v1/content/a%2Fb", b"/v1/content/a/b"),
        (b"/v1/content/a%252Fb", b"/v1/content/a%2Fb"),
        (b"/v1/content/%C3%A9", "/v1/content/é".encode()),
        (b"/v1/content/%ff", b"/v1/content/\xff"),
        (b"/a+b", b"/a+b"),
        (b"/%2e%2E", b"/.."),
    ],
)
def test_decodes_once(raw: bytes, decoded: bytes) -> None:
    assert decode_path(raw) == decoded


@pytest.mark.parametrize("raw", [b"/%", b"/%1", b"/%zz", b"/%%41", b"/a%2", b"/%u0041", b"/% 1", b"/%+1"])
def test_refuses_malformed_encoding(raw: bytes) -> None:
    with pytest.raises(InvalidInputError):
        decode_path(raw)


@given(st.text())
def test_encoding_is_undone_by_decoding(text: str) -> None:
    try:
        encoded = encode_path(text)
    except UnicodeEncodeError:
        return  # lone surrogates are no content ids
    assert decode_path(encoded.encode("ascii")) == text.encode()


@pytest.mark.parametrize(
    ("raw", "root", "below"),
    [
        (b"/v1/content/a", "", b"/v1/content/a"),
        (b"/store/v1/content/a", "/store", b"/v1/content/a"),
        (b"/v1/content/a", "/store", b"/v1/content/a"),  # the server keeps the prefix to itself
        (b"/st%6Fre/v1", "/store", b"/v1"),
        (b"/store%2Fv1/x", "/store", b"/v1/x"),
        (b"/store", "/store", b""),
        (b"/storefront/v1", "/store", b"/storefront/v1"),
        (b"/%C3%BCber/v1", "/über", b"/v1"),
        (b"/a/b/v1", "/a/b/", b"/v1"),
    ],
)
def test_strips_the_prefix(raw: bytes, root: str, below: bytes) -> None:
    assert path_below_root({"raw_path": raw, "path": "ignored", "root_path": root}) == below


def test_without_a_raw_path_the_decoded_one_serves() -> None:
    assert path_below_root({"path": "/s/é", "root_path": "/s"}) == "/é".encode()
