"""The cache in Redis keeps the contract: on one server, with TLS and a password, behind Sentinels, on a cluster."""

from collections.abc import Iterator
from functools import partial

import pytest

from tests.adapters.cache.opening import redis_harness
from thermocline.testing.contracts.cache import CacheContract, OpenCache
from thermocline.testing.contracts.shared_cache import SharedCacheContract
from thermocline.testing.servers.redis import RedisCluster, RedisSentinels, RedisServer

pytestmark = pytest.mark.server


class TestSingleRedis(CacheContract, SharedCacheContract):
    @pytest.fixture
    def open_cache(self, redis_server: RedisServer) -> OpenCache:
        return partial(redis_harness, redis_server.url)


class TestRedisCluster(CacheContract, SharedCacheContract):
    @pytest.fixture
    def open_cache(self, redis_cluster: RedisCluster) -> OpenCache:
        return partial(redis_harness, redis_cluster.url)


class TestRedisWithTlsAndPassword(SharedCacheContract):
    @pytest.fixture(scope="class")
    def server(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
        server = RedisServer(tmp_path_factory.mktemp("redis"), password="s:e/c@ret", tls=True)  # noqa: S106 - of a server that lives for a second
        server.start()
        yield server
        server.stop()

    @pytest.fixture
    def open_cache(self, server: RedisServer) -> OpenCache:
        url = server.url.replace("://", "://:s%3Ae%2Fc%40ret@")
        return partial(redis_harness, url, ca_file=server.certificate)


class TestRedisBehindSentinels(SharedCacheContract):
    @pytest.fixture(scope="class")
    def sentinels(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisSentinels]:
        sentinels = RedisSentinels(tmp_path_factory.mktemp("redis"))
        sentinels.start()
        yield sentinels
        sentinels.stop()

    @pytest.fixture
    def open_cache(self, sentinels: RedisSentinels) -> OpenCache:
        return partial(redis_harness, sentinels.url)
