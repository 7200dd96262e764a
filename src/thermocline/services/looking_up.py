"""Looking up the objects of many records: a listing shows a thousand in a request, where a HEAD shows one."""

from collections.abc import Sequence
from contextlib import aclosing
from typing import Final

from thermocline.domain.content import Record
from thermocline.ports.ranges import ListsRanges
from thermocline.services.placements import Placements

LIST_FROM: Final = 25
"""So many objects cost less to list than to look at: a range takes two requests, each at the price of 12.5 HEADs
(AWS, S3 Standard in us-east-1, November 2026)."""
MOST_BETWEEN: Final = 4
"""How many times as many objects are listed as are asked for, before those that are left are looked at one by one."""


async def not_listed(placements: Placements, records: Sequence[Record]) -> list[Record]:
    """Return the records whose objects no listing shows with as many bytes as they have: each is to be looked at.

    The others had their objects when their range was listed. Costs least for records whose ids follow one another.
    Raises `ConfigurationError`, and what the stores raise.
    """
    found: list[Record] = []
    by_placement: dict[str, dict[str, Record]] = {}
    for record in records:
        if record.object_key.startswith(placements.key_prefix(record.placement)):
            by_placement.setdefault(record.placement, {})[record.object_key] = record
        else:  # it was adopted, and lies anywhere
            found.append(record)
    for name, expected in by_placement.items():
        store = placements.named(name).store
        if len(expected) >= LIST_FROM and isinstance(store, ListsRanges):
            await _strike_out(store, placements.key_prefix(name), expected)
        found += expected.values()
    return found


async def _strike_out(store: ListsRanges, prefix: str, expected: dict[str, Record]) -> None:
    """Remove from `expected` what the listing of its range shows to be as it should."""
    most, listed = MOST_BETWEEN * len(expected), 0
    first, last = min(expected), max(expected)
    async with aclosing(store.list_range(prefix, after=first[:-1], until=last)) as pages:
        async for page in pages:
            for info in page:
                record = expected.get(info.key)
                if record is not None and info.finished and info.size == record.size:
                    del expected[info.key]
            listed += len(page)
            if listed > most:
                return
