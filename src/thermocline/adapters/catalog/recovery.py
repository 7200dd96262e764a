"""`Recovery` in SQL: what was found in the stores lies in `found_objects`, one row a content."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from sqlalchemy import and_, bindparam, case, delete, false, or_, select, true, update
from sqlalchemy.dialects import postgresql

from thermocline.adapters.catalog.announcing import announce
from thermocline.adapters.catalog.commits import END_INTENT, put_record, turns_private
from thermocline.adapters.catalog.locking import lock
from thermocline.adapters.catalog.queueing import queue_invalidation
from thermocline.adapters.catalog.record_rows import RECORD_COLUMNS, record_of
from thermocline.adapters.catalog.schema import contents, found_objects, installation
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Connection, OvertakenError, Row, Runner
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import IntentLostError, StorageError, UnavailableError
from thermocline.domain.recovery import Candidate, FoundObject, Standing
from thermocline.domain.units import Bytes, Timestamp
from thermocline.ports.records import Committed
from thermocline.ports.recovery import Adoption, Recovery, Replacement

RECOVERING = Statement(select(installation.c.recovering))
CONFIRM = Statement(update(installation).where(installation.c.recovering == true()).values(recovering=false()))

_known = found_objects.c
_note = postgresql.insert(found_objects).values({column.name: bindparam(column.name) for column in found_objects.c})
_is_newer = or_(
    _note.excluded.rank > _known.rank, and_(_note.excluded.rank == _known.rank, _note.excluded.token > _known.token)
)
_loser_at = case((_is_newer, _known.finished_at), else_=_note.excluded.finished_at)
_WINNERS: Final = ("object_key", "placement", "token", "rank", "size", "finished_at", "attributes")
NOTE = Statement(
    _note.on_conflict_do_update(
        index_elements=[_known.content_id],
        set_={
            **{name: case((_is_newer, _note.excluded[name]), else_=_known[name]) for name in _WINNERS},
            "rival_at": case((_loser_at > _known.rival_at, _loser_at), else_=_known.rival_at),
        },
        where=_known.object_key != _note.excluded.object_key,
    )
)
_FOUND_COLUMNS: Final = (
    _known.content_id,
    _known.object_key,
    _known.placement,
    _known.token,
    _known.rank,
    _known.size,
    _known.finished_at,
    _known.attributes,
    _known.rival_at,
)
CANDIDATES = Statement(
    select(*_FOUND_COLUMNS, contents.c.deleted_at, *RECORD_COLUMNS, contents.c.chunk_digests)
    .select_from(found_objects.outerjoin(contents, contents.c.content_id == _known.content_id))
    .where(_known.content_id >= bindparam("start"))
    .order_by(_known.content_id)
    .limit(bindparam("most"))
)
FORGET_FOUND = Statement(
    delete(found_objects).where(
        _known.content_id == bindparam("content_id"), _known.object_key == bindparam("object_key")
    )
)
REPLACE_OBJECT = Statement(
    update(contents)
    .where(contents.c.content_id == bindparam("content_id"))
    .values({name: bindparam(name) for name in ("version", "object_key", "chunk_digests")})
)
_WIDTH: Final = len(_FOUND_COLUMNS)


class SqlRecovery(Recovery):
    """Recovery on the tables `installation`, `found_objects` and `contents`."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def is_recovering(self) -> bool:
        """Whether the catalog is a restored backup that nobody has confirmed yet."""
        return await self._runner.read(_is_recovering)

    async def confirm(self) -> bool:
        """End the recovery; whether it was under way."""
        return await self._runner.write(lambda connection: connection.change(CONFIRM, {})) > 0

    async def note_found(self, found: Sequence[FoundObject]) -> None:
        """Keep the newest found object of each content. Raises `StorageError` unless the catalog recovers."""
        if found:
            await self._runner.write(partial(_note_found, found=found))

    async def candidates(self, *, start: str, limit: int) -> Sequence[Candidate]:
        """Return found objects with what the catalog knows, in content-id order, from `start` (included) on."""
        parameters = {"start": start, "most": limit}
        rows = await self._runner.read(lambda connection: connection.all(CANDIDATES, parameters))
        return [_candidate_of(row) for row in rows]

    async def forget_found(self, found: Sequence[FoundObject]) -> None:
        """Drop found objects that will not be adopted."""
        if found:
            await self._runner.write(partial(_forget_found, found=found))

    async def commit_adoption(self, adoption: Adoption, *, now: Timestamp, evict_at: Timestamp) -> Committed | None:
        """Switch the record to the found object, or return None if the content stands otherwise by now."""
        return await self._runner.write(partial(_adopt, adoption=adoption, now=now, evict_at=evict_at))

    async def commit_replacement(self, replacement: Replacement, *, now: Timestamp) -> Committed | None:
        """Switch the record to the copy, or return None: the copy is garbage."""
        return await self._runner.write(partial(_replace, replacement=replacement, now=now))


