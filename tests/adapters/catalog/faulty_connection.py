"""An SQLite connection whose statements fail, or kill the process, where a test says so."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from thermocline.adapters.catalog import sqlite_runner
from thermocline.adapters.catalog.sqlite_connections import SqliteFile, connect


class Died(BaseException):
    """The process was killed between two statements."""


class Plan:
    """What shall go wrong, shared by all connections of a test; only writers follow it."""

    def __init__(self) -> None:
        self.executed: list[str] = []
        self.fail: dict[str, list[int]] = {}
        """For a statement's first word, the result codes of its next failures."""
        self.die_at: int | None = None
        """Kill at this statement; from then on nothing reaches the database."""


class FaultyConnection:
    """Passes statements on to a real connection, unless the plan says otherwise."""

    def __init__(self, raw: sqlite3.Connection, plan: Plan) -> None:
        self._raw = raw
        self._plan = plan

    def execute(self, text: str, parameters: Any = ()) -> sqlite3.Cursor:
        plan = self._plan
        if plan.die_at is not None and len(plan.executed) >= plan.die_at:
            raise Died
        plan.executed.append(text)
        codes = plan.fail.get(text.split(maxsplit=1)[0])
        if codes:
            raise error_of(codes.pop(0))
        return self._raw.execute(text, parameters)

    def cursor(self) -> "FaultyCursor":
        return FaultyCursor(self)

    @property
    def total_changes(self) -> int:
        return self._raw.total_changes

    @property
    def in_transaction(self) -> bool:
        return self._raw.in_transaction

    def close(self) -> None:
        self._raw.close()


class FaultyCursor:
    """Runs one statement for many parameters; each time is a statement of its own."""

    def __init__(self, connection: FaultyConnection) -> None:
        self._connection = connection
        self.rowcount = -1

    def executemany(self, text: str, parameters: Iterable[Any]) -> None:
        self.rowcount = sum(self._connection.execute(text, each).rowcount for each in parameters)


def error_of(code: int) -> sqlite3.OperationalError:
    """Return the error that the driver raises for a result code."""
    error = sqlite3.OperationalError(f"planned failure {code}")
    error.sqlite_errorcode = code
    error.sqlite_errorname = f"SQLITE_{code}"
    return error


@contextmanager
def faults() -> Iterator[Plan]:
    """Let writers that are opened in the block follow the plan."""
    plan = Plan()

    def connect_faulty(file: SqliteFile, *, reads_only: bool = False) -> Any:
        raw = connect(file, reads_only=reads_only)
        return raw if reads_only else FaultyConnection(raw, plan)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_runner, "connect", connect_faulty)
        yield plan
