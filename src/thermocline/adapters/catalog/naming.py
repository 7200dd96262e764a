"""Which object keys something in the catalog names.

A record can only name a key whose content id is its own, so records are looked up by content id and need no index
of object keys. A key that is not one of ours counts as named: what is not understood is never deleted.
"""

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Select, select
from sqlalchemy.sql.elements import ColumnElement

from thermocline.adapters.catalog.dialects import listed_rows, rows_parameter, text_cell
from thermocline.adapters.catalog.schema import contents, found_objects, intents, names_an_object, outbox, quarantine
from thermocline.adapters.catalog.statements import Statement
from thermocline.domain.keys import ObjectKey

_keys = listed_rows("object_keys")
_content_id: Final = text_cell(_keys, 0)
_object_key: Final = text_cell(_keys, 1)


def unnamed_keys(*columns: ColumnElement[object], work_too: bool) -> Select[*tuple[Any, ...]]:
    """Return a query of the listed keys, and `columns` beside, that no record and no intent names.

    With `work_too` no outbox row, no quarantine row and no object found by a recovery may name them either.
    """
    record = select(contents.c.content_id).where(
        contents.c.content_id == _content_id, contents.c.object_key == _object_key
    )
    intent = select(intents.c.object_key).where(intents.c.object_key == _object_key)
    query = select(_object_key, *columns).select_from(_keys).where(~record.exists(), ~intent.exists())
    if work_too:
        work = select(outbox.c.row_id).where(names_an_object, outbox.c.subject == _object_key)
        quarantined = select(quarantine.c.object_key).where(quarantine.c.object_key == _object_key)
        found = select(found_objects.c.content_id).where(
            found_objects.c.content_id == _content_id, found_objects.c.object_key == _object_key
        )
        query = query.where(~work.exists(), ~quarantined.exists(), ~found.exists())
    return query


UNNAMED_BY_RECORD_OR_INTENT = Statement(unnamed_keys(work_too=False))


def keys_parameter(object_keys: Iterable[str]) -> str:
    """Return the parameter of `unnamed_keys`: those of the keys that are ours, each once."""
    parsed = ((ObjectKey.parse(key), key) for key in dict.fromkeys(object_keys))
    return rows_parameter((parts.content_id, key) for parts, key in parsed if parts is not None)
