"""Transactions on an SQLite file: one writer thread with group commit, a few readers.

The writer takes all that waits (up to a limit), begins one transaction, runs each function, commits once and only
then answers. Functions check before they change anything, so the usual failure leaves nothing to undo and goes to
its caller alone. If one fails *after* it changed something, everything is rolled back and each function runs again
in a transaction of its own: no savepoint is paid for in the usual case.
"""

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from thermocline.adapters.catalog.jobs import Job, JobThreads, Server
from thermocline.adapters.catalog.sqlite_connections import SqliteFile, connect
from thermocline.adapters.catalog.sqlite_errors import translated, translated_at_commit, translated_at_opening
from thermocline.adapters.catalog.transactions import Connection, Runner, Transaction
from thermocline.domain.errors import CommitUnknownError, UnavailableError
from thermocline.domain.units import Seconds, Timestamp

T = TypeVar("T")

READERS = 2
BATCH = 64
"""How many transactions share a commit at most."""
CAPACITY = 4096
PATIENCE = Seconds(30.0)


class SqliteRunner(Runner):
    """Runs transactions on one SQLite file; other processes may use it at the same time."""

    long_reads = 1
    """SQLite takes one lock of the whole process for each allocation: two sweeps at once take longer than in turn."""

    def __init__(
        self, file: SqliteFile, database_clock: Callable[[], Timestamp], *, capacity: int, patience: Seconds
    ) -> None:
        self._writer = JobThreads(
            lambda: _Writer(file, database_clock),
            name="catalog-writer",
            threads=1,
            batch=BATCH,
            capacity=capacity,
            patience=patience,
            late_error=_unknown,
        )
        self._readers = JobThreads(
            lambda: _Reader(file, database_clock),
            name="catalog-reader",
            threads=READERS,
            batch=1,
            capacity=capacity,
            patience=patience,
            late_error=UnavailableError,
        )

    @classmethod
    async def open(
        cls,
        file: SqliteFile,
        database_clock: Callable[[], Timestamp],
        *,
        capacity: int = CAPACITY,
        patience: Seconds = PATIENCE,
    ) -> "SqliteRunner":
        """Return a runner whose connections are all open. Raises `ConfigurationError`, `UnavailableError`."""
        runner = cls(file, database_clock, capacity=capacity, patience=patience)
        try:
            await runner._writer.start()
            await runner._readers.start()
        except BaseException:
            await runner.aclose()
            raise
        return runner

    def read(self, function: Transaction[T]) -> Awaitable[T]:
        """Run a function that changes nothing, beside the writer."""
        return self._readers.submit(function)

    def write(self, function: Transaction[T], *, max_wait: Seconds | None = None) -> Awaitable[T]:
        """Run a function in the next group."""
        return self._writer.submit(function, max_wait)

    async def aclose(self) -> None:
        """Finish what is queued, then close every connection. Idempotent."""
        self._writer.refuse()
        await self._readers.aclose()
        await self._writer.aclose()  # last, because the last to close folds the write-ahead log into the file


def _unknown(message: str) -> CommitUnknownError:
    return CommitUnknownError(f"{message}; read to find out whether the change happened")


def _connect(file: SqliteFile, *, reads_only: bool) -> sqlite3.Connection:
    try:
        return connect(file, reads_only=reads_only)
    except sqlite3.Error as exc:
        raise translated_at_opening(exc, str(file.path)) from exc


class _Reader(Server):
    """Each statement is a transaction of its own and sees all that was committed before it."""

    def __init__(self, file: SqliteFile, database_clock: Callable[[], Timestamp]) -> None:
        self._raw = _connect(file, reads_only=True)
        self._connection = Connection(self._raw, "sqlite", database_clock)

    def serve(self, jobs: Sequence[Job[Any]]) -> None:
        """Run each function."""
        for job in jobs:
            _run(job, self._connection)

    def close(self) -> None:
        """Close the connection."""
        self._raw.close()


class _Writer(Server):
    def __init__(self, file: SqliteFile, database_clock: Callable[[], Timestamp]) -> None:
        self._raw = _connect(file, reads_only=False)
        self._busy_timeout = self._waits = file.busy_timeout
        self._connection = Connection(self._raw, "sqlite", database_clock)

    def serve(self, jobs: Sequence[Job[Any]]) -> None:
        """Run the functions in one transaction, or, if one spoils it, each in its own."""
        if not self._run_group(jobs):
            for job in jobs:
                job.value = job.error = None
                self._run_group([job])

    def close(self) -> None:
        """Close the connection; the last one of a process also empties the write-ahead log into the file."""
        self._raw.close()

    def _run_group(self, jobs: Sequence[Job[Any]]) -> bool:
        """Run and commit; False if the group was spoiled: then nothing is committed and nobody answered."""
        raw = self._raw
        self._roll_back()  # without effect, unless an earlier rollback failed
        try:
            self._wait_as_long_as(jobs)
            raw.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as exc:
            self._fail(jobs, translated(exc), exc)
            return True
        for job in jobs:
            changes_before = raw.total_changes
            _run(job, self._connection)
            # Some errors (a full disk) make SQLite roll back by itself.
            if job.error is not None and (raw.total_changes != changes_before or not raw.in_transaction):
                self._roll_back()
                return len(jobs) == 1
        self._commit(jobs)
        return True

    def _wait_as_long_as(self, jobs: Sequence[Job[Any]]) -> None:
        """Let statements wait for other processes as long as the most patient of the jobs."""
        wanted = max(self._busy_timeout if job.max_wait is None else job.max_wait for job in jobs)
        if wanted != self._waits:
            self._raw.execute(f"PRAGMA busy_timeout={round(wanted * 1000)}")
            self._waits = wanted

    def _commit(self, jobs: Sequence[Job[Any]]) -> None:
        try:
            self._raw.execute("COMMIT")
        except sqlite3.Error as exc:
            self._roll_back()
            self._fail([job for job in jobs if job.error is None], translated_at_commit(exc), exc)

    def _roll_back(self) -> None:
        if self._raw.in_transaction:
            try:
                self._raw.execute("ROLLBACK")
            except sqlite3.Error:
                return  # the next BEGIN tells what is wrong, to whoever needs it then

    @staticmethod
    def _fail(jobs: Sequence[Job[Any]], error: Exception, cause: sqlite3.Error) -> None:
        error.__cause__ = cause
        for job in jobs:
            job.error = error


def _run(job: Job[Any], connection: Connection) -> None:
    try:
        job.value = job.function(connection)
    except sqlite3.Error as exc:
        job.error = translated(exc)
        job.error.__cause__ = exc
    except BaseException as exc:  # noqa: BLE001 - whatever it is, it belongs to the caller, not to this thread
        job.error = exc
