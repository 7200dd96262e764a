"""Tokens as values: validity, scope, prefix, and their written form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline.domain.access import TOKEN_SECRET_BYTES, Scope, Token, format_token, hash_secret, split_token
from thermocline.domain.units import Timestamp


def token(*, expires_at: int | None = None, revoked_at: int | None = None, prefix: str = "") -> Token:
    return Token(
        "0" * 12,
        b"",
        frozenset({Scope.READ}),
        prefix,
        Timestamp(0),
        None if expires_at is None else Timestamp(expires_at),
        None if revoked_at is None else Timestamp(revoked_at),
    )


def test_a_token_is_valid_until_its_end_unless_revoked() -> None:
    assert token().is_valid(Timestamp(10**18))
    assert token(expires_at=10).is_valid(Timestamp(9))
    assert not token(expires_at=10).is_valid(Timestamp(10))
    assert not token(revoked_at=20).is_valid(Timestamp(5))
    assert not token(expires_at=10, revoked_at=1).is_valid(Timestamp(5))


def test_a_token_allows_its_scopes_below_its_prefix() -> None:
    assert token(prefix="u/").allows(Scope.READ, "u/1")
    assert not token(prefix="u/").allows(Scope.READ, "u")
    assert not token(prefix="u/").allows(Scope.WRITE, "u/1")


@given(st.binary(min_size=6, max_size=6), st.binary(min_size=TOKEN_SECRET_BYTES, max_size=TOKEN_SECRET_BYTES))
def test_written_tokens_come_back(token_id: bytes, secret: bytes) -> None:
    assert split_token(format_token(token_id.hex(), secret)) == (token_id.hex(), secret)
    assert hash_secret(secret) != secret


@pytest.mark.parametrize(
    "text", ["", "tc_", "tc_0_0", f"tc_{'0' * 12}_{'0' * 47}", f"tc_{'A' * 12}_{'0' * 48}", "x" * 99]
)
def test_what_is_no_token_of_ours(text: str) -> None:
    assert split_token(text) is None
