"""PostgreSQL for tests: one server for each process of the tests, a database for each test."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from thermocline.testing.servers.postgres import PostgresServer


@contextmanager
def postgres_server(*, durable: bool = False) -> Iterator[PostgresServer]:
    """A server for the length of the block; `durable`: what it acknowledged outlives that it is killed."""
    # Not in pytest's folders: each run of pytest closes them anew to other users, and PostgreSQL refuses to be root.
    with tempfile.TemporaryDirectory(prefix="thermocline-postgres-") as folder:
        server = PostgresServer(Path(folder), durable=durable)
        try:
            server.start()
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server that loses what it acknowledged if it is killed. Whoever uses it marks its tests `server`."""
    with postgres_server() as server:
        yield server
