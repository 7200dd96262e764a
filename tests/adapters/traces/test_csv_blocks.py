"""Blocks are cut between records, wherever that is, and only our own thread touches what they are read from."""

import io
import threading

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline.adapters.traces import csv_blocks as module
from thermocline.adapters.traces.csv_blocks import csv_blocks

TEXT = arrow_csv.ConvertOptions(
    column_types={"a": pa.string(), "b": pa.string()}, strings_can_be_null=False, quoted_strings_can_be_null=False
)
CELLS = st.text(st.sampled_from('x,"\n\ufeffé'), max_size=6)


class Watched(io.BytesIO):
    """Bytes that note which threads read them."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.readers: set[int] = set()

    def read(self, count: int | None = -1, /) -> bytes:
        self.readers.add(threading.get_ident())
        return super().read(count)


def _read(content: bytes, columns: list[str] | None) -> list[tuple[str, str]]:
    source = Watched(content)
    rows = [
        (row["a"], row["b"])
        for batch in csv_blocks(source, columns=columns, convert=TEXT, quoted_lines=True)
        for row in batch.to_pylist()
    ]
    assert source.readers == {threading.get_ident()}
    return rows


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


@given(
    rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=12),
    block_bytes=st.integers(1, 40),
    named=st.booleans(),
    ends=st.booleans(),
)
def test_every_cell_comes_back(rows: list[tuple[str, str]], block_bytes: int, *, named: bool, ends: bool) -> None:
    lines = (["a,b"] if named else []) + [f"{_cell(a)},{_cell(b)}" for a, b in rows]
    content = ("\n".join(lines) + ("\n" if ends else "")).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_BYTES", block_bytes)
        assert _read(content, None if named else ["a", "b"]) == rows


def test_what_is_no_such_csv_is_refused() -> None:
    with pytest.raises(pa.ArrowInvalid):
        _read(b"1,2\n1,2,3\n", ["a", "b"])


@pytest.mark.parametrize(("begin", "endless"), [(b"", b"x"), (b"", b"x\r"), (b'"', b"x\n")])
def test_what_never_ends_is_refused_in_bounded_memory(
    begin: bytes, endless: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK_BYTES", 1 << 10)
    monkeypatch.setattr(module, "LONGEST_RECORD", 1 << 14)

    class Endless:
        taken = 0

        def read(self, count: int, /) -> bytes:
            start = b"" if self.taken else b"a,b\n" + begin
            self.taken += count
            return (start + endless * count)[:count]

    source = Endless()
    with pytest.raises(pa.ArrowInvalid, match="lines must end in a line feed, and quotes be closed"):
        list(csv_blocks(source, columns=None, convert=TEXT, quoted_lines=True))
    assert source.taken <= (1 << 14) + 4 * (1 << 10)


def test_nothing_is_nothing() -> None:
    assert _read(b"\n\n", ["a", "b"]) == []
