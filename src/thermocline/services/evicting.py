"""Eviction by pattern: from the shared cache, then from memory here, then everywhere.

1. Each server of the shared cache is scanned page by page, and each page's keys get tombstones of the version found,
pipelined: what is under way then is refused. 2. Memory here is swept. 3. The pattern is announced, and every other
process sweeps its memory within a moment; one that does not hear shows what it holds for at most `l1_max_age`. So
nobody refills memory from what the shared cache still had. Interrupted anywhere, it has done a part, and the same call
does the rest. It works at most half of the time, so that others get their turn.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from thermocline.domain.cache_types import CONTENT, OWN_CONTENT, unknown_type
from thermocline.domain.errors import InvalidInputError, UnavailableError
from thermocline.domain.glob import is_sweeping
from thermocline.domain.units import Seconds
from thermocline.ports.cache import SharedLevel
from thermocline.ports.change_feed import ChangeFeed
from thermocline.ports.clock import Clock
from thermocline.services.cache_levels import TOMBSTONE_SECONDS
from thermocline.services.caching import ContentCache
from thermocline.services.value_caches import ValueCaches

MOST_PATTERN_BYTES: Final = 1024
MOST_OWN: Final = 1000
"""Announcements that this process remembers until it hears them; a forgotten one evicts here once more."""


class EvictionService:
    """Evicts what matches a pattern from every cache of the installation."""

    def __init__(
        self,
        contents: ContentCache,
        values: ValueCaches,
        shared: SharedLevel | None,
        feed: ChangeFeed,
        clock: Clock,
        *,
        entropy: Callable[[int], bytes],
    ) -> None:
        self._contents = contents
        self._values = values
        self._shared = shared
        self._feed = feed
        self._clock = clock
        self._types = tuple(values.types)
        self._entropy = entropy
        self._own: dict[int, None] = {}

    async def run(
        self,
        pattern: str,
        cache_type: str | None = None,
        *,
        everything: bool = False,
        dry_run: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Evict every value whose id matches the Redis glob, of one type or of all; return how many.

        With `dry_run` only count them, in the shared cache or else in memory here.

        Leases that match end too, so that what is being read now is not cached. `progress` hears how many are gone.
        Raises `InvalidInputError` for an unknown type, and for a pattern without a single given character unless
        `everything`; `UnavailableError` if a server of the shared cache does not answer: then a part is done.
        """
        patterns = self._patterns(pattern, cache_type, everything=everything)
        done = 0
        for each in patterns:
            try:
                async with aclosing(self._sweep_shared(each, dry_run=dry_run)) as counts:
                    async for count in counts:
                        done += count
                        if progress is not None:
                            progress(done)
            except UnavailableError as exc:
                raise UnavailableError(
                    f"the shared cache did not answer ({exc}); {done} values are gone, the same call evicts the rest"
                ) from exc
        if dry_run:
            return (
                done
                if self._shared is not None
                else sum([await self._contents.levels.count(each) for each in patterns])
            )
        for each in patterns:
            count = await self.evict_here(each)
            if self._shared is None:
                done += count
        for each in patterns:
            await self._feed.announce_eviction(each, self._new_token(), now=self._clock.now())
        return done

    async def hear(self, pattern: str, token: int) -> None:
        """Take in an announcement: evict what matches here, unless this process announced it, which did so before.

        What was filled here since then was read after everything that matched was gone.
        """
        if token in self._own:
            del self._own[token]
        else:
            await self.evict_here(pattern)

    def _new_token(self) -> int:
        token = int.from_bytes(self._entropy(8)) >> 1
        self._own[token] = None
        if len(self._own) > MOST_OWN:
            del self._own[next(iter(self._own))]
        return token

    async def evict_here(self, pattern: str) -> int:
        """Evict the keys that match from this process's memory, and part what is under way; return how many."""
        self._values.part(pattern)
        evicted = await self._contents.evict_here(pattern)
        self._values.part(pattern)
        return evicted

    def _patterns(self, pattern: str, cache_type: str | None, *, everything: bool) -> list[str]:
        if len(pattern.encode(errors="surrogatepass")) > MOST_PATTERN_BYTES or "\0" in pattern:
            raise InvalidInputError(f"a pattern has at most {MOST_PATTERN_BYTES} bytes, and no NUL")
        if not pattern:
            raise InvalidInputError("an empty pattern matches nothing; write '*' for everything")
        if is_sweeping(pattern) and not everything:
            raise InvalidInputError(
                f"the pattern {pattern!r} matches everything, or nearly; say so to mean it "
                "(everything=True; --everything on the command line)"
            )
        if cache_type is None:
            names = self._types
        elif cache_type in self._types:
            names = (cache_type,)
        else:
            raise unknown_type(cache_type, self._types)
        prefixes = [*names, *([OWN_CONTENT] if CONTENT in names else [])]
        return [f"{prefix}:{pattern}" for prefix in prefixes]

    async def _sweep_shared(self, pattern: str, *, dry_run: bool) -> AsyncGenerator[int]:
        """Evict what matches from the shared cache, yielding the count of each page."""
        if self._shared is None:
            return
        began = self._clock.monotonic()
        async for page in self._shared.match(pattern):
            yield len(page) if dry_run else await self._shared.evict(page, ttl=TOMBSTONE_SECONDS)
            await self._clock.sleep(Seconds(self._clock.monotonic() - began))
            began = self._clock.monotonic()
