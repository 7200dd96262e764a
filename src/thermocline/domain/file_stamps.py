"""Where an imported content came from: how its file is known again, and what an export gives back to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from thermocline.domain.content import Record
from thermocline.domain.units import Bytes

SOURCE_KEY = "source"
"""The metadata of an imported content has this one key: `{"source": {"mtime_ns": 1764038061123456789}}`."""
MODIFIED_KEY = "mtime_ns"
NANOS_PER_MICRO = 1000
_LARGEST = 2**63


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What changes whenever a file does, by the rules of its file system."""

    size: Bytes
    modified_ns: int
    """Nanoseconds since 1970."""


def stamped_metadata(stamp: FileStamp) -> Mapping[str, Any]:
    """Return the metadata of a content that was imported from a file with this stamp; read-only."""
    return MappingProxyType({SOURCE_KEY: {MODIFIED_KEY: stamp.modified_ns}})


def source_stamp(record: Record) -> FileStamp | None:
    """Return the stamp of the file that the content was imported from, or None if it does not tell."""
    return stamp_in(record.size, record.metadata)


def stamp_in(size: Bytes, metadata: Mapping[str, Any]) -> FileStamp | None:
    """Return the stamp that the metadata of a content of this size tell, or None."""
    source = metadata.get(SOURCE_KEY)
    modified_ns = source.get(MODIFIED_KEY) if isinstance(source, Mapping) else None
    # Anybody may write metadata.
    if type(modified_ns) is not int or not -_LARGEST <= modified_ns < _LARGEST:
        return None
    return FileStamp(size, modified_ns)


def export_stamp(record: Record) -> FileStamp:
    """Return the stamp of the file that an export makes: with the source's time, else that of the last write."""
    return source_stamp(record) or FileStamp(record.size, record.modified_at * NANOS_PER_MICRO)
