"""Appending to `changes` inside the commit, so that all processes hear of it."""

from sqlalchemy import bindparam, insert

from thermocline.adapters.catalog.schema import changes
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Connection
from thermocline.domain.units import Timestamp

_ANNOUNCE = Statement(
    insert(changes).values({name: bindparam(name) for name in ("content_id", "version", "committed_at")})
)


def announce(connection: Connection, content_id: str | None, version: int, *, now: Timestamp) -> None:
    """Tell all processes that a content, or (None) something else, has changed."""
    connection.change(_ANNOUNCE, {"content_id": content_id, "version": version, "committed_at": now})
