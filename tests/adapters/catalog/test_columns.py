"""Sweeps of columns of a catalog in an SQLite file: what is special to it, and to what stands around the statement."""

import asyncio
import gc
import os
import sqlite3
import subprocess
import sys
from collections.abc import Coroutine, Sequence
from contextlib import aclosing, closing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pytest

from tests.adapters.catalog.runners import FrontRunner
from thermocline.adapters.catalog.columns import SqlColumns, read_lines
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
    VALUES (CAST(? AS TEXT), 1, 1, 'key', 'standard', 1, 'x/y', 'hot', 1, 'public', 1, 1, false, '{}', '')
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "catalog.db"
    fresh_sqlite_catalog(path)
    _insert(path, [f"content/{number}" for number in range(RECORDS)])
    return path


def _insert(path: Path, ids: Sequence[str | bytes]) -> None:
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


@pytest.mark.parametrize("content_id", ["a\x1fb", "a\nb", "a\rb", "\x1f", "a\x1f" * 19, b"a\xff"])
def test_what_thermocline_never_wrote_is_told_and_never_taken_for_something_else(
    path: Path, content_id: str | bytes
) -> None:
    _insert(path, [content_id])

    async def check() -> None:
        async with await SqlCatalog.open(f"sqlite:///{path}", unsafe_fast=True) as catalog:
            with pytest.raises(StorageError, match="control characters or no UTF-8 among the 4998 from '' on"):
                await _count(catalog, 4998)

    asyncio.run(check())


class _FailsLater(FrontRunner):
    """Reads so many times, then fails."""

    def __init__(self, inner: Runner, reads: int) -> None:
        super().__init__(inner)
        self._left = reads

    async def read(self, function: Transaction[T]) -> T:
        if not self._left:
            raise UnavailableError("gone")
        self._left -= 1
        return await self.inner.read(function)


def test_a_failure_is_raised_after_the_chunks_before_it_or_forgotten_with_the_sweep(path: Path) -> None:
    async def check() -> None:
        async with await SqlCatalog.open(f"sqlite:///{path}", unsafe_fast=True) as catalog:
            expected = [each.last async for each in catalog.columns.sweep(now=NOW, chunk=1000)]
            assert len(expected) == RECORDS // 1000
            # A chunk takes two reads, and so does finding that there are no others.
            needed = 2 * len(expected) + 2
            for reads in range(needed):
                found: list[str] = []
                with pytest.raises(UnavailableError):
                    await _take(SqlColumns(_FailsLater(catalog._runner, reads)), found)
                assert found == expected[: len(found)]
                assert len(found) <= reads // 2
                for most in range(len(found)):
                    left: list[str] = []
                    await _take(SqlColumns(_FailsLater(catalog._runner, reads)), left, most=most + 1)
                    assert left == expected[: most + 1]
            found = []
            await _take(SqlColumns(_FailsLater(catalog._runner, needed)), found)
            assert found == expected

    assert _complaints_of(check()) == []


async def _take(columns: SqlColumns, lasts: list[str], *, most: int | None = None) -> None:
    async with aclosing(columns.sweep(now=NOW, chunk=1000)) as sweep:
        async for each in sweep:
            lasts.append(each.last)
            if len(lasts) == most:
                return


def _complaints_of(check: Coroutine[Any, Any, None]) -> list[dict[str, object]]:
    complaints: list[dict[str, object]] = []
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        runner.run(check)
        gc.collect()
    return complaints


class _Grows(FrontRunner):
    """Many contents come right after the end of the first range was found."""

    def __init__(self, inner: Runner, path: Path, ids: list[str]) -> None:
        super().__init__(inner)
        self._path = path
        self._ids = ids

    async def read(self, function: Transaction[T]) -> T:
        found = await self.inner.read(function)
        if self._ids:
            _insert(self._path, self._ids)
            self._ids = []
        return found


def test_what_comes_into_a_range_that_is_about_to_be_read_makes_no_chunk_larger(path: Path) -> None:
    new = [f"content/0{number:04}" for number in range(2500)]

    async def check() -> None:
        async with await SqlCatalog.open(f"sqlite:///{path}", unsafe_fast=True) as catalog:
            columns = SqlColumns(_Grows(catalog._runner, path, new))
            chunks = [each async for each in columns.sweep(now=NOW, chunk=1000)]
            assert max(each.count for each in chunks) == 1000
            found = [name for each in chunks for name in pa.record_batch(each.columns)["content_id"].to_pylist()]
            assert found == sorted({f"content/{number}" for number in range(RECORDS)} | set(new))

    asyncio.run(check())


class _Watched(FrontRunner):
    """Knows how many statements that read a chunk ran at the same time."""

    def __init__(self, inner: Runner, long_reads: int) -> None:
        super().__init__(inner)
        self.long_reads = long_reads
        self.most = self._running = 0

    async def read(self, function: Transaction[T]) -> T:
        if not isinstance(function, partial) or function.func is not read_lines:
            return await self.inner.read(function)
        self._running += 1
        self.most = max(self.most, self._running)
        try:
            return await self.inner.read(function)
        finally:
            self._running -= 1


@pytest.mark.parametrize("long_reads", [1, 2])
def test_all_sweeps_of_a_catalog_together_keep_to_its_long_reads(path: Path, long_reads: int) -> None:
    async def check() -> None:
        async with await SqlCatalog.open(f"sqlite:///{path}", unsafe_fast=True) as catalog:
            runner = _Watched(catalog._runner, long_reads)
            columns = SqlColumns(runner)

            async def count() -> int:
                return sum([each.count async for each in columns.sweep(now=NOW, chunk=100)])

            assert list(await asyncio.gather(count(), count(), count())) == [RECORDS, RECORDS, RECORDS]
            assert runner.most == long_reads

    asyncio.run(check())


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
