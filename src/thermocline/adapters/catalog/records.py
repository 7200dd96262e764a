"""`Records` in SQL."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from sqlalchemy import Select, bindparam, delete, false, or_, select, update
from sqlalchemy.sql.elements import ColumnElement

from thermocline.adapters.catalog.commits import Moments, commit_changes, commit_delete, commit_write
from thermocline.adapters.catalog.describing import describe
from thermocline.adapters.catalog.erasing import commit_erase
from thermocline.adapters.catalog.finding import Finder
from thermocline.adapters.catalog.locking import CLOSE_FLOOR
from thermocline.adapters.catalog.record_rows import RECORD_COLUMNS, record_of
from thermocline.adapters.catalog.schema import contents, installation, is_live, is_tombstone
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Connection, Runner
from thermocline.domain.content import Changes, Condition, Record
from thermocline.domain.content_id import MAX_CONTENT_ID_BYTES, ContentId
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Timestamp
from thermocline.ports.records import Committed, Erased, Records, Write

_LAST_CHARACTER: Final = "\U0010ffff"
_FIRST_CHARACTER: Final = "\x01"
"""No content id has control characters, so an id followed by this comes before every id that is greater."""
BEYOND_ALL: Final = _LAST_CHARACTER * (MAX_CONTENT_ID_BYTES // 4 + 1)
"""Longer than an id can be, of the greatest character: greater than every id."""


def first_after(content_id: str) -> str:
    """Return the text from which on those ids begin that are greater than this one; after "" all of them."""
    return content_id + _FIRST_CHARACTER if content_id else ""


def _page_of(*conditions: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    return (
        select(*RECORD_COLUMNS)
        .where(
            is_live,
            *conditions,
            contents.c.content_id >= bindparam("first"),
            contents.c.content_id < bindparam("end"),
            or_(contents.c.expires_at.is_(None), contents.c.expires_at > bindparam("now")),
        )
        .order_by(contents.c.content_id)
        .limit(bindparam("most"))
    )


PAGE = Statement(_page_of())
PAGE_OF_TIER = Statement(_page_of(contents.c.tier == bindparam("tier")))
EXPIRED = Statement(
    select(contents.c.content_id)
    .where(contents.c.expires_at.is_not(None), contents.c.held == false(), contents.c.expires_at <= bindparam("now"))
    .order_by(contents.c.expires_at, contents.c.content_id)
    .limit(bindparam("most"))
)
FORGET = Statement(
    delete(contents)
    .where(
        contents.c.content_id.in_(
            select(contents.c.content_id)
            .where(is_tombstone, contents.c.deleted_at < bindparam("deleted_before"))
            .order_by(contents.c.deleted_at)
            .limit(bindparam("most"))
        ),
        # Once more, of the row itself: where writers do not take turns it may have become a record meanwhile.
        is_tombstone,
        contents.c.deleted_at < bindparam("deleted_before"),
    )
    .returning(contents.c.revision, contents.c.version)
)
RAISE_FLOOR = Statement(
    update(installation)
    .where(installation.c.revision_floor < bindparam("floor"))
    .values(revision_floor=bindparam("floor"))
)


class SqlRecords(Records):
    """Records in the table `contents`."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._finder = Finder(runner)

    async def find(self, content_id: ContentId) -> Record | None:
        """Return the committed record with its chunk digests, or None; look-ups of one turn share a statement."""
        return await self._finder.find(content_id)

    async def describe(self, content_id: ContentId, *, now: Timestamp) -> Record | None:
        """Return what `find` does, with access summary, restore and planned move."""
        return await self._runner.read(partial(describe, content_id=content_id, now=now))

    async def page(
        self, *, prefix: str, tier: StorageTier | None, after: str, limit: int, now: Timestamp
    ) -> Sequence[Record]:
        """Return up to `limit` live records in byte order of their ids, those after `after` only."""
        parameters = {
            # One lower bound: given two, the database may pick the one that skips nothing.
            "first": max(prefix, first_after(after)),
            "end": end_of_prefix(prefix),
            "now": now,
            "most": limit,
        }
        if tier is None:
            rows = await self._runner.read(lambda connection: connection.all(PAGE, parameters))
        else:
            parameters["tier"] = tier.value
            rows = await self._runner.read(lambda connection: connection.all(PAGE_OF_TIER, parameters))
        return [record_of(row) for row in rows]

    async def commit_write(
        self, write: Write, *, now: Timestamp, delete_at: Timestamp, evict_at: Timestamp
    ) -> Committed:
        """Switch the record to the new object, in one transaction with all that must follow."""
        moments = Moments(now, delete_at, evict_at)
        return await self._runner.write(partial(commit_write, write=write, moments=moments))

    async def commit_delete(
        self,
        content_id: ContentId,
        *,
        condition: Condition,
        now: Timestamp,
        delete_at: Timestamp,
        evict_at: Timestamp,
        only_expired: bool = False,
    ) -> Committed | None:
        """Leave a catalog tombstone, in one transaction with all that must follow."""
        return await self._runner.write(
            partial(
                commit_delete,
                content_id=content_id,
                condition=condition,
                moments=Moments(now, delete_at, evict_at),
                only_expired=only_expired,
            )
        )

    async def commit_erase(
        self, content_id: ContentId, *, prefixes: Sequence[str], now: Timestamp, evict_at: Timestamp
    ) -> Erased:
        """Delete the content, and all that the catalog tells of it, in one transaction. Idempotent."""
        moments = Moments(now, now, evict_at)
        return await self._runner.write(
            partial(commit_erase, content_id=content_id, prefixes=prefixes, moments=moments)
        )

    async def commit_changes(
        self, content_id: ContentId, changes: Changes, *, condition: Condition, now: Timestamp, evict_at: Timestamp
    ) -> Committed | None:
        """Change the record, not the bytes, in one transaction with all that must follow."""
        return await self._runner.write(
            partial(
                commit_changes,
                content_id=content_id,
                changes=changes,
                condition=condition,
                moments=Moments(now, now, evict_at),
            )
        )

    async def expired(self, *, now: Timestamp, limit: int) -> Sequence[ContentId]:
        """Return contents without hold whose `expires_at` has come, oldest first."""
        rows = await self._runner.read(lambda connection: connection.all(EXPIRED, {"now": now, "most": limit}))
        return [ContentId(row[0]) for row in rows]

    async def forget_tombstones(self, *, deleted_before: Timestamp, limit: int) -> int:
        """Drop old tombstones and raise the revision floor above them, in one transaction; how many."""
        return await self._runner.write(partial(_forget, deleted_before=deleted_before, limit=limit))


def _forget(connection: Connection, deleted_before: Timestamp, limit: int) -> int:
    if connection.has_rivals:
        connection.all(CLOSE_FLOOR, {})  # waits for creations under way, which rely on the floor; new ones wait for it
    rows = connection.all(FORGET, {"deleted_before": deleted_before, "most": limit})
    if rows:
        connection.change(RAISE_FLOOR, {"floor": max(max(row) for row in rows)})
    return len(rows)


def end_of_prefix(prefix: str) -> str:
    """Return the smallest text, in byte order of UTF-8, that is greater than every id with the prefix."""
    stem = prefix.rstrip(_LAST_CHARACTER)
    if not stem:
        return BEYOND_ALL
    following = ord(stem[-1]) + 1
    if following == 0xD800:  # noqa: PLR2004 - the surrogates, which no text holds
        following = 0xE000
    return stem[:-1] + chr(following)
