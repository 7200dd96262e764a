"""The past that is gathered: all of it where it fits, else that of a sample, with every read of what is in it."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.counts import SOAK
from thermocline.domain.heat import DAY_MICROS
from thermocline.ports.columns import ColumnChunk
from thermocline.ports.read_history import HistoryChunk
from thermocline.services.past_gathering import PastGatherer

TODAY = 1000
NAMES = [f"content/{number}" for number in range(40)]


@dataclass(frozen=True)
class Read:
    """Reads of a content on a day."""

    name: str
    day: int
    storage: int


reads = st.lists(
    st.builds(Read, st.sampled_from(NAMES), st.integers(TODAY - 20, TODAY), st.integers(0, 2)),
    min_size=20,
    max_size=60,
    unique_by=lambda read: (read.name, read.day),
)


@given(
    st.dictionaries(st.sampled_from(NAMES), st.integers(1, 10**12), min_size=20, max_size=40),
    reads,
    st.integers(1, 40),
    st.integers(1, 60),
)
@settings(max_examples=400 if SOAK else 60, deadline=None)
def test_it_is_all_that_is_known_of_the_sample(
    sizes: dict[str, int], given_reads: list[Read], most_contents: int, most_rows: int
) -> None:
    gatherer = PastGatherer(TODAY, most_contents=most_contents, most_rows=most_rows)
    names = sorted(sizes)
    for part in (names[:7], names[7:]):
        created = [(TODAY - 30 + len(name)) * DAY_MICROS for name in part]
        columns = {"content_id": part, "size": [sizes[name] for name in part], "created_at": created}
        gatherer.take_contents(ColumnChunk(_batch(columns), len(part), ""))
    for day in range(TODAY - 20, TODAY + 1):
        mine = [read for read in given_reads if read.day == day]
        columns = {
            "content_id": [read.name for read in mine],
            "day": [day] * len(mine),
            "storage_reads": [read.storage for read in mine],
        }
        gatherer.take_reads(HistoryChunk(_batch(columns), len(mine)))
    past = gatherer.past()
    kept = [name for name in names if zlib.crc32(name.encode()) % gatherer.sample == 0]
    assert past.sizes.tolist() == [sizes[name] for name in kept]
    assert len(kept) <= most_contents
    assert past.origin + past.days == TODAY
    expected = sorted(
        (kept.index(read.name), read.day - past.origin, read.storage)
        for read in given_reads
        if read.name in kept and read.storage and read.day < TODAY
    )
    rows = zip(past.objects.tolist(), past.read_days.tolist(), past.counts.tolist(), strict=True)
    assert list(rows) == expected
    assert len(expected) <= most_rows or len(kept) <= 1
    if expected:
        assert min(day for _, day, _ in expected) == 0
    # Nothing is given up that had room.
    if len(names) <= most_contents and len(given_reads) <= most_rows:
        assert gatherer.sample == 1


def _batch(columns: Mapping[str, Any]) -> pa.RecordBatch:
    types = {"content_id": pa.string()}
    return pa.record_batch({name: pa.array(values, types.get(name, pa.int64())) for name, values in columns.items()})


def test_without_contents_or_reads_there_is_no_past() -> None:
    past = PastGatherer(TODAY).past()
    assert (past.object_count, past.days, len(past.objects)) == (0, 0, 0)
