"""Where SQLite and PostgreSQL differ: the database's clock, and lists passed as one parameter.

Lists travel as JSON text in a single parameter, so the text of a statement never depends on how long a list is:
each statement is compiled and prepared once, and no limit on the number of parameters applies.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import BigInteger, Dialect, Double, Integer, Text, bindparam, cast, literal_column
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import TableValuedAlias

CLOCK_PARAMETER: Final = "now_micros"
"""What a connection to a database without a fine clock binds itself, in the moment of execution."""

CELL_END: Final = "\x1f"
LINE_END: Final = "\n"
"""What ends a cell and a line of `joined_lines`: control characters, which no content id has."""

SMALLEST_NUMBER: Final = 1e-40
SMALLEST_FACTOR: Final = 1e-262
"""Of `whole_product`: the product of the two is still a double."""

ZERO: Final = literal_column("0", Integer)

POSTGRESQL: Final = "postgresql"
POSTGRESQL_WITH_CLOCK: Final = "postgresql with a clock"
"""The same, but the time is a parameter, as on SQLite: tests move it."""

DIALECTS: Final[dict[str, Dialect]] = {
    "sqlite": SQLiteDialect(paramstyle="named"),
    POSTGRESQL: PGDialect(paramstyle="pyformat"),  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
    POSTGRESQL_WITH_CLOCK: PGDialect(paramstyle="pyformat"),  # type: ignore[no-untyped-call]
}


class now_micros(FunctionElement[int]):  # noqa: N801 - reads as the SQL function it is
    """The database's time in microseconds."""

    type = BigInteger()
    inherit_cache = True


@compiles(now_micros, "postgresql")
def _postgresql_now(_element: now_micros, compiler: SQLCompiler, **_options: Any) -> str:
    if compiler.dialect is DIALECTS[POSTGRESQL_WITH_CLOCK]:
        return f"CAST(%({CLOCK_PARAMETER})s AS BIGINT)"
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"


@compiles(now_micros, "sqlite")
def _sqlite_now(_element: now_micros, _compiler: SQLCompiler, **_options: Any) -> str:
    # SQLite's own clock has milliseconds and cannot be injected. A registered function would take the
    # interpreter's lock in the middle of each statement; a parameter costs nothing.
    return f":{CLOCK_PARAMETER}"


class _JsonTexts(FunctionElement[str]):
    inherit_cache = True


class _JsonRows(FunctionElement[str]):
    inherit_cache = True


class _IsListed(FunctionElement[bool]):
    # Not typed as the truth value that it is: SQLAlchemy would compare it with 1 on SQLite, past every index.
    inherit_cache = True


class _WholeProduct(FunctionElement[int]):
    type = BigInteger()
    inherit_cache = True


class _JoinedLines(FunctionElement[bytes]):
    inherit_cache = True


class _WholeCell(FunctionElement[int]):
    inherit_cache = True


@compiles(_JsonTexts, "postgresql")
def _postgresql_texts(element: _JsonTexts, compiler: SQLCompiler, **options: Any) -> str:
    return f"jsonb_array_elements_text(CAST({compiler.process(element.clauses, **options)} AS JSONB))"


@compiles(_JsonRows, "postgresql")
def _postgresql_rows(element: _JsonRows, compiler: SQLCompiler, **options: Any) -> str:
    return f"jsonb_array_elements(CAST({compiler.process(element.clauses, **options)} AS JSONB))"


@compiles(_IsListed, "postgresql")
def _postgresql_is_listed(element: _IsListed, compiler: SQLCompiler, **options: Any) -> str:
    # An array, and not a table to join with: so the planner has no choice but the column's index, whatever the list.
    column, listed = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST({listed} AS JSONB))))"


@compiles(_IsListed, "sqlite")
def _sqlite_is_listed(element: _IsListed, compiler: SQLCompiler, **options: Any) -> str:
    column, listed = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({listed}) AS listed_texts)"  # noqa: S608 - both are compiled


@compiles(_JsonTexts, "sqlite")
@compiles(_JsonRows, "sqlite")
def _sqlite_elements(element: FunctionElement[str], compiler: SQLCompiler, **options: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **options)})"


@compiles(_WholeProduct, "postgresql")
def _postgresql_product(element: _WholeProduct, compiler: SQLCompiler, **options: Any) -> str:
    number, factor = (compiler.process(clause, **options) for clause in element.clauses)
    # It refuses products that a double is too small for, and those that 64 bits are.
    return (
        f"CASE WHEN {number} > {SMALLEST_NUMBER!r} "
        f"THEN CAST(LEAST({number} * CAST({factor} AS DOUBLE PRECISION), 9e18) AS BIGINT) ELSE 0 END"
    )


