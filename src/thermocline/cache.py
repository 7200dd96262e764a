"""The face of the caches: `store.cache`, by the seed's names and by short ones. No logic of its own."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from thermocline.domain.cache_types import CONTENT
from thermocline.domain.content_id import parse_content_id
from thermocline.domain.digests import Buffer
from thermocline.domain.errors import InvalidInputError
from thermocline.domain.predictions import Prediction
from thermocline.domain.units import Seconds
from thermocline.services.value_caches import Compute
from thermocline.services.warming import CONCURRENCY, THRESHOLD, WarmItem, WarmReport
from thermocline.wiring.services import Services


class StoreCache:
    """Values by cache type and id, in memory and in the cache that processes share.

    Types are those of `[cache.types]`: `content`, `metadata`, `user_preferences`, `recommendations`, and your own.
    A cache that does not answer fails no call. Every method raises `InvalidInputError` for an unknown type, and
    `InvalidContentIdError` for an id that breaks the rules of content ids.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    async def cache_content(
        self, content_id: str, content_data: Buffer, ttl: float | None = None, cache_type: str = CONTENT
    ) -> bool:
        """Keep `content_data` for `ttl` seconds, by default the type's; whether it was taken.

        Refused: what is larger than the type allows, a `ttl` of 0, and under `content` other bytes than those that
        are stored under this id.
        """
        if not isinstance(content_data, bytes | bytearray | memoryview):
            raise InvalidInputError(f"what is cached must be bytes, not {type(content_data).__name__}")
        return await self._services.values.put(
            parse_content_id(content_id),
            bytes(content_data),
            ttl=None if ttl is None else Seconds(ttl),
            cache_type=cache_type,
        )

    async def get_cached_content(self, content_id: str, cache_type: str = CONTENT) -> bytes | None:
        """Return what is cached, or None. Never asks storage; counts as no read of the content."""
        return await self._services.values.get(parse_content_id(content_id), cache_type=cache_type)

    async def fetch(
        self, content_id: str, compute: Compute, *, ttl: float | None = None, cache_type: str
    ) -> bytes | None:
        """Return what is cached; else await `compute()`, once for all who ask in any process, and keep its result.

        An eviction while it computes refuses the result to the cache. Values read often are computed again before
        they end. If `compute` raises, a value that ended at most `[cache] stale_if_error` ago is returned, if there is
        one. None is returned, and not kept.
        """
        return await self._services.values.fetch(
            parse_content_id(content_id), compute, ttl=None if ttl is None else Seconds(ttl), cache_type=cache_type
        )

    async def invalidate_cache(
        self,
        pattern: str,
        cache_type: str | None = None,
        *,
        everything: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Evict every value whose id matches the Redis glob (`domain.glob.escape_glob` quotes), of one or all types.

        Return how many; also what is being read or computed now is not cached. A pattern that matches everything needs
        `everything`. Other processes evict from their memory within a moment, at the latest after `[cache] l1_max_age`.
        `progress` hears how many are gone. May be cancelled; the same call goes on.
        Raises `UnavailableError` if a part could not be evicted.
        """
        return await self._services.evicting.run(pattern, cache_type, everything=everything, progress=progress)

    async def warm_cache(
        self,
        content_predictions: Iterable[Prediction | Mapping[str, Any]],
        *,
        threshold: float = THRESHOLD,
        concurrency: int = CONCURRENCY,
        byte_budget: int | None = None,
        deadline: float | None = None,
        dry_run: bool = False,
        progress: Callable[[WarmItem], None] | None = None,
    ) -> WarmReport:
        """Bring contents with a probability strictly above `threshold` into the caches, the most worthwhile first.

        A prediction is `{"content_id": ..., "access_probability": 0.9}`. The report tells what became of each;
        `byte_budget` bounds what is read, `deadline` (seconds) how long it may take; nothing is taken from an archive.
        May be cancelled. Raises `InvalidInputError` for what is no prediction, before anything is done, and
        `BusyError` while too many warmings run.
        """
        return await self._services.warming.warm_cache(
            content_predictions,
            threshold=threshold,
            concurrency=concurrency,
            byte_budget=byte_budget,
            deadline=deadline,
            dry_run=dry_run,
            progress=progress,
        )

    async def get_cache_statistics(self) -> Mapping[str, Any]:
        """Return hits, misses, sets, sizes and hit ratio of each cache type, and of each level of it.

        With a shared cache, counts are of all processes of the installation; else of this one. What memory holds is
        this process's.
        """
        return await self._services.statistics.read()

    put = cache_content
    get = get_cached_content
    invalidate = invalidate_cache
    warm = warm_cache
    stats = get_cache_statistics
