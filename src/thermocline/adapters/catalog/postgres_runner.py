"""Transactions on PostgreSQL: a few threads that read and a few that write, each with a connection of its own.

Reads are statements on their own. A write is BEGIN, the function, COMMIT in READ COMMITTED: functions lock what they
rely on. Where another transaction was faster after all (a deadlock, the same new row) the function runs again. So it
does when the connection breaks *before* COMMIT was sent: the server has certainly rolled back. When it breaks while
COMMIT is answered, the effect is unknown, and that is what the caller is told.
"""

import contextlib
import random
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import psycopg

from thermocline.adapters.catalog.dialects import POSTGRESQL, POSTGRESQL_WITH_CLOCK
from thermocline.adapters.catalog.jobs import Job, JobThreads, Server
from thermocline.adapters.catalog.postgres_connections import PostgresDatabase, RawConnection, connect
from thermocline.adapters.catalog.postgres_errors import (
    is_lost,
    runs_again,
    translated,
    translated_at_commit,
)
from thermocline.adapters.catalog.transactions import Connection, OvertakenError, Runner, Transaction
from thermocline.domain.errors import CommitUnknownError, StorageError, UnavailableError
from thermocline.domain.units import Seconds, Timestamp

T = TypeVar("T")

CONNECTIONS: Final = 8
CAPACITY: Final = 4096
PATIENCE: Final = Seconds(15.0)
"""How long a transaction may take from being asked for to its answer."""
_TRIES: Final = 12
"""Of a transaction that others overtake. Each pauses a little longer, so that somebody gets through."""
_PAUSE: Final = Seconds(0.004)
_CONNECTIONS_TRIED: Final = 2
"""One may have died unnoticed; a fresh one that breaks, too, is the server's trouble."""
_WATCH_EVERY: Final = Seconds(1.0)


