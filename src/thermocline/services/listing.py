"""Listing contents in id order, page by page; any page costs the same."""

import base64
import binascii
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from thermocline.domain.content import Record
from thermocline.domain.content_id import parse_prefix
from thermocline.domain.errors import InvalidInputError
from thermocline.domain.tiers import StorageTier
from thermocline.ports.clock import Clock
from thermocline.ports.records import Records

MAX_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Page:
    """Some records in id order (by UTF-8 bytes), and the cursor of the next page."""

    records: Sequence[Record]
    next_cursor: str | None


class ListingService:
    """Listings see each content that exists throughout exactly once; others may or may not appear."""

    def __init__(self, records: Records, clock: Clock) -> None:
        self._records = records
        self._clock = clock

    async def page(
        self, *, prefix: str = "", tier: StorageTier | None = None, limit: int = 100, cursor: str | None = None
    ) -> Page:
        """Return up to `limit` (1 to 1000) records whose id starts with `prefix`. Raises `InvalidInputError`."""
        if not 1 <= limit <= MAX_PAGE:
            raise InvalidInputError(f"limit must be from 1 to {MAX_PAGE}, not {limit}")
        after = _read_cursor(cursor) if cursor else ""
        records = await self._records.page(
            prefix=parse_prefix(prefix), tier=tier, after=after, limit=limit, now=self._clock.now()
        )
        full = len(records) == limit
        return Page(records, _write_cursor(records[-1].content_id) if full else None)

    async def all(self, *, prefix: str = "", tier: StorageTier | None = None) -> AsyncIterator[Record]:
        """Yield every record whose id starts with `prefix`, in bounded memory."""
        cursor: str | None = None
        while True:
            page = await self.page(prefix=prefix, tier=tier, limit=MAX_PAGE, cursor=cursor)
            for record in page.records:
                yield record
            cursor = page.next_cursor
            if cursor is None:
                return


def _write_cursor(content_id: str) -> str:
    return base64.urlsafe_b64encode(content_id.encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> str:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return parse_prefix(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, InvalidInputError) as exc:
        raise InvalidInputError("the cursor is not one that a listing returned; start again without it") from exc
