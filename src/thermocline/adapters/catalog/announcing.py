"""Appending to `changes` inside the commit, so that all processes hear of it."""

from typing import Final

from sqlalchemy import bindparam, insert, select

from thermocline.adapters.catalog.dialects import integer_cell, listed_rows, text_cell
from thermocline.adapters.catalog.schema import changes
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Connection
from thermocline.domain.content_id import ContentId
from thermocline.domain.units import Timestamp
from thermocline.domain.work import Changed

_ANNOUNCE = Statement(
    insert(changes).values({name: bindparam(name) for name in ("content_id", "version", "committed_at")})
)

_listed = listed_rows("listed_versions")
ANNOUNCE_LISTED = Statement(
    insert(changes).from_select(
        ["content_id", "version", "committed_at"],
        select(text_cell(_listed, 0), integer_cell(_listed, 1), bindparam("committed_at")),
    )
)
"""The same for many: rows of content id and version."""


_PATTERN_MARK: Final = "\x01"
"""No content id begins with it, or has any control character: what does is a pattern of keys."""


def announce_pattern(connection: Connection, pattern: str, token: int, *, now: Timestamp) -> None:
    """Tell all processes which keys of the cache to evict."""
    announce(connection, _PATTERN_MARK + pattern, token, now=now)


def read_change(sequence: int, subject: str | None, version: int) -> Changed:
    """Return the change that a row of `changes` tells."""
    if subject is not None and subject.startswith(_PATTERN_MARK):
        return Changed(sequence, None, version, pattern=subject.removeprefix(_PATTERN_MARK))
    return Changed(sequence, None if subject is None else ContentId(subject), version)


def announce(connection: Connection, content_id: str | None, version: int, *, now: Timestamp) -> None:
    """Tell all processes that a content, or (None) something else, has changed."""
    connection.change(_ANNOUNCE, {"content_id": content_id, "version": version, "committed_at": now})
