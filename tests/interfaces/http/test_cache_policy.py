"""How long copies may live."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.interfaces.http.facts_made import NOW, in_seconds, made
from thermocline.domain.content import StoredHeaders, Visibility
from thermocline.interfaces.http.cache_policy import cache_fields, limit_lifetime
from thermocline.interfaces.http.facts import ContentFacts


def fields(facts: ContentFacts, *, immutable: bool = False) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in cache_fields(facts, now=NOW, immutable=immutable)}


def stored(text: str) -> StoredHeaders:
    return StoredHeaders("text/plain", text)


def test_mutable_public() -> None:
    assert fields(made()) == {
        "cache-control": "public, max-age=0",
        "cloudflare-cdn-cache-control": "max-age=60, stale-while-revalidate=600, stale-if-error=86400",
    }


def test_immutable_public() -> None:
    assert fields(made(), immutable=True) == {"cache-control": "public, max-age=31536000, immutable"}


@pytest.mark.parametrize("immutable", [False, True])
@pytest.mark.parametrize("headers", [StoredHeaders(), stored("public, max-age=9999")])
def test_private_is_never_kept(immutable: bool, headers: StoredHeaders) -> None:
    facts = made(visibility=Visibility.PRIVATE, headers=headers)
    assert fields(facts, immutable=immutable) == {"cache-control": "private, no-store"}


def test_a_stored_header_is_replayed_exactly() -> None:
    text = 'public , MAX-AGE=5,s-maxage=7,  x-own="a,b"'
    assert fields(made(headers=stored(text))) == {"cache-control": text}


@pytest.mark.parametrize("text", ["no-store", "private, max-age=5", "No-Cache"])
def test_what_forbids_sharing_holds_for_immutable_urls_too(text: str) -> None:
    assert fields(made(headers=stored(text)), immutable=True) == {"cache-control": text}


def test_expiring() -> None:
    assert fields(made(expires_at=in_seconds(20.9))) == {
        "cache-control": "public, max-age=0",
        "cloudflare-cdn-cache-control": "max-age=20",
    }
    assert fields(made(expires_at=in_seconds(9e9)))["cloudflare-cdn-cache-control"] == "max-age=60"
    assert fields(made(expires_at=in_seconds(20)), immutable=True) == {"cache-control": "public, max-age=20"}
    assert fields(made(expires_at=in_seconds(-1)), immutable=True) == {"cache-control": "public, max-age=0"}


@pytest.mark.parametrize(
    ("text", "limited"),
    [
        ("public, max-age=86400, stale-while-revalidate=60", "public, max-age=20"),
        ("max-age=5, immutable", "max-age=5"),
        ("s-maxage=100, max-age=10", "s-maxage=20, max-age=10"),
        ("public", "public, max-age=0"),
        ("no-store", "no-store"),
        ('max-age="99"', "max-age=20"),
        ("max-age=" + "9" * 900, "max-age=20"),
        ("stale-if-error=5", "max-age=0"),
    ],
)
def test_a_stored_header_never_outlives_the_content(text: str, limited: str) -> None:
    assert limit_lifetime(text, 20) == limited


DIRECTIVES = ["public", "max-age=60", "s-maxage=30", "immutable", "must-revalidate", "no-transform"]


@given(
    st.lists(st.sampled_from(DIRECTIVES), max_size=4, unique=True),
    st.none() | st.integers(0, 100_000),
    st.booleans(),
    st.sampled_from(Visibility),
)
def test_what_disables_serving_stale_never_stands_beside_it(
    directives: list[str], left: int | None, immutable: bool, visibility: Visibility
) -> None:
    facts = made(
        visibility=visibility,
        headers=StoredHeaders("text/plain", ", ".join(directives) or None),
        expires_at=None if left is None else in_seconds(left),
    )
    sent = ", ".join(fields(facts, immutable=immutable).values())
    stale = "stale-" in sent
    assert not (stale and re.search("s-maxage|must-revalidate|proxy-revalidate", sent))
    if left is not None:
        assert not stale
        assert all(int(seconds) <= left for seconds in re.findall(r"(?:max-age|s-maxage)=([0-9]+)", sent))
