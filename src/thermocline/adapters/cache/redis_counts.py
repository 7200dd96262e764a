"""Counters that all processes of an installation add to: one hash in Redis, and one round trip whatever their number.

The hash lies beside the cache's keys, under the same prefix of all that is ours, where no pattern finds it and clearing
leaves it. Redis may evict it, or lose it with its memory: counters are for people, nothing is decided by them.
"""

from collections.abc import Mapping
from typing import Final

from redis.exceptions import ResponseError

from thermocline.adapters.cache.redis_calls import Calls
from thermocline.adapters.cache.redis_routes import RedisRoute
from thermocline.adapters.cache.redis_scripts import COUNT_SCRIPT
from thermocline.ports.cache import SharedCounts

LARGEST_COUNT: Final = 2**63 - 1


class RedisCounts(SharedCounts):
    """The counters of an installation. Raises `UnavailableError`, `OutOfSpaceError`."""

    def __init__(self, route: RedisRoute, calls: Calls, name: bytes) -> None:
        self._route = route
        self._calls = calls
        self._name = name

    @property
    def part(self) -> str:
        """The name of the server that has them, as far as is known."""
        try:
            return self._route.part_of(self._name)
        except Exception:  # noqa: BLE001 - while a cluster's nodes are being learnt, anything escapes
            return ""

    async def add(self, counts: Mapping[str, int]) -> None:
        """Add to the counters in one round trip. A call that is repeated after a failure may count twice."""
        arguments = [part for name, count in counts.items() if count for part in (name, count)]
        if arguments:
            await self._calls.script(COUNT_SCRIPT, self._name, *arguments)

    async def totals(self) -> Mapping[str, int]:
        """Return every counter; what is no counter there is left out."""
        try:
            told = await self._calls.command(self._name, "HGETALL", self._name)
        except ResponseError:  # it holds something else
            return {}
        pairs = zip(told[::2], told[1::2], strict=False)
        return {name.decode(errors="replace"): int(count) for name, count in pairs if _is_number(count)}


def _is_number(text: bytes) -> bool:
    return len(text) <= len(str(-LARGEST_COUNT)) and text.removeprefix(b"-").isdigit()
