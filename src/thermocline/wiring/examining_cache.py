"""What `doctor` says of Redis."""

from collections.abc import Iterator

from thermocline.domain.errors import StorageError
from thermocline.wiring.examination import Examination, Health
from thermocline.wiring.sections import CacheSettings
from thermocline.wiring.sharing_cache import redis_access

PART = "cache"


async def examine_cache(settings: CacheSettings) -> list[Examination]:
    """Return how the shared cache is; nothing where there is none."""
    if not settings.is_shared:
        return []
    from thermocline.adapters.cache.redis_checking import RedisFacts, examine_redis

    access = redis_access(settings)
    try:
        facts = await examine_redis(access)
    except StorageError as exc:
        remedy = "see the message; reads and writes go on without it"
        return [Examination(PART, Health.FAIL, str(exc), remedy)]

    def found(facts: RedisFacts) -> Iterator[Examination]:
        versions = ", ".join(sorted({server.version for server in facts.servers}))
        kind = access.location.kind.value
        detail = f"{kind}: {len(facts.servers)} server(s) with keys, version {versions}"
        yield Examination(PART, Health.OK, detail)
        if facts.cluster_state not in {None, "ok"}:
            detail = f"the cluster's state is {facts.cluster_state!r}: some slots are served by nobody"
            yield Examination(PART, Health.FAIL, detail, "see CLUSTER INFO and CLUSTER NODES; mend or replace the node")
        for server in facts.servers:
            if not server.is_master:
                detail = f"{server.name} is a replica, and takes no writes"
                yield Examination(
                    PART, Health.FAIL, detail, "name its master, the cluster or its Sentinels in [cache] url"
                )
            elif facts.cluster_state is not None and not server.replicas:
                detail = f"{server.name} has no replica: when it fails, its part of the cache is gone"
                yield Examination(PART, Health.WARN, detail, "add a replica, or accept that")
            if not server.maxmemory:
                detail = f"{server.name} has no maxmemory: it grows until the machine is full"
                yield Examination(PART, Health.WARN, detail, "set maxmemory, and maxmemory-policy volatile-lru")
            elif server.policy == "noeviction":
                detail = f"{server.name} may not evict (maxmemory-policy noeviction): once full, nothing new is cached"
                yield Examination(PART, Health.WARN, detail, "set maxmemory-policy volatile-lru or allkeys-lru")
            else:
                detail = (
                    f"{server.name}: {server.used / 2**20:.0f} of {server.maxmemory / 2**20:.0f} MiB, {server.policy}"
                )
                yield Examination(PART, Health.OK, detail)

    return list(found(facts))
