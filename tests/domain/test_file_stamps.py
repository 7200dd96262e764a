from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline.domain.content import Record, StoredHeaders, Visibility
from thermocline.domain.content_id import ContentId
from thermocline.domain.file_stamps import FileStamp, export_stamp, source_stamp, stamped_metadata
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Bytes, Timestamp

RECORD = Record(
    ContentId("a"), 1, 1, "standard", "key", bytes(32), None, Bytes(7), StoredHeaders(), {}, StorageTier.HOT,
    Timestamp(1), Visibility.PRIVATE, Timestamp(1), Timestamp(5), None, held=False,
)  # fmt: skip


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_stamp_comes_back(modified_ns: int) -> None:
    stamp = FileStamp(Bytes(7), modified_ns)
    record = replace(RECORD, metadata={"other": 1, **stamped_metadata(stamp)})
    assert source_stamp(record) == export_stamp(record) == stamp


@pytest.mark.parametrize(
    "metadata",
    [{}, {"source": 1}, {"source": {}}, {"source": {"mtime_ns": "1"}}, {"source": {"mtime_ns": True}},
     {"source": {"mtime_ns": 1.5}}, {"source": {"mtime_ns": 2**63}}, {"source": None}, {"source": [1]}],
)  # fmt: skip
def test_metadata_that_anybody_wrote_is_no_stamp(metadata: dict[str, Any]) -> None:
    record = replace(RECORD, metadata=metadata)
    assert source_stamp(record) is None
    assert export_stamp(record) == FileStamp(Bytes(7), 5000)
