"""Sweeps of columns of a catalog in an SQLite file: what is special to it, and to what stands around the statement."""

import asyncio
import gc
import os
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable
from contextlib import aclosing, closing
from pathlib import Path
from typing import TypeVar

import pytest

from thermocline.adapters.catalog.columns import SqlColumns
from thermocline.adapters.catalog.sql import SqlCatalog
from thermocline.adapters.catalog.transactions import Runner, Transaction
from thermocline.domain.errors import StorageError, UnavailableError
from thermocline.domain.units import Seconds, Timestamp
from thermocline.testing.catalog import fresh_sqlite_catalog

T = TypeVar("T")
NOW = Timestamp(5)
RECORDS = 5000
INSERT = """
    INSERT INTO contents (content_id, revision, version, object_key, placement, size, content_type, tier, tier_since,
        visibility, created_at, modified_at, held, metadata, digest)
    VALUES (?, 1, 1, 'key', 'standard', 1, 'x/y', 'hot', 1, 'public', 1, 1, false, '{}', '')
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "catalog.db"
    fresh_sqlite_catalog(path)
    _insert(path, [f"content/{number}" for number in range(RECORDS)])
    return path


def _insert(path: Path, ids: list[str]) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("BEGIN")
        raw.executemany(INSERT, [(content_id,) for content_id in ids])
        raw.execute("COMMIT")


async def _count(catalog: SqlCatalog, chunk: int) -> int:
    return sum([each.count async for each in catalog.columns.sweep(now=NOW, chunk=chunk)])


def test_a_sweep_neither_waits_for_a_writer_nor_keeps_one_waiting(path: Path) -> None:
    async def check() -> None:
        async with await SqlCatalog.open(f"sqlite:///{path}", busy_timeout=Seconds(0.2), unsafe_fast=True) as catalog:
            with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as other:
                other.execute("BEGIN IMMEDIATE")
                other.execute(INSERT, ("uncommitted",))
                assert await _count(catalog, 1000) == RECORDS
                other.execute("COMMIT")
                async with aclosing(catalog.columns.sweep(now=NOW, chunk=1000)) as sweep:
                    await anext(sweep)
                    other.execute(INSERT, ("meanwhile",))
                assert await _count(catalog, 1000) == RECORDS + 2

    asyncio.run(check())


@pytest.mark.skipif(sys.platform != "linux", reason="reads the kernel's list of locks")
def test_a_sweep_leaves_the_locks_on_the_file_where_they_are(path: Path) -> None:
    # A second copy of SQLite in this process would drop them when it closes its own: other processes might then take
    # the write-ahead log away from under us.
    async def check() -> None:
        async with await SqlCatalog.open(f"sqlite:///{path}", unsafe_fast=True) as catalog:
            await catalog.check()
            before = _locks()
            assert before
            await _count(catalog, 1000)
            assert _locks() == before

    asyncio.run(check())


def _locks() -> set[str]:
    lines = Path("/proc/locks").read_text().splitlines()
    return {line.partition(":")[2] for line in lines if line.split()[4] == str(os.getpid())}


@pytest.mark.parametrize("content_id", ["a\x1fb", "a\nb", "a\rb", "\x1f", "a\x1f" * 19])
def test_what_thermocline_never_wrote_is_told_and_never_taken_for_something_else(path: Path, content_id: str) -> None:
    _insert(path, [content_id])

    async def check() -> None:
        async with await SqlCatalog.open(f"sqlite:///{path}", unsafe_fast=True) as catalog:
            with pytest.raises(StorageError, match="control characters among the 4998 from '' on"):
                await _count(catalog, 4998)

    asyncio.run(check())


class _FailsLater(Runner):
    """Reads once, then fails."""

    def __init__(self, inner: Runner) -> None:
        self._inner = inner
        self.reads = 0

    async def read(self, function: Transaction[T]) -> T:
        self.reads += 1
        if self.reads > 1:
            raise UnavailableError("gone")
        return await self._inner.read(function)

    def write(self, function: Transaction[T], *, max_wait: Seconds | None = None) -> Awaitable[T]:
        return self._inner.write(function, max_wait=max_wait)

    async def aclose(self) -> None:
        await self._inner.aclose()


def test_a_failure_is_raised_after_the_chunk_before_it_or_forgotten_with_the_sweep(path: Path) -> None:
    async def check() -> None:
        async with await SqlCatalog.open(f"sqlite:///{path}", unsafe_fast=True) as catalog:
            sweep = SqlColumns(_FailsLater(catalog._runner)).sweep(now=NOW, chunk=1000)
            assert (await anext(sweep)).count == 1000
            with pytest.raises(UnavailableError):
                await anext(sweep)
            async with aclosing(SqlColumns(_FailsLater(catalog._runner)).sweep(now=NOW, chunk=1000)) as sweep:
                assert (await anext(sweep)).count == 1000
                await asyncio.sleep(0)

    complaints: list[dict[str, object]] = []
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        runner.run(check())
        gc.collect()
    assert complaints == []


def test_arrow_is_loaded_by_the_first_sweep(path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from thermocline.adapters.catalog.sql import SqlCatalog\n"
        "async def main():\n"
        f"    async with await SqlCatalog.open('sqlite:///{path}') as catalog:\n"
        "        await catalog.check()\n"
        "        print('pyarrow' in sys.modules)\n"
        "        async for _ in catalog.columns.sweep(now=5): pass\n"
        "        print('pyarrow' in sys.modules, 'adbc_driver_manager' in sys.modules)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "False"]
