"""`doctor` looks at Redis: kind, version, eviction policy, cluster; and says what is wrong."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interfaces.cli.commandline import CommandLine
from thermocline.testing.servers.redis import RedisCluster, RedisServer

pytestmark = pytest.mark.server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.stop()


def parts(cli: CommandLine, url: str, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    monkeypatch.setenv("THERMOCLINE_CACHE__URL", url)
    told = cli.run("doctor", "--json").json()["parts"]
    return [(part["health"], part["detail"]) for part in told if part["part"] == "cache"]


def test_memory_needs_no_look(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parts(cli, "memory://", monkeypatch) == []


@pytest.mark.parametrize(
    ("maxmemory", "policy", "health", "said"),
    [
        ("100mb", "volatile-lru", "ok", "of 100 MiB, volatile-lru"),
        ("100mb", "allkeys-lru", "ok", "of 100 MiB, allkeys-lru"),
        ("100mb", "noeviction", "warn", "may not evict"),
        ("0", "noeviction", "warn", "has no maxmemory"),
    ],
)
def test_bound_and_eviction(
    cli: CommandLine,
    server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    maxmemory: str,
    policy: str,
    health: str,
    said: str,
) -> None:
    server.cli("CONFIG", "SET", "maxmemory", maxmemory)
    server.cli("CONFIG", "SET", "maxmemory-policy", policy)
    first, second = parts(cli, server.url, monkeypatch)
    assert first[0] == "ok"
    assert "version" in first[1]
    assert second[0] == health
    assert said in second[1]


def test_a_replica_and_a_dead_server_and_another_kind(
    cli: CommandLine, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (told,) = parts(cli, server.url.replace("redis:", "redis+cluster:"), monkeypatch)
    assert told[0] == "fail"
    assert "not in cluster mode" in told[1]
    server.cli("REPLICAOF", "127.0.0.1", "1")
    assert any(health == "fail" and "is a replica" in detail for health, detail in parts(cli, server.url, monkeypatch))
    server.stop()
    (told,) = parts(cli, server.url, monkeypatch)
    assert told[0] == "fail"


def test_a_cluster_without_replicas_and_with_a_hole(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = RedisCluster(tmp_path / "cluster", replicas=0)
    cluster.start()
    try:
        told = parts(cli, cluster.url, monkeypatch)
        assert told[0] == ("ok", f"redis+cluster: 3 server(s) with keys, version {told[0][1].rpartition(' ')[2]}")
        assert sum(health == "warn" and "has no replica" in detail for health, detail in told) == 3
        cluster.nodes[0].cli("CLUSTER", "DELSLOTS", "0")
        told = parts(cli, cluster.url, monkeypatch)
        assert any(health == "fail" and "'fail'" in detail for health, detail in told)
    finally:
        cluster.stop()
