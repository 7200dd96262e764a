"""Where Redis is, read from URLs; what is wrong with one is said without repeating it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline.adapters.cache.redis_urls import RedisKind, RedisLocation, parse_redis_url

ONE, CLUSTER, SENTINEL = RedisKind.SINGLE, RedisKind.CLUSTER, RedisKind.SENTINEL


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("redis://host", RedisLocation(ONE, (("host", 6379),))),
        ("redis://host:7000/3", RedisLocation(ONE, (("host", 7000),), database=3)),
        ("rediss://:p%40ss@host", RedisLocation(ONE, (("host", 6379),), tls=True, password="p@ss")),  # noqa: S106
        ("redis://me:pw@[::1]:1", RedisLocation(ONE, (("::1", 1),), username="me", password="pw")),  # noqa: S106
        ("redis://[::1]", RedisLocation(ONE, (("::1", 6379),))),
        ("redis+cluster://a:1,b:2,c", RedisLocation(CLUSTER, (("a", 1), ("b", 2), ("c", 6379)))),
        ("rediss+cluster://a:1/", RedisLocation(CLUSTER, (("a", 1),), tls=True)),
        ("redis+sentinel://a,b:5/main", RedisLocation(SENTINEL, (("a", 26379), ("b", 5)), service="main")),
        ("redis+sentinel://a/main/2", RedisLocation(SENTINEL, (("a", 26379),), service="main", database=2)),
    ],
)
def test_urls_are_read(url: str, location: RedisLocation) -> None:
    assert parse_redis_url(url) == location


@pytest.mark.parametrize(
    "url",
    [
        *("", "memory", "host:6379", "http://host", "redis:/host", "redis://", "redis://:hunter2@", "redis://a,b"),
        *("redis://host:hunter2", "redis://host:0", "redis://host:65536", "redis://host/hunter2", "redis://host/1/2"),
        *("redis://host?hunter2=1", "redis://host#hunter2", "redis+cluster://a/1", "redis+cluster://a,,b"),
        *("redis+sentinel://a", "redis+sentinel://a/main/x", "redis://host:１", "redis:// host", "REDIS://host"),  # noqa: RUF001
    ],
)
def test_wrong_urls_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match=r"must|names|has|ends") as caught:
        parse_redis_url(url)
    assert "hunter2" not in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for url in (text, f"redis://{text}", f"redis+cluster://{text}", f"redis+sentinel://{text}"):
        try:
            location = parse_redis_url(url)
        except ValueError:
            continue
        assert location.hosts


@given(st.text(min_size=1, max_size=30))
def test_a_password_is_never_printed(password: str) -> None:
    location = RedisLocation(ONE, (("host", 1),)).with_password(f"<{password}>")
    assert f"<{password}>" not in str(location) + repr(location)
