"""Which way leads to the Redis that is named."""

from thermocline.adapters.cache.redis_access import RedisAccess
from thermocline.adapters.cache.redis_cluster import ClusterRoute
from thermocline.adapters.cache.redis_routes import RedisRoute, SingleRoute, WatchedRoute
from thermocline.adapters.cache.redis_urls import RedisKind


def open_route(access: RedisAccess) -> RedisRoute:
    """Return the way to what `access` names. Connects to nothing yet; must be called where an event loop runs."""
    match access.location.kind:
        case RedisKind.CLUSTER:
            return ClusterRoute(access)
        case RedisKind.SENTINEL:
            return WatchedRoute(access)
        case RedisKind.SINGLE:
            return SingleRoute(access)
