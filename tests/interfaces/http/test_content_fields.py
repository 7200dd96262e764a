"""The headers of content."""

import base64

import pytest

from tests.interfaces.http.facts_made import NOW, in_seconds, made
from thermocline.domain.content import StoredHeaders, Visibility
from thermocline.interfaces.http.cache_tags import cache_tag, content_tag, prefix_tag
from thermocline.interfaces.http.content_fields import (
    age_fields,
    description_fields,
    disposition_of,
    freshness_fields,
)
from thermocline.interfaces.http.facts import Source
from thermocline.interfaces.http.problems import Fields


def lookup(fields: Fields) -> dict[str, str]:
    names = [name for name, _ in fields]
    assert len(names) == len(set(names)), "no field twice"
    assert all(name == name.lower() for name in names)
    return {name.decode(): value.decode("ascii") for name, value in fields}


def test_description() -> None:
    facts = made()
    assert lookup(description_fields(facts)) == {
        "last-modified": "Fri, 15 Jan 2027 07:59:00 GMT",
        "accept-ranges": "bytes",
        "content-disposition": 'inline; filename="cat.jpg"',
        "repr-digest": f"sha-256=:{base64.b64encode(facts.digest).decode()}:",
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox; default-src 'none'",
        "cross-origin-resource-policy": "cross-origin",
    }


def test_private_content_is_not_embeddable() -> None:
    fields = lookup(description_fields(made(visibility=Visibility.PRIVATE)))
    assert fields["cross-origin-resource-policy"] == "same-origin"


def test_freshness() -> None:
    fields = lookup(freshness_fields(made(), now=NOW, immutable=False))
    assert fields["etag"] == '"abc"'
    assert fields["cache-status"] == "thermocline; fwd=miss; detail=storage"
    assert fields["cache-tag"] == cache_tag("users/42/cat.jpg", "hot").decode()
    memory = lookup(freshness_fields(made(source=Source.MEMORY, cached_at=NOW), now=NOW, immutable=False))
    assert memory["cache-status"] == "thermocline; hit; detail=memory"
    shared = lookup(freshness_fields(made(source=Source.REDIS, cached_at=NOW), now=NOW, immutable=False))
    assert shared["cache-status"] == "thermocline; hit; detail=redis"


def test_age_counts_from_when_the_copy_was_taken() -> None:
    assert age_fields(made(), NOW) == []
    facts = made(source=Source.MEMORY, cached_at=in_seconds(-61.9))
    assert age_fields(facts, NOW) == [(b"age", b"61")]
    assert age_fields(facts, in_seconds(-100)) == [(b"age", b"0")], "a clock that jumped back"


def test_cache_tags() -> None:
    tags = cache_tag("users/42/cat.jpg", "hot").decode().split(",")
    assert tags == [content_tag("users/42/cat.jpg"), prefix_tag("users/"), prefix_tag("users/42/"), "t-hot"]
    assert all(tag.islower() and tag.isascii() and " " not in tag and len(tag) < 40 for tag in tags)
    assert len(cache_tag("/".join("abcdefghij"), "cold")) < 200
    assert cache_tag("plain", "warm").decode().split(",") == [content_tag("plain"), "t-warm"]


@pytest.mark.parametrize(
    ("content_id", "disposition"),
    [
        ("a/b/report.pdf", 'inline; filename="report.pdf"'),
        ("naïve.txt", "inline; filename=\"na_ve.txt\"; filename*=UTF-8''na%C3%AFve.txt"),
        ('a"b;c.txt', "inline; filename=\"a_b;c.txt\"; filename*=UTF-8''a%22b%3Bc.txt"),
        ("100%.txt", "inline; filename=\"100_.txt\"; filename*=UTF-8''100%25.txt"),
        ("back\\slash", "inline; filename=\"back_slash\"; filename*=UTF-8''back%5Cslash"),
        ("猫", "inline; filename=\"_\"; filename*=UTF-8''%E7%8C%AB"),
    ],
)
def test_disposition(content_id: str, disposition: str) -> None:
    assert disposition_of(made(content_id=content_id)) == disposition


def test_a_stored_disposition_is_replayed() -> None:
    headers = StoredHeaders("text/plain", None, 'attachment; filename="x"')
    assert disposition_of(made(headers=headers)) == 'attachment; filename="x"'
