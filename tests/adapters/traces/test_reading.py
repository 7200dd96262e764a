"""The same accesses, in every format and packing, are the same history; what is wrong is told, with its row."""

import gzip
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from thermocline.adapters.traces import csv_blocks, logs, opening
from thermocline.adapters.traces.reading import Trace, read_trace
from thermocline.domain.errors import FileTreeError, InvalidInputError

ROWS = [(1_600_000_000, "a", 10), (1_600_000_000, 'b,"c"', 20), (1_600_090_000, "a", 30), (1_600_200_000, "é", 0)]


def _csv(rows: list[tuple[int, str, int]] = ROWS, head: str = "ts,obj,size") -> bytes:
    quoted = (f'{ts},"{obj.replace(chr(34), chr(34) * 2)}",{size}' for ts, obj, size in rows)
    return "\n".join([head, *quoted, ""]).encode()


LONG = _csv([(1_600_000_000 + 977 * number % 10**7, f"o{number * 7919 % 10007}", number) for number in range(200_000)])


def _damaged(packed: bytes) -> bytes:
    middle = len(packed) // 2
    return packed[:middle] + bytes(byte ^ 0xA5 for byte in packed[middle : middle + 64]) + packed[middle + 64 :]


def _parquet(path: Path, seconds: pa.Array | None = None) -> None:
    columns = list(zip(*ROWS, strict=True))
    table = pa.table(
        {
            "other": pa.array([None] * len(ROWS), pa.string()),
            "size": pa.array(columns[2], pa.int64()),
            "ts": seconds if seconds is not None else pa.array(columns[0], pa.int64()),
            "obj": pa.array(columns[1], pa.string()).dictionary_encode(),
        }
    )
    pq.write_table(table, path)


