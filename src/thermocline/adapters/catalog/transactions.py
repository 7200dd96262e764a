"""Transactions are plain functions over a connection; a runner runs them off the event loop."""

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol, TypeVar

from thermocline.adapters.catalog.dialects import CLOCK_PARAMETER
from thermocline.adapters.catalog.statements import CompiledStatement, Statement
from thermocline.domain.errors import UnavailableError
from thermocline.domain.units import Seconds, Timestamp

T = TypeVar("T")
Row = tuple[Any, ...]
Parameters = Mapping[str, Any]

IN_INDEX_ORDER: Final = """
    SELECT set_config('enable_sort', 'off', true), set_config('enable_bitmapscan', 'off', true),
           set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
           set_config('jit', 'off', true)
"""
"""PostgreSQL's settings for `Connection.in_index_order`; a plan that sorts has an exorbitant cost then."""


class OvertakenError(UnavailableError):
    """Another transaction did the same first; run again, this one finds what that one left."""


class Connection:
    """One connection inside a transaction. Raises the driver's errors; the runner makes them ours.

    `raw` is the driver's connection: both sqlite3's and psycopg's have `execute(text, parameters)`, which returns
    a cursor.
    """

    __slots__ = ("_clock", "_dialect", "_raw", "has_rivals")

    def __init__(self, raw: Any, dialect: str, database_clock: Callable[[], Timestamp]) -> None:
        self._raw = raw
        self._dialect = dialect
        self._clock = database_clock
        self.has_rivals = dialect != "sqlite"
        """Whether other transactions write at the same time, so that only what is locked stays as it was read."""

    def all(self, statement: Statement, parameters: Parameters) -> list[Row]:
        """Return every row that the statement yields."""
        compiled = statement.on(self._dialect)
        rows: list[Row] = self._raw.execute(compiled.text, self._bound(compiled, parameters)).fetchall()
        return rows

    def first(self, statement: Statement, parameters: Parameters) -> Row | None:
        """Return the first row that the statement yields, or None."""
        rows = self.all(statement, parameters)
        return rows[0] if rows else None

    def change(self, statement: Statement, parameters: Parameters) -> int:
        """Run a statement that yields no rows; return how many rows it changed."""
        compiled = statement.on(self._dialect)
        count: int = self._raw.execute(compiled.text, self._bound(compiled, parameters)).rowcount
        return count

    def change_each(self, statement: Statement, parameters: Sequence[Parameters]) -> int:
        """Run a statement that yields no rows once for each of the parameters; return how many rows changed in all."""
        compiled = statement.on(self._dialect)
        cursor = self._raw.cursor()
        cursor.executemany(compiled.text, [self._bound(compiled, each) for each in parameters])
        count: int = cursor.rowcount
        return count

    @contextmanager
    def in_index_order(self) -> Iterator[None]:
        """For the length of the block, walk along an index instead of sorting or hashing. It is one transaction.

        For a prepared statement PostgreSQL takes any range between two bounds for a 200th of the table, and would
        rather sort that, which is the whole table, for each of many short walks.
        """
        if not self.has_rivals:
            yield
            return
        with self._raw.transaction():
            self._raw.execute(IN_INDEX_ORDER)
            yield

    def define(self, text: str) -> None:
        """Run a statement that changes tables; `text` is ours, never made of what came from outside."""
        self._raw.execute(text)

    def news_mark(self) -> tuple[int, int] | None:
        """Return this connection's number, and one that differs once another has committed; None: ask the tables."""
        if self.has_rivals:
            return None
        version: int = self._raw.execute("PRAGMA data_version").fetchone()[0]
        return id(self), version

    def _bound(self, compiled: CompiledStatement, parameters: Parameters) -> Parameters:
        if compiled.constants:
            parameters = {**compiled.constants, **parameters}
        if compiled.needs_clock:
            parameters = {**parameters, CLOCK_PARAMETER: self._clock()}
        return parameters


Transaction = Callable[[Connection], T]
"""A function that may be run more than once (only the last run counts), so it changes nothing but the database.

Where it finds that another transaction came between two of its statements it raises `OvertakenError`.
"""


class Runner(Protocol):
    """Runs transactions. Both methods raise `UnavailableError` and its kinds, and what the function raises.

    Cancelling a wait stops nothing: the transaction may still be committed.
    """

    long_reads: int
    """How many reads of some hundredths of a second are worth running side by side; others still get through."""

    @abstractmethod
    def read(self, function: Transaction[T]) -> Awaitable[T]:
        """Run a function that changes nothing. Each of its statements sees all that was committed before it."""

    @abstractmethod
    def write(self, function: Transaction[T], *, max_wait: Seconds | None = None) -> Awaitable[T]:
        """Run a function as one transaction: all of its effect is durable, or, if it raises, there is none.

        With `max_wait` it waits no longer than that for other processes, unless it shares its transaction with one
        that does. Raises `CommitUnknownError` if it may or may not have been committed.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Finish what is queued, then close every connection. Idempotent."""
