"""Our patterns are Redis' own: whatever the server's SCAN finds, `glob_matcher` matches, and nothing else."""

import contextlib
import uuid

import pytest
import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.counts import SOAK
from thermocline.domain.glob import escape_glob, glob_matcher
from thermocline.testing.servers.redis import RedisServer

pytestmark = pytest.mark.server

SIGNS = "ab*?[]^-\\/é\U0001f701\n\0\x7f"
PATTERNS = st.text(st.sampled_from(SIGNS), max_size=16) | st.text(max_size=8)
KEYS = st.text(st.sampled_from(SIGNS), min_size=1, max_size=10) | st.text(min_size=1, max_size=8)
_MANY = settings(
    max_examples=20_000 if SOAK else 500, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


@pytest.fixture(scope="module")
def client(redis_server: RedisServer):  # type: ignore[no-untyped-def]  # noqa: ANN201
    # A database of its own: KEYS looks at every key.
    with contextlib.closing(redis.Redis(port=redis_server.port, db=9)) as client:
        yield client
        client.flushdb()


def found(client: redis.Redis, pattern: str, keys: list[str]) -> tuple[set[bytes], set[bytes]]:
    """Return what KEYS and SCAN find."""
    client.flushdb()
    client.mset({key.encode(): b"" for key in keys})
    scanned = set(client.scan_iter(match=pattern.encode(), count=1000))
    return set(client.keys(pattern.encode())), scanned  # type: ignore[arg-type]


@_MANY
@given(pattern=PATTERNS, keys=st.lists(KEYS, min_size=1, max_size=12, unique=True))
@example(pattern="[", keys=["a", "["])
@example(pattern="[^", keys=["a", "^"])
@example(pattern="[]", keys=["]", "a"])
@example(pattern="[^]", keys=["]", "a"])
@example(pattern="[a-]", keys=["a", "b", "-", "]"])
@example(pattern="[a-\\]", keys=["]", "\\", "b"])
@example(pattern="[\\]]", keys=["]", "\\"])
@example(pattern="[z-a]", keys=["a", "m", "z"])
@example(pattern="[\\^a]", keys=["^", "a", "\\"])
@example(pattern="\\", keys=["\\", "a"])
@example(pattern="a\\", keys=["a\\", "a"])
@example(pattern="[é-a]", keys=["a", "é", "b"])
@example(pattern="?", keys=["a", "é"])
@example(pattern="??", keys=["a", "é"])
@example(pattern="[é]", keys=["é", "Ã"])
@example(pattern="**a**", keys=["a", "ba", "b"])
@example(pattern="", keys=["a"])
def test_the_server_agrees(client: redis.Redis, pattern: str, keys: list[str]) -> None:
    matches = glob_matcher(pattern)
    ours = {key.encode() for key in keys if matches(key)}
    by_keys, by_scan = found(client, pattern, keys)
    assert by_scan == ours
    assert by_keys == ours


@_MANY
@given(prefix=st.text(st.sampled_from(SIGNS), max_size=8), rest=KEYS, others=st.lists(KEYS, max_size=8))
def test_an_escaped_text_stands_for_itself(client: redis.Redis, prefix: str, rest: str, others: list[str]) -> None:
    keys = list(dict.fromkeys([prefix + rest, *others]))
    expected = {key.encode() for key in keys if key.startswith(prefix)}
    assert found(client, escape_glob(prefix) + "*", keys)[1] == expected
    assert {key.encode() for key in keys if glob_matcher(escape_glob(prefix) + "*")(key)} == expected
    assert found(client, escape_glob(prefix + rest), keys)[1] == {(prefix + rest).encode()}


def test_names_that_are_no_text_are_matched_by_their_bytes(client: redis.Redis) -> None:
    client.flushdb()
    name = uuid.uuid4().bytes + b"\xff\xfe"
    client.set(name, b"")
    assert client.scan(0, match=b"*\xfe", count=1000)[1] == [name]
    assert client.scan(0, match=b"*[\x80-\xff]", count=1000)[1] == [name]
    assert client.scan(0, match=b"*[^\x80-\xff]", count=1000)[1] == []