class PostgresRunner(Runner):
    """Runs transactions on one database; other processes use it at the same time."""

    def __init__(
        self,
        database: PostgresDatabase,
        database_clock: Callable[[], Timestamp] | None,
        *,
        connections: int,
        capacity: int,
        patience: Seconds,
    ) -> None:
        self._watch = _Watch(patience)
        writers = max(1, connections // 2)
        readers = max(1, connections - writers)
        self.long_reads = max(1, readers // 2)

        def threads(name: str, count: int, *, reads_only: bool) -> JobThreads:
            return JobThreads(
                lambda: _Server(database, database_clock, self._watch, reads_only=reads_only),
                name=name,
                threads=count,
                batch=1,
                capacity=capacity,
                patience=patience,
                late_error=UnavailableError if reads_only else _unknown,
            )

        self._writers = threads("catalog-writer", writers, reads_only=False)
        self._readers = threads("catalog-reader", readers, reads_only=True)

    @classmethod
    async def open(
        cls,
        database: PostgresDatabase,
        database_clock: Callable[[], Timestamp] | None = None,
        *,
        connections: int = CONNECTIONS,
        capacity: int = CAPACITY,
        patience: Seconds = PATIENCE,
    ) -> "PostgresRunner":
        """Return a runner. It connects when there is something to do, and again whenever a connection broke.

        `database_clock` stands for the database's own in tests.
        """
        runner = cls(database, database_clock, connections=connections, capacity=capacity, patience=patience)
        try:
            await runner._writers.start()
            await runner._readers.start()
        except BaseException:
            await runner.aclose()
            raise
        return runner

    def read(self, function: Transaction[T]) -> Awaitable[T]:
        """Run a function that changes nothing, each of its statements on its own."""
        return self._readers.submit(function)

    def write(self, function: Transaction[T], *, max_wait: Seconds | None = None) -> Awaitable[T]:
        """Run a function as one transaction."""
        return self._writers.submit(function, max_wait)

    async def aclose(self) -> None:
        """Finish what is queued, then close every connection. Idempotent."""
        self._writers.refuse()
        await self._readers.aclose()
        await self._writers.aclose()
        self._watch.end()


def _unknown(message: str) -> CommitUnknownError:
    return CommitUnknownError(f"{message}; it may have committed, read to find out")


class _Watch:
    """Cuts connections whose server has not answered for too long: their threads would wait for ever.

    A server whose machine lives but which stands still acknowledges every packet, so no timeout of TCP helps.
    """

    def __init__(self, patience: Seconds) -> None:
        self._patience = patience
        self._servers: list[_Server] = []
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def add(self, server: "_Server") -> None:
        """Watch a server from now on."""
        with self._starting:
            self._servers.append(server)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="catalog-watch", daemon=True)
                self._thread.start()

    def deadline(self) -> float:
        """Return until when what begins now may take."""
        return time.monotonic() + self._patience

    def end(self) -> None:
        """Stop watching. Idempotent."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(min(_WATCH_EVERY, self._patience / 4)):
            now = time.monotonic()
            for server in list(self._servers):
                server.cut_if_late(now)


class _Server(Server):
    """One connection and what runs on it; in its thread, except for `cut_if_late`."""

    def __init__(
        self,
        database: PostgresDatabase,
        database_clock: Callable[[], Timestamp] | None,
        watch: _Watch,
        *,
        reads_only: bool,
    ) -> None:
        self._database = database
        self._clock = database_clock
        self._watch = watch
        self._reads_only = reads_only
        self._raw: RawConnection | None = None
        self._connection: Connection | None = None
        self._deadline = float("inf")
        self._socket: socket.socket | None = None
        """A second descriptor of the connection's socket: cutting it wakes the thread that waits for an answer."""
        watch.add(self)

    def serve(self, jobs: Sequence[Job[Any]]) -> None:
        """Run each function."""
        for job in jobs:
            self._deadline = self._watch.deadline()
            try:
                job.value = self._run(job)
            except BaseException as exc:  # noqa: BLE001 - whatever it is, it belongs to the caller, not to this thread
                job.error = exc
            finally:
                self._deadline = float("inf")

    def close(self) -> None:
        """Close the connection."""
        self._drop()

    def cut_if_late(self, now: float) -> None:
        """Cut the connection if what runs on it takes too long. Called by the watch."""
        if now > self._deadline and (cut := self._socket) is not None:
            # An idle one may be hit at the last moment: it is lost then, and replaced when it is needed.
            with contextlib.suppress(OSError):
                cut.shutdown(socket.SHUT_RDWR)

    def _run(self, job: Job[T]) -> T:
        connections = tries = 0
        while True:
            raw, connection = self._connected()
            try:
                return job.function(connection) if self._reads_only else self._write(raw, connection, job)
            except psycopg.Error as exc:
                if is_lost(raw):
                    self._drop()
                    connections += 1
                    if connections < _CONNECTIONS_TRIED and time.monotonic() < self._deadline:
                        continue
                elif runs_again(exc) and tries < _TRIES and time.monotonic() < self._deadline:
                    tries += 1
                    _pause(tries)
                    continue
                elif exc.sqlstate == _READ_ONLY:
                    self._drop()  # a primary that became a standby: whoever connects again may find the new one
                raise translated(exc) from exc
            except OvertakenError as exc:
                if tries == _TRIES or time.monotonic() > self._deadline:
                    raise UnavailableError(str(exc)) from exc
                tries += 1
                _pause(tries)

    def _write(self, raw: RawConnection, connection: Connection, job: Job[T]) -> T:
        raw.execute("BEGIN")
        try:
            if job.max_wait is not None:
                raw.execute("SELECT set_config('lock_timeout', %s, true)", (str(round(job.max_wait * 1000)),))
            value = job.function(connection)
        except BaseException:
            self._roll_back(raw)
            raise
        try:
            told = raw.execute("COMMIT").statusmessage
        except psycopg.Error as exc:
            if not is_lost(raw) and runs_again(exc):
                raise
            error = translated_at_commit(exc, raw)
            if is_lost(raw):
                self._drop()
            raise error from exc
        if told != "COMMIT":
            # The function went on after a statement had failed.
            raise StorageError("the database rolled the transaction back; this is a bug of Thermocline")
        return value

    def _roll_back(self, raw: RawConnection) -> None:
        if is_lost(raw):
            return
        try:
            raw.execute("ROLLBACK")
        except psycopg.Error:
            # Nothing of the transaction can remain, but the connection may not be used like this.
            self._drop()

    def _connected(self) -> tuple[RawConnection, Connection]:
        raw, connection = self._raw, self._connection
        if raw is not None and connection is not None:
            if not is_lost(raw):
                return raw, connection
            self._drop()
        try:
            raw = connect(self._database, reads_only=self._reads_only)
        except psycopg.Error as exc:
            raise translated(exc) from exc
        clock = self._clock
        connection = (
            Connection(raw, POSTGRESQL, _no_clock) if clock is None else Connection(raw, POSTGRESQL_WITH_CLOCK, clock)
        )
        self._raw, self._connection = raw, connection
        self._socket = socket.fromfd(raw.fileno(), socket.AF_INET, socket.SOCK_STREAM)
        return raw, connection

    def _drop(self) -> None:
        raw, cut = self._raw, self._socket
        self._raw = self._connection = self._socket = None
        if cut is not None:
            cut.close()
        if raw is not None:
            raw.close()


_READ_ONLY: Final = "25006"


def _pause(tries: int) -> None:
    time.sleep(_PAUSE * tries * random.random())  # noqa: S311 - so that two do not meet again


def _no_clock() -> Timestamp:
    raise AssertionError("the database's own clock is asked in SQL")
