"""Names and addresses of this machine, and all others."""

import pytest

from thermocline.domain.hosts import is_loopback
from thermocline.interfaces.http.cors import CorsRules
from thermocline.interfaces.http.foreigners import host_name, is_local_peer, origin_name


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["", "example.com", "localhost.evil.com", "127.0.0.1.nip.io", "0.0.0.0", "::", "10.0.0.1", "2130706433", "[::1]"],  # noqa: S104
)
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("authority", "name"),
    [
        ("localhost:8080", "localhost"),
        ("LocalHost.", "localhost"),
        ("[::1]:8080", "::1"),
        ("[::1]", "::1"),
        ("::1", "::1"),
        ("127.0.0.1", "127.0.0.1"),
        ("evil.com:80@localhost", "evil.com"),
        ("localhost:80:90", "localhost:80:90"),
        ("", ""),
    ],
)
def test_host_name(authority: str, name: str) -> None:
    assert host_name(authority) == name


@pytest.mark.parametrize(
    ("origin", "name"),
    [
        ("http://localhost:3000", "localhost"),
        ("https://example.com", "example.com"),
        ("http://localhost@evil.com", "evil.com"),
        ("null", None),
        ("", None),
        ("file://localhost", None),
        ("http://[", None),
    ],
)
def test_origin_name(origin: str, name: str | None) -> None:
    assert origin_name(origin) == name


def test_peers() -> None:
    assert is_local_peer(None)
    assert is_local_peer("testclient")
    assert is_local_peer("127.0.0.1")
    assert is_local_peer("::1%lo")
    assert not is_local_peer("192.168.1.5")
    assert not is_local_peer("::ffff:192.168.1.5")


def test_cors_for_all() -> None:
    rules = CorsRules(["*"])
    fields = dict(rules.fields("https://any.example"))
    assert fields[b"access-control-allow-origin"] == b"*"
    assert b"vary" not in fields
    assert rules.fields(None) == rules.fields("https://any.example"), "one cached copy serves all"
    assert not rules.lists("https://any.example")
    assert not rules.lists("*")


def test_cors_for_some() -> None:
    rules = CorsRules(["https://a.example"])
    assert dict(rules.fields("https://a.example"))[b"access-control-allow-origin"] == b"https://a.example"
    assert rules.fields("https://b.example") == [(b"vary", b"Origin")]
    assert rules.fields(None) == [(b"vary", b"Origin")]
    assert dict(rules.preflight("https://a.example"))[b"access-control-allow-methods"] == b"GET, HEAD"
    assert rules.preflight("https://b.example") == [(b"vary", b"Origin")]


def test_cors_for_none() -> None:
    rules = CorsRules([])
    assert rules.fields("https://a.example") == rules.preflight("https://a.example") == []