def _is_recovering(connection: Connection) -> bool:
    row = connection.first(RECOVERING, {})
    if row is None:
        raise UnavailableError("the catalog has lost its installation row; restore a backup")
    return bool(row[0])


def _note_found(connection: Connection, found: Sequence[FoundObject]) -> None:
    if not _is_recovering(connection):
        raise StorageError("the catalog's recovery was confirmed meanwhile; unknown objects are not adopted any more")
    for one in found:
        connection.change(
            NOTE,
            {
                "content_id": one.content_id,
                "object_key": one.object_key,
                "placement": one.placement,
                "token": one.token,
                "rank": one.rank,
                "size": one.size,
                "finished_at": one.finished_at,
                "attributes": json.dumps(dict(one.attributes)),
                "rival_at": one.rival_at,
            },
        )


def _forget_found(connection: Connection, found: Sequence[FoundObject]) -> None:
    for one in found:
        connection.change(FORGET_FOUND, {"content_id": one.content_id, "object_key": one.object_key})


def _adopt(connection: Connection, adoption: Adoption, now: Timestamp, evict_at: Timestamp) -> Committed | None:
    found, standing, wanted = adoption.candidate.found, adoption.candidate.standing, adoption.record
    state = lock(connection, found.content_id)
    # Every committed change raises the version: equal versions are equal rows.
    if state.version != (0 if standing is None else standing.version):
        return None
    old = record_of(state.row) if state.is_live else None
    keeps_revision = old is not None and wanted.revision == old.revision
    revision = wanted.revision if keeps_revision else max(state.next_revision(), wanted.revision)
    record = replace(wanted, revision=revision, version=max(state.next_version(revision), wanted.version))
    if not connection.change(FORGET_FOUND, {"content_id": found.content_id, "object_key": found.object_key}):
        return None
    if not put_record(connection, state, record):
        # Raising undoes what was done above; the next try finds the row.
        raise OvertakenError(f"content {found.content_id!r} was created meanwhile; try again")
    if state.revision is not None:
        hard = old is not None and turns_private(old, record)
        queue_invalidation(connection, record, hard=hard, due_at=evict_at)
    announce(connection, record.content_id, record.version, now=now)
    return Committed(record, created=old is None)


def _replace(connection: Connection, replacement: Replacement, now: Timestamp) -> Committed | None:
    seen, key = replacement.record, replacement.object_key
    state = lock(connection, seen.content_id, key)
    if not state.is_live or not state.has_intent or state.version != seen.version:
        return None
    current = record_of(state.row)
    if not connection.change(END_INTENT, {"object_key": key}):
        raise IntentLostError(f"the copy {key!r} was given up before its commit; nothing was changed")
    version = state.version + 1
    connection.change(
        REPLACE_OBJECT,
        {
            "content_id": seen.content_id,
            "version": version,
            "object_key": key,
            "chunk_digests": replacement.chunk_digests,
        },
    )
    announce(connection, seen.content_id, version, now=now)
    record = replace(current, version=version, object_key=key, chunk_digests=replacement.chunk_digests)
    return Committed(record, created=False)


def _candidate_of(row: Row) -> Candidate:
    found = FoundObject(
        content_id=ContentId(row[0]),
        object_key=row[1],
        placement=row[2],
        token=row[3],
        rank=row[4],
        size=Bytes(row[5]),
        finished_at=Timestamp(row[6]),
        attributes=json.loads(row[7]),
        rival_at=Timestamp(row[8]),
    )
    deleted_at, known = row[_WIDTH], row[_WIDTH + 1 :]
    if known[0] is None:
        return Candidate(found, None)
    record = record_of(known) if deleted_at is None else None
    return Candidate(found, Standing(revision=known[1], version=known[2], record=record))