def _check(trace: Trace) -> None:
    assert trace.object_ids == ["a", 'b,"c"', "é"]
    assert (trace.accesses, trace.has_sizes, trace.notes) == (4, True, ())
    assert trace.history.sizes.tolist() == [30, 20, 0]
    assert trace.history.origin == 1_600_000_000 // 86_400
    assert trace.history.objects.tolist() == [0, 0, 1, 2]
    assert trace.history.read_days.tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize(
    "pack",
    [
        lambda raw: raw,
        gzip.compress,
        lambda raw: gzip.compress(raw[:20]) + gzip.compress(raw[20:]) + b"\0\0",
        zstandard.compress,
        lambda raw: zstandard.compress(raw[:20]) + zstandard.compress(raw[20:]),
        lambda raw: b"\xef\xbb\xbf" + raw,
        lambda raw: raw.replace(b"\n", b"\r\n"),
    ],
    ids=["plain", "gzip", "two gzip members", "zstd", "two zstd frames", "with a byte order mark", "lines of Windows"],
)
def test_csv(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "trace"
    path.write_bytes(pack(_csv()))
    told: list[int] = []
    _check(read_trace(path, progress=told.append))
    assert sum(told) == path.stat().st_size


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_parquet(tmp_path: Path, unit: str) -> None:
    path = tmp_path / "trace"
    _parquet(path)
    _check(read_trace(path))
    seconds = pa.array([row[0] for row in ROWS], pa.int64()).cast(pa.timestamp("s")).cast(pa.timestamp(unit, "UTC"))
    _parquet(path, seconds)
    _check(read_trace(path))


@pytest.mark.thorough
@pytest.mark.parametrize("piece", [1, 7, 64, 1000])
def test_pieces_do_not_show(tmp_path: Path, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (opening, logs):
        monkeypatch.setattr(module, "PIECE_BYTES", piece)
    monkeypatch.setattr(opening, "HEAD_BYTES", 30)
    monkeypatch.setattr(csv_blocks, "BLOCK_BYTES", 64)
    rows = [(1_600_000_000 + 3600 * number, f"object {number % 50}", number) for number in range(1000)]
    for pack in (bytes, gzip.compress, zstandard.compress):
        path = tmp_path / "trace"
        path.write_bytes(pack(_csv(rows)))
        trace = read_trace(path)
        assert trace.accesses == 1000
        assert trace.history.counts.sum() == 1000
        assert trace.history.sizes.tolist() == list(range(950, 1000))


def test_sizes_may_be_missing_here_and_there_or_altogether(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("obj,ts\na,1600000000\nb,1600000001.5\n")
    trace = read_trace(path)
    assert (trace.has_sizes, trace.history.sizes.tolist()) == (False, [0, 0])
    path.write_text("obj,ts,size\na,1600000000,\na,1600000001,7\n")
    assert read_trace(path).history.sizes.tolist() == [7]


def test_rows_in_any_order_are_put_in_order_and_equal_ones_are_two_reads(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes(_csv([ROWS[3], ROWS[0], ROWS[2], ROWS[2], ROWS[1]]))
    trace = read_trace(path)
    assert trace.notes == ("2 accesses lie before the one above them; they were put in order",)
    assert trace.history.read_days.tolist() == [2, 0, 1, 0]
    assert trace.history.counts.tolist() == [1, 1, 2, 1]


def test_a_clock_that_jumps_is_told_and_one_that_leaps_a_century_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes(_csv([*ROWS, (1_700_000_000, "a", 1)]))
    assert read_trace(path).notes == ("no access for 1155 days after 2020-09-15: did a clock jump?",)
    path.write_bytes(_csv([*ROWS, (100, "a", 1), (4_000_000_000, "a", 1)]))
    with pytest.raises(InvalidInputError, match=r"span 127 years.*a clock jumped"):
        read_trace(path)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"", "is empty"),
        (b"  \n \n", "is empty"),
        (b"ts,obj\n", "has no accesses"),
        (b"ts,name\n1,a\n", "no column obj; it has ts, name"),
        (b"obj,size\na,1\n", "no column ts; it has obj, size"),
        (b"time,name\n1,a\n", "is no trace: neither CSV or Parquet"),
        (b"ts,obj\nsoon,a\n", "conversion error to double: invalid value 'soon'"),
        (b"ts,obj\n1,a\n,b\n", "row 3: ts is missing"),
        (b"ts,obj\n1,a\nnan,b\n", "row 3: ts is missing"),
        (b"ts,obj\n1,a\n-5,b\n", r"row 2: -5.0 is no time in seconds since 1970-01-01$"),
        (b"ts,obj\n1600000000000,b\n", "is no time in seconds .* not milliseconds"),
        (b"ts,obj\n1,a\n2,\n", "row 3: obj is empty"),
        (b"ts,obj,size\n1,a,-1\n", "row 2: -1.0 is no size in bytes"),
        (b"ts,obj,size\n1,a,1e30\n", "is no size in bytes"),
        (b"ts,obj,size\n1,a,2\n3,b\n", "Expected 3 columns, got 2"),
        (b"ts,obj\n1,\xff\xfe\n", "not CSV.*UTF8"),
        (b"PAR1 and nothing more", "not Parquet"),
        # Without the time: two workers that collect in different seconds would have different tests.
        (gzip.compress(_csv() * 50, mtime=0)[:-9], "cut short: its gzip data does not end"),
        (zstandard.compress(_csv() * 50)[:-9], "cut short: its zstd data does not end"),
        (_damaged(gzip.compress(LONG, 1, mtime=0)), "is damaged"),
        (_damaged(zstandard.compress(LONG)), "is damaged"),
        (gzip.compress(LONG, 1, mtime=0) + b"more", "is damaged"),
        (bytes(range(256)) * 30, "is no trace"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, raw: bytes, told: str) -> None:
    path = tmp_path / "trace"
    path.write_bytes(raw)
    with pytest.raises(InvalidInputError, match=told):
        read_trace(path)


def test_a_parquet_file_that_is_cut_or_has_other_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    _parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InvalidInputError, match="not Parquet"):
        read_trace(path)
    pq.write_table(pa.table({"ts": [1], "name": ["a"]}), path)
    with pytest.raises(InvalidInputError, match="no column obj; it has ts, name"):
        read_trace(path)
    pq.write_table(pa.table({"ts": pa.array([1, None]), "obj": ["a", "b"]}), path)
    with pytest.raises(InvalidInputError, match="row 2: ts is missing"):
        read_trace(path)
    pq.write_table(pa.table({"ts": [[1]], "obj": ["a"]}), path)
    with pytest.raises(InvalidInputError, match="not Parquet with ts and obj"):
        read_trace(path)


def test_what_cannot_be_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileTreeError, match="No such file"):
        read_trace(tmp_path / "none")
    with pytest.raises(FileTreeError, match="Is a directory"):
        read_trace(tmp_path)


def test_numbers_are_given_in_the_order_of_first_sight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_blocks, "BLOCK_BYTES", 256)
    draws = np.random.default_rng(1)
    names = [f"o{number}" for number in draws.integers(0, 300, 2000)]
    out = io.StringIO("")
    out.write("ts,obj\n" + "".join(f"{1_600_000_000 + row},{name}\n" for row, name in enumerate(names)))
    path = tmp_path / "trace.csv"
    path.write_text(out.getvalue())
    assert read_trace(path).object_ids == list(dict.fromkeys(names))
