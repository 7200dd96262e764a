"""Statements written once in SQLAlchemy Core, compiled once per dialect, then run by the driver itself.

SQLAlchemy's own `execute` adds about 16 us of CPU to each statement: the two transactions of a write then cost the
writer thread 131 us instead of 53 (groups of up to 16, SQLAlchemy 2.1, 2 cores, November 2026). What is given up is
conversion of types, so the schema uses only types that drivers pass unchanged.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.sql.elements import ClauseElement

from thermocline.adapters.catalog.dialects import CLOCK_PARAMETER, DIALECTS


class Statement:
    """One statement; its text for each dialect is compiled at most once."""

    __slots__ = ("_clause", "_compiled")

    def __init__(self, clause: ClauseElement) -> None:
        self._clause = clause
        self._compiled: dict[str, CompiledStatement] = {}

    def on(self, dialect: str) -> "CompiledStatement":
        """Return the statement as `dialect` writes it."""
        compiled = self._compiled.get(dialect)
        if compiled is None:
            # Two threads may both get here; they compile the same.
            compiled = self._compiled[dialect] = CompiledStatement(self._clause, dialect)
        return compiled


class CompiledStatement:
    """The text of a statement for one dialect, with parameters by name."""

    __slots__ = ("constants", "needs_clock", "text")

    def __init__(self, clause: ClauseElement, dialect: str) -> None:
        compiled = clause.compile(dialect=DIALECTS[dialect])
        self.text = str(compiled)
        self.constants: Mapping[str, Any] = {
            name: value for name, value in (compiled.params or {}).items() if value is not None
        }
        """Literals of the Core expression, which SQLAlchemy turns into parameters."""
        self.needs_clock = f":{CLOCK_PARAMETER}" in self.text or f"%({CLOCK_PARAMETER})s" in self.text
        """Whether the caller binds the database's time."""
