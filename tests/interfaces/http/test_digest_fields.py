"""Digests that clients announce."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline.domain.errors import DigestMismatchError, InvalidInputError
from thermocline.interfaces.http.digest_fields import expected_sha256

DIGEST = hashlib.sha256(b"x").digest()
B64 = base64.b64encode(DIGEST).decode()
OTHER = base64.b64encode(hashlib.sha256(b"y").digest()).decode()


@pytest.mark.parametrize(
    "text",
    [
        f"sha-256=:{B64}:",
        f"sha-512=:AAAA:, sha-256=:{B64}:",
        f"sha-256=:{B64}:\t,\tmd5=:AA==:",
        f'sha-256=:{B64}:;a;b=1;c="x\\"y";d=?0;e=tok',
        f"sha-256=:{OTHER}:, sha-256=:{B64}:",
        f"sha-256=:{B64.rstrip('=')}:",
        f"  sha-256=:{B64}:  ",
    ],
)
def test_well_formed(text: str) -> None:
    assert expected_sha256(text, None) == DIGEST
    assert expected_sha256(None, text) == DIGEST


def test_both_headers_must_agree() -> None:
    assert expected_sha256(f"sha-256=:{B64}:", f"sha-256=:{B64}:") == DIGEST
    with pytest.raises(DigestMismatchError):
        expected_sha256(f"sha-256=:{B64}:", f"sha-256=:{OTHER}:")


@pytest.mark.parametrize("text", ["", "sha-512=:AAAA:", "unixsum=:AA==:;q=1", "md5=::"])
def test_other_algorithms_are_ignored(text: str) -> None:
    assert expected_sha256(text, None) is None


@pytest.mark.parametrize(
    "text",
    [
        f"sha-256={B64}",
        f"sha-256=:{B64}",
        "sha-256",
        "sha-256=5",
        'sha-256="x"',
        f"SHA-256=:{B64}:",
        f"sha-256=:{B64}:,",
        f"sha-256=:{B64}: md5=:AA==:",
        ",",
        "sha-256=:A:",
        "sha-256=:AA==:",
        "sha-256=:=A==:",
        f"sha-256=:{B64}:;",
        "sha-256=:é:",
    ],
)
def test_malformed(text: str) -> None:
    with pytest.raises(InvalidInputError):
        expected_sha256(text, None)


@given(st.text(max_size=80))
def test_anything_is_a_digest_ignored_or_refused(text: str) -> None:
    try:
        digest = expected_sha256(text, None)
    except InvalidInputError:
        return
    assert digest is None or len(digest) == 32
