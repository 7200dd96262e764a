"""Early refresh: a value that is read often is filled again before it ends, so that nobody waits for a miss.

When is drawn by chance, earlier the longer a fetch takes (XFetch: Vattani, Chierichetti, Lowenstein, "Optimal
Probabilistic Cache Stampede Prevention", VLDB 2015); the more readers, the surer is one of them early enough. 1. Take
the places beside the value: of all processes one does. 2. Read the record. Storage is never read: a value of another
revision is evicted anyway. 3. Fill, or give the places back. A change takes the place with the value, so what was read
before it is refused.
"""

import math
import random

from thermocline.domain.cache_types import CONTENT
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import StorageError
from thermocline.domain.units import elapsed
from thermocline.ports.cache import CacheEntry
from thermocline.ports.clock import Clock
from thermocline.ports.records import Records
from thermocline.services.background import Background
from thermocline.services.caching import ContentCache

_PREFIX = f"{CONTENT}:"
LONGEST_DRAW = 40.0
"""No draw is longer: 1 - `random()` is at least 2^-53, whose logarithm is -36.7."""


def is_due(entry: CacheEntry, clock: Clock) -> bool:
    """Whether this reader is the one who refreshes the value now. Drawn anew at each call."""
    if entry.fresh_until is None:
        return False
    left = elapsed(clock.now(), entry.fresh_until)
    if left > entry.fetch_cost * LONGEST_DRAW:
        return False
    return -entry.fetch_cost * math.log(1.0 - random.random()) >= left  # noqa: S311 - spreads load, guards nothing


class ContentRefresher:
    """Refreshes contents in the background; what is too much is dropped, and a later reader misses."""

    def __init__(self, cache: ContentCache, records: Records, background: Background, clock: Clock) -> None:
        self._cache = cache
        self._records = records
        self._background = background
        self._clock = clock
        self._under_way: set[str] = set()
        self.refreshed = 0

    def note_due(self, key: str, entry: CacheEntry) -> None:
        """Refresh the value of `key`, met in memory when it was due."""
        if key.startswith(_PREFIX):
            self._start(ContentId(key.removeprefix(_PREFIX)), entry)

    def note_found(self, content_id: ContentId, entry: CacheEntry) -> None:
        """Take in that the shared cache served a content, and refresh it if it is due."""
        if is_due(entry, self._clock):
            self._start(content_id, entry)

    def _start(self, content_id: ContentId, entry: CacheEntry) -> None:
        if content_id not in self._under_way and self._background.spawn(self._refresh(content_id, entry)):
            self._under_way.add(content_id)

    async def _refresh(self, content_id: ContentId, entry: CacheEntry) -> None:
        try:
            token = await self._cache.begin_refresh(content_id)
            if token is None:
                return
            try:
                filled = await self._fill(content_id, token, entry)
            except BaseException:
                await self._cache.give_up_fill(content_id, token)
                raise
            if not filled:
                await self._cache.give_up_fill(content_id, token)
        except StorageError:
            return  # the value lives on for the rest of its life, and the reader after that will see
        finally:
            self._under_way.discard(content_id)

    async def _fill(self, content_id: ContentId, token: str, entry: CacheEntry) -> bool:
        record = await self._records.find(content_id)
        if record is None or not record.is_alive(self._clock.now()) or not self._cache.is_cacheable(record):
            return False
        if record.revision != entry.revision:
            return False
        # The cost stays that of storage: it tells how much a miss is to be feared.
        await self._cache.fill(token, record, entry.payload, fetch_cost=entry.fetch_cost)
        self.refreshed += 1
        return True
