"""`BulkWrites` in SQL: as `commits` does it for one, with a statement for all where one is enough.

1. Three statements read the revision floor and the database's time, the writes' live intents, and the rows, locked.
2. Each write is checked; those refused drop out and have changed nothing.
3. The rows are made or switched, the intents dropped, the outbox filled, the changes announced. Anything unforeseen
from here on (a row that somebody made, an intent that is gone) raises, so that all is rolled back.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple

from sqlalchemy import and_, bindparam, delete, false, insert, null, select

from thermocline.adapters.catalog.announcing import ANNOUNCE_LISTED
from thermocline.adapters.catalog.claims import micros
from thermocline.adapters.catalog.commits import CREATE, CheckedWrite, Moments, check_write, intent_lost, switch_record
from thermocline.adapters.catalog.dialects import is_listed, listed_texts, now_micros, rows_parameter, texts_parameter
from thermocline.adapters.catalog.locking import Locked, floor_lost, kept_floor
from thermocline.adapters.catalog.record_rows import RECORD_COLUMNS, row_of
from thermocline.adapters.catalog.schema import contents, installation, intents
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Connection, OvertakenError, Row, Runner
from thermocline.domain.errors import StorageError
from thermocline.domain.units import Seconds, Timestamp
from thermocline.ports.bulk_writes import BulkWrites
from thermocline.ports.records import Committed, Write

_is_live = and_(
    is_listed(intents.c.object_key, "object_keys"),
    intents.c.condemned == false(),
)
DECLARE_LISTED = Statement(
    insert(intents).from_select(
        ["object_key", "placement", "lease_until", "lease_token", "condemned", "deleted_once"],
        select(
            listed_texts("object_keys").c.value,
            bindparam("placement"),
            now_micros() + bindparam("lease"),
            null(),
            false(),
            false(),
        ),
    )
)
FLOOR = Statement(select(installation.c.revision_floor, now_micros()))
LIVE_INTENTS = Statement(select(intents.c.object_key).where(_is_live))
LOCK_LISTED = Statement(
    select(contents.c.deleted_at, *RECORD_COLUMNS)
    .where(is_listed(contents.c.content_id, "content_ids"))
    .order_by(contents.c.content_id)
    .with_for_update()
)
END_INTENTS = Statement(delete(intents).where(_is_live))
_ABSENT: Final[Row] = (None,) * (1 + len(RECORD_COLUMNS))


class SqlBulkWrites(BulkWrites):
    """Bulk writes in the tables `contents` and `intents`."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def declare(self, object_keys: Sequence[str], placement: str, *, lease: Seconds) -> None:
        """Durably name objects that are about to be uploaded, in one statement."""
        parameters = {"object_keys": texts_parameter(object_keys), "placement": placement, "lease": micros(lease)}
        await self._runner.write(lambda connection: connection.change(DECLARE_LISTED, parameters))

    async def commit(
        self, writes: Sequence[Write], *, now: Timestamp, delete_at: Timestamp, evict_at: Timestamp
    ) -> Sequence[Committed | StorageError]:
        """Switch each record to its new object, all of them in one transaction."""
        if len({write.content_id for write in writes}) < len(writes):
            raise ValueError("no two writes of one transaction may be of one content")
        return await self._runner.write(partial(_commit, writes=writes, moments=Moments(now, delete_at, evict_at)))


class _Answers(NamedTuple):
    """The answer to each write, and those that go on."""

    answers: list[Committed | StorageError]
    checked: list[CheckedWrite]


def _commit(connection: Connection, writes: Sequence[Write], moments: Moments) -> Sequence[Committed | StorageError]:
    answers, checked = _check(_locked(connection, writes), writes, moments)
    created = [each for each in checked if each.state.revision is None]
    # In order of the ids, so that two batches never wait for each other in a circle.
    rows = [row_of(each.record) for each in sorted(created, key=lambda each: each.record.content_id)]
    if rows and connection.change_each(CREATE, rows) != len(rows):
        raise OvertakenError("one of the contents is just created by somebody else; try again")
    for each in checked:
        if each.state.revision is not None:
            switch_record(connection, each, moments)
    if checked:
        keys = texts_parameter(each.record.object_key for each in checked)
        if connection.change(END_INTENTS, {"object_keys": keys}) != len(checked):
            raise intent_lost(checked[0].record.object_key)
        versions = rows_parameter((each.record.content_id, each.record.version) for each in checked)
        connection.change(ANNOUNCE_LISTED, {"listed_versions": versions, "committed_at": moments.now})
    return answers


def _locked(connection: Connection, writes: Sequence[Write]) -> Sequence[Locked]:
    """Lock every content's row, whatever it is, and read what the commits need."""
    floor = connection.first(FLOOR, {})
    if floor is None:
        raise floor_lost()
    keys = texts_parameter(write.object_key for write in writes)
    live = {row[0] for row in connection.all(LIVE_INTENTS, {"object_keys": keys})}
    ids = texts_parameter(write.content_id for write in writes)
    rows = {row[1]: row for row in connection.all(LOCK_LISTED, {"content_ids": ids})}
    if len(rows) < len(writes):
        floor = kept_floor(connection, floor)
    return [Locked((*floor, write.object_key in live, *rows.get(write.content_id, _ABSENT))) for write in writes]


def _check(states: Sequence[Locked], writes: Sequence[Write], moments: Moments) -> _Answers:
    found = _Answers([], [])
    for state, write in zip(states, writes, strict=True):
        try:
            checked = check_write(state, write, moments)
        except StorageError as exc:
            found.answers.append(exc)
        else:
            found.checked.append(checked)
            found.answers.append(checked.committed)
    return found
