"""Redis servers that the tests of a session share; each test has an installation of its own on them."""

from collections.abc import Iterator

import pytest

from thermocline.testing.servers.redis import RedisCluster, RedisSentinels, RedisServer


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    cluster = RedisCluster(tmp_path_factory.mktemp("redis-cluster"))
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def guarded_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that speaks TLS only and asks for a password."""
    folder = tmp_path_factory.mktemp("redis-guarded")
    server = RedisServer(folder, password="s:e/c@ret", tls=True)  # noqa: S106 - of a server that lives for a minute
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisSentinels]:
    sentinels = RedisSentinels(tmp_path_factory.mktemp("redis-sentinels"))
    sentinels.start()
    yield sentinels
    sentinels.stop()
