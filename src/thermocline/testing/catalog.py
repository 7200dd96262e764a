"""Fresh catalogs for tests, in milliseconds: copies of one that was made by the migrations once per process."""

import functools
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Final

from thermocline.adapters.catalog.migrating import upgrade_file
from thermocline.adapters.catalog.sql import upgrade_catalog
from thermocline.adapters.catalog.sqlite_connections import SqliteFile
from thermocline.testing.clock import START
from thermocline.testing.servers.postgres import PostgresServer

INSTALLATION: Final = "test-installation"


def fresh_sqlite_catalog(path: Path, *, installation: str = INSTALLATION) -> str:
    """Put an empty catalog of that installation at `path` (replacing a closed one) and return its URL."""
    path.write_bytes(_template(installation))
    return f"sqlite:///{path.absolute()}"


def fresh_postgres_catalog(server: PostgresServer, *, installation: str = INSTALLATION) -> str:
    """Make a database with an empty catalog of that installation and return its URL."""
    return server.create_database(template=_postgres_template(server, installation))


@functools.cache
def _postgres_template(server: PostgresServer, installation: str) -> str:
    import psycopg

    url = server.create_database()
    upgrade_catalog(url)
    with psycopg.connect(url) as raw:
        raw.execute("UPDATE installation SET installation_id = %s, created_at = %s", (installation, START))
    return url.rpartition("/")[2]


@functools.cache
def _template(installation: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "template.db"
        upgrade_file(SqliteFile(path, unsafe_fast=True), lambda: START)
        with closing(sqlite3.connect(path, isolation_level=None)) as raw:
            raw.execute("UPDATE installation SET installation_id = ?", (installation,))
        # The last connection to close emptied the write-ahead log into the file.
        return path.read_bytes()
