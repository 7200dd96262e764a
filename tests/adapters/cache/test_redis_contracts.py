"""The cache in Redis keeps the contract: on one server, with TLS and a password, behind Sentinels, on a cluster."""

from functools import partial
from urllib.parse import quote

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
    @pytest.fixture
    def open_cache(self, guarded_redis: RedisServer) -> OpenCache:
        url = guarded_redis.url.replace("://", f"://:{quote(guarded_redis.password, safe='')}@")
        return partial(redis_harness, url, ca_file=guarded_redis.certificate)


class TestRedisBehindSentinels(SharedCacheContract):
    @pytest.fixture
    def open_cache(self, redis_sentinels: RedisSentinels) -> OpenCache:
        return partial(redis_harness, redis_sentinels.url)
