"""`AdoptedObjects` in SQL: one row for each content and the object that it has adopted.

Barring: 1. Insert a condemned intent for each key that has a row: where writers take no turns this waits for the
adoption that holds the key's intent. 2. Only then ask which of the keys a record names: the statement sees what that
adoption committed. 3. Take the intents of the named ones back.
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Final

from sqlalchemy import Text, bindparam, delete, exists, func, literal_column, select, true
from sqlalchemy import false as sql_false
from sqlalchemy.dialects import postgresql

from thermocline.adapters.catalog.claims import micros, new_lease_token
from thermocline.adapters.catalog.dialects import is_listed, now_micros, texts_parameter
from thermocline.adapters.catalog.record_rows import metadata_of
from thermocline.adapters.catalog.schema import adopted, contents, has_object, installation, intents
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.sweeps import CONTENT_AFTER
from thermocline.adapters.catalog.transactions import Connection, Runner
from thermocline.domain.adopted_objects import BarredObjects, ObjectStamp
from thermocline.domain.file_stamps import stamp_in
from thermocline.domain.units import Bytes, Seconds, Timestamp
from thermocline.ports.adopted_objects import AdoptedObjects
from thermocline.ports.records import Write

_NANOS_PER_MICRO: Final = 1000

_noted = postgresql.insert(adopted).values({column.name: bindparam(column.name) for column in adopted.c})
NOTE = Statement(
    _noted.on_conflict_do_update(
        index_elements=[adopted.c.object_key, adopted.c.content_id],
        set_={name: _noted.excluded[name] for name in ("size", "modified_at", "etag")},
    )
)
_is_asked = is_listed(adopted.c.object_key, "object_keys")
_is_named = exists().where(contents.c.content_id == adopted.c.content_id, contents.c.object_key == adopted.c.object_key)
BAR = Statement(
    postgresql.insert(intents)
    .from_select(
        ["object_key", "placement", "lease_until", "lease_token", "condemned", "deleted_once"],
        select(
            adopted.c.object_key,
            bindparam("placement"),
            now_micros() + bindparam("lease"),
            bindparam("token"),
            true(),
            sql_false(),
        )
        .where(_is_asked)
        .distinct()
        # In order, so that two batches never wait for each other in a circle.
        .order_by(adopted.c.object_key),
    )
    .on_conflict_do_nothing(index_elements=[intents.c.object_key])
)
_is_own_bar = (is_listed(intents.c.object_key, "object_keys"), intents.c.lease_token == bindparam("token"))
OWN_BARS = Statement(select(intents.c.object_key).where(*_is_own_bar))
LIFT = Statement(delete(intents).where(*_is_own_bar))
NOTES = Statement(
    select(adopted.c.object_key, _is_named, adopted.c.size, adopted.c.modified_at, adopted.c.etag).where(_is_asked)
)
LOCK_NOTES = Statement(
    select(adopted.c.object_key, adopted.c.content_id)
    .where(_is_asked)
    .order_by(adopted.c.object_key, adopted.c.content_id)
    .with_for_update()
)
FORGET = Statement(delete(adopted).where(_is_asked, ~_is_named))
OWN_PREFIX = Statement(select(installation.c.installation_id))
_own_prefix = bindparam("own_prefix", type_=Text)
LAST_CONTENT = Statement(select(contents.c.content_id).order_by(contents.c.content_id.desc()).limit(1))
UNNOTED = Statement(
    select(contents.c.content_id, contents.c.object_key, contents.c.size, contents.c.metadata)
    .where(
        contents.c.content_id > bindparam("after"),
        contents.c.content_id <= bindparam("until"),
        has_object,
        # Not LIKE, for which SQLite takes "A" and "a" for the same.
        func.substr(contents.c.object_key, literal_column("1"), func.length(_own_prefix)) != _own_prefix,
        ~exists().where(adopted.c.object_key == contents.c.object_key, adopted.c.content_id == contents.c.content_id),
    )
    .order_by(contents.c.content_id)
    .with_for_update(of=contents)
)


class SqlAdoptedObjects(AdoptedObjects):
    """Notes in the table `adopted`."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def bar(self, object_keys: Sequence[str], placement: str, *, lease: Seconds) -> BarredObjects:
        """Bar those objects from being adopted that were, and that no record names. One transaction."""
        return await self._runner.write(
            partial(_bar, keys=object_keys, placement=placement, token=new_lease_token(), lease=lease)
        )

    async def forget(self, object_keys: Sequence[str], *, token: str | None = None) -> None:
        """Drop the notes of contents that have ended, and the bar, in one transaction."""
        if object_keys:
            await self._runner.write(partial(_forget, keys=object_keys, token=token))

    async def note_unnoted(self, *, after: str, limit: int) -> str | None:
        """Note what an older version had committed, a range of ids at a time."""
        return await self._runner.write(partial(_note_unnoted, after=after, limit=limit))


def note_adoption(connection: Connection, write: Write, stamp: ObjectStamp) -> None:
    """Note, in the commit that adopts, which object the content names from now on."""
    connection.change(NOTE, _row(write.object_key, write.content_id, stamp))


def _bar(connection: Connection, keys: Sequence[str], placement: str, token: str, lease: Seconds) -> BarredObjects:
    asked = {"object_keys": texts_parameter(keys)}
    connection.change(BAR, {**asked, "placement": placement, "token": token, "lease": micros(lease)})
    own = {row[0] for row in connection.all(OWN_BARS, {**asked, "token": token})}
    stamps: defaultdict[str, list[ObjectStamp]] = defaultdict(list)
    named = set()
    for key, is_named, size, modified_at, etag in connection.all(NOTES, asked):
        stamps[key].append(ObjectStamp(Bytes(size), None if modified_at is None else Timestamp(modified_at), etag))
        if is_named:
            named.add(key)
    if lifted := own & named:
        connection.change(LIFT, {"object_keys": texts_parameter(sorted(lifted)), "token": token})
    return BarredObjects(
        token,
        {key: stamps[key] for key in own - named},
        frozenset(stamps.keys() - own - named),
    )


def _forget(connection: Connection, keys: Sequence[str], token: str | None) -> None:
    asked = {"object_keys": texts_parameter(keys)}
    if connection.has_rivals:
        connection.all(LOCK_NOTES, asked)  # an adoption of the same object again ends before its record is looked for
    connection.change(FORGET, asked)
    if token is not None:
        connection.change(LIFT, {**asked, "token": token})


def _note_unnoted(connection: Connection, after: str, limit: int) -> str | None:
    until = connection.first(CONTENT_AFTER, {"after": after, "skip": limit - 1})
    last = connection.first(LAST_CONTENT, {}) if until is None else until
    own = connection.first(OWN_PREFIX, {})
    if last is None or own is None or last[0] <= after:
        return None
    bounds = {"after": after, "until": last[0], "own_prefix": f"{own[0]}/"}
    for content_id, object_key, size, metadata in connection.all(UNNOTED, bounds):
        source = stamp_in(Bytes(size), metadata_of(metadata))
        modified_at = None if source is None else Timestamp(source.modified_ns // _NANOS_PER_MICRO)
        connection.change(NOTE, _row(object_key, content_id, ObjectStamp(Bytes(size), modified_at)))
    return None if until is None else str(until[0])


def _row(object_key: str, content_id: str, stamp: ObjectStamp) -> dict[str, object]:
    return {
        "object_key": object_key,
        "content_id": content_id,
        "size": stamp.size,
        "modified_at": stamp.modified_at,
        "etag": stamp.etag,
    }