@compiles(_WholeProduct, "sqlite")
def _sqlite_product(element: _WholeProduct, compiler: SQLCompiler, **options: Any) -> str:
    number, factor = (compiler.process(clause, **options) for clause in element.clauses)
    return f"CAST({number} * {factor} AS INTEGER)"


@compiles(_WholeCell, "postgresql")
@compiles(_WholeCell, "sqlite")
def _as_it_is(element: _WholeCell, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(_JoinedLines, "postgresql")
def _postgresql_lines(element: _JoinedLines, compiler: SQLCompiler, **options: Any) -> str:
    def cell(clause: ColumnElement[Any]) -> str:
        text = compiler.process(clause, **options)
        return text if isinstance(clause, _WholeCell) else f"coalesce(CAST({text} AS TEXT), '')"

    # It leaves out null, and takes a fifth less for a row than `format`.
    cells = ", ".join(map(cell, element.clauses))
    return f"convert_to(string_agg(concat_ws('{CELL_END}', {cells}), '{LINE_END}'), 'UTF8')"


@compiles(_JoinedLines, "sqlite")
def _sqlite_lines(element: _JoinedLines, compiler: SQLCompiler, **options: Any) -> str:
    # `%s` would allocate memory for each number's text, under the one lock that all threads of a process share.
    form = CELL_END.join("%lld" if isinstance(clause, _WholeCell) else "%s" for clause in element.clauses)
    return f"CAST(group_concat(format('{form}', {compiler.process(element.clauses, **options)}), '{LINE_END}') AS BLOB)"


def whole_product(number: ColumnElement[float], parameter: str) -> ColumnElement[int]:
    """Return a number that is not negative times a parameter, a double, as a whole number of at most 64 bits.

    Products with a number below `SMALLEST_NUMBER`, or a factor below `SMALLEST_FACTOR`, may be taken for 0.
    """
    return _WholeProduct(number, bindparam(parameter, type_=Double))


def joined_lines(*columns: ColumnElement[Any]) -> ColumnElement[bytes]:
    """Return all rows of the columns as one text in UTF-8: a line for each, in the rows' order; null is an empty cell.

    No column of doubles: SQLite would round them to 15 digits, and takes longer for four than for the rest of a row.
    """
    return _JoinedLines(*columns)


def whole_cell(column: ColumnElement[Any]) -> ColumnElement[int]:
    """Return a column of `joined_lines` that has only whole numbers or truth values: cheaper.

    It may have no null: SQLite would write 0, and PostgreSQL a line that is refused.
    """
    return _WholeCell(column)


def listed_texts(parameter: str) -> TableValuedAlias:
    """Return a table with the column `value`: the texts of the parameter, which `texts_parameter` makes."""
    return _JsonTexts(bindparam(parameter, type_=Text)).table_valued("value", name=f"listed_{parameter}")


def listed_rows(parameter: str) -> TableValuedAlias:
    """Return a table with one `value` per row of the parameter, which `rows_parameter` makes."""
    return _JsonRows(bindparam(parameter, type_=Text)).table_valued("value", name=f"listed_{parameter}")


def is_listed(column: ColumnElement[str], parameter: str) -> ColumnElement[bool]:
    """Return whether a column is one of the texts of the parameter, which `texts_parameter` makes."""
    return _IsListed(column, bindparam(parameter, type_=Text))


def text_cell(table: TableValuedAlias, index: int) -> ColumnElement[str]:
    """Return the text in column `index` of `listed_rows`."""
    return table.c.value.op("->>", return_type=Text())(literal_column(str(index)))


def integer_cell(table: TableValuedAlias, index: int) -> ColumnElement[int]:
    """Return the integer in column `index` of `listed_rows`."""
    return cast(text_cell(table, index), BigInteger)


def flag_cell(table: TableValuedAlias, index: int) -> ColumnElement[bool]:
    """Return whether column `index` of `listed_rows` holds 1; the parameter has 0 or 1 there."""
    # Cast, because `->>` gives text on PostgreSQL and a number on SQLite, where a number never equals a text.
    return integer_cell(table, index) == literal_column("1", BigInteger)


def real_cell(table: TableValuedAlias, index: int) -> ColumnElement[float]:
    """Return the number in column `index` of `listed_rows`."""
    return cast(text_cell(table, index), Double)


def texts_parameter(texts: Iterable[str]) -> str:
    """Return the parameter of `listed_texts`."""
    return json.dumps(list(texts), ensure_ascii=False)


def plain_text(text: str) -> str:
    """Return a text of unknown origin as every database keeps it: no NUL, nothing that is no character."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def rows_parameter(rows: Iterable[Sequence[str | int | float | None]]) -> str:
    """Return the parameter of `listed_rows`."""
    return json.dumps(list(rows), ensure_ascii=False)
