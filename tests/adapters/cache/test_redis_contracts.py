"""The cache in Redis keeps the contract: on one server, with TLS and a password, behind Sentinels, on a cluster."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import quote

import pytest

from tests.adapters.cache.opening import redis_cache, redis_harness
from thermocline.ports.cache import SharedCounts
from thermocline.testing.contracts.cache import CacheContract, OpenCache
from thermocline.testing.contracts.shared_cache import SharedCacheContract
from thermocline.testing.contracts.shared_counts import OpenCounts, SharedCountsContract
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


class TestCountsInOneRedis(SharedCountsContract):
    @pytest.fixture
    def open_counts(self, redis_server: RedisServer) -> OpenCounts:
        return partial(redis_counts, redis_server.url)


class TestCountsInACluster(SharedCountsContract):
    @pytest.fixture
    def open_counts(self, redis_cluster: RedisCluster) -> OpenCounts:
        return partial(redis_counts, redis_cluster.url)


@asynccontextmanager
async def redis_counts(url: str) -> AsyncIterator[SharedCounts]:
    async with redis_cache(url) as cache:
        yield cache.counts
