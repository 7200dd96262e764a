"""Appending to `changes` inside the commit, so that all processes hear of it."""

from sqlalchemy import bindparam, insert, select

from thermocline.adapters.catalog.dialects import integer_cell, listed_rows, text_cell
from thermocline.adapters.catalog.schema import changes
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Connection
from thermocline.domain.units import Timestamp

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


def announce(connection: Connection, content_id: str | None, version: int, *, now: Timestamp) -> None:
    """Tell all processes that a content, or (None) something else, has changed."""
    connection.change(_ANNOUNCE, {"content_id": content_id, "version": version, "committed_at": now})
