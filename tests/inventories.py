"""Inventories and access logs as S3 writes them, of buckets that are drawn."""

import gzip
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, quote_plus

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

DAY: Final = 86_400
TODAY: Final = 20_400
"""The day of the inventory, from 1970-01-01 on."""
NAMES: Final = {
    "Bucket": "bucket",
    "Key": "key",
    "VersionId": "version_id",
    "IsLatest": "is_latest",
    "IsDeleteMarker": "is_delete_marker",
    "Size": "size",
    "LastModifiedDate": "last_modified_date",
    "ETag": "e_tag",
    "StorageClass": "storage_class",
}
"""A column of a CSV, and what Parquet calls it."""


@dataclass(frozen=True)
class Row:
    """Of an inventory."""

    key: str
    size: int
    modified: int
    """Seconds since the epoch."""
    storage_class: str = "STANDARD"
    is_latest: bool = True
    is_marker: bool = False
    bucket: str = "media"


def write_inventory(
    folder: Path,
    rows: Sequence[Row],
    *,
    form: str = "CSV",
    parts: int = 2,
    columns: Sequence[str] = tuple(NAMES),
    bucket: str = "media",
) -> Path:
    """Write an inventory as S3 lays it out, and return its manifest."""
    data, home = folder / "data", folder / "2025-11-08T01-00Z"
    data.mkdir(parents=True)
    home.mkdir()
    files = []
    for number in range(parts):
        name = f"part-{number}.{'csv.gz' if form == 'CSV' else 'parquet'}"
        write = write_csv if form == "CSV" else write_parquet
        write(data / name, rows[number::parts], columns)
        raw = (data / name).read_bytes()
        files.append(
            {
                "key": f"lists/{bucket}/daily/data/{name}",
                "size": len(raw),
                "MD5checksum": hashlib.md5(raw, usedforsecurity=False).hexdigest(),
            }
        )
    schema = ", ".join(columns) if form == "CSV" else "message s3.inventory { required binary bucket (STRING); }"
    told = {
        "sourceBucket": bucket,
        "destinationBucket": "arn:aws:s3:::lists",
        "version": "2016-11-30",
        "creationTimestamp": str(TODAY * DAY * 1000),
        "fileFormat": form,
        "fileSchema": schema,
        "files": files,
    }
    (home / "manifest.json").write_text(json.dumps(told))
    return home / "manifest.json"


def write_csv(path: Path, rows: Sequence[Row], columns: Sequence[str] = tuple(NAMES)) -> None:
    lines = [",".join('"' + _cell(row, name) + '"' for name in columns) for row in rows]
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))


def write_parquet(path: Path, rows: Sequence[Row], columns: Sequence[str] = tuple(NAMES)) -> None:
    arrays: dict[str, Any] = {
        "Bucket": pa.array([row.bucket for row in rows]),
        "Key": pa.array([row.key for row in rows]),
        "VersionId": pa.array(["v" for _ in rows]),
        "IsLatest": pa.array([row.is_latest for row in rows]),
        "IsDeleteMarker": pa.array([row.is_marker for row in rows]),
        "Size": pa.array([None if row.is_marker else row.size for row in rows], pa.int64()),
        "LastModifiedDate": pa.array([row.modified * 1000 for row in rows], pa.timestamp("ms")),
        "ETag": pa.array(["e" for _ in rows]),
        "StorageClass": pa.array([None if row.is_marker else row.storage_class for row in rows]).dictionary_encode(),
    }
    pq.write_table(pa.table({NAMES[name]: arrays[name] for name in columns}), path)


def _cell(row: Row, name: str) -> str:
    values = {
        "Bucket": row.bucket,
        "Key": quote_plus(row.key, safe="/"),
        "VersionId": "v",
        "IsLatest": str(row.is_latest).lower(),
        "IsDeleteMarker": str(row.is_marker).lower(),
        "Size": "" if row.is_marker else str(row.size),
        "LastModifiedDate": datetime.fromtimestamp(row.modified, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "ETag": "e",
        "StorageClass": "" if row.is_marker else row.storage_class,
    }
    return values[name]


def s3_line(key: str, second: int, size: int, *, bucket: str = "media", operation: str = "REST.GET.OBJECT") -> str:
    """Return a line of a server access log; keys are encoded twice, as S3 does."""
    moment = datetime.fromtimestamp(second, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
    return (
        f"79a5 {bucket} [{moment}] 192.0.2.3 79a5 3E57 {operation} {quote(quote(key), safe='/')} "
        f'"GET /{bucket}/{quote(key)} HTTP/1.1" 200 - {size} {size} 70 10 "-" "S3Console/0.4" - s9 SigV4 E TLSv1.2 -'
    )


@dataclass(frozen=True)
class Bucket:
    """What lies in it, and who read it: (key, second)."""

    rows: Sequence[Row]
    reads: Sequence[tuple[str, int]]


CLASSES: Final = ("STANDARD", "STANDARD_IA", "GLACIER_IR")


def draw_bucket(seed: int, *, objects: int = 60, days: int = 80, classes: Sequence[str] = CLASSES) -> Bucket:
    """Some objects, written over two years, some of which are read in the last `days`; keys as bad as they may be."""
    draws = np.random.default_rng(seed)
    rows, reads = [], []
    for number in range(objects):
        odd = "%41é,'" if number % 5 == 0 else ""
        key = f"photos/{number % 7}/my cat+{number}{odd}.jpg"
        modified = (TODAY - int(draws.integers(0, 700))) * DAY + int(draws.integers(0, DAY))
        size = int(np.exp(draws.normal(15, 2.5))) + 1
        rows.append(Row(key, size, min(modified, TODAY * DAY), str(draws.choice(classes))))
        if draws.random() < 0.5:
            rate = draws.choice([0.02, 0.1, 0.6])
            for day in range(TODAY - days, TODAY):
                times = draws.integers(0, DAY, int(draws.poisson(rate)))
                reads += [(key, day * DAY + int(time)) for time in times]
    reads.append((rows[0].key, (TODAY - days) * DAY))
    reads.append((rows[0].key, TODAY * DAY - 1))
    return Bucket(rows, sorted(reads, key=lambda each: each[1]))


def write_logs(folder: Path, bucket: Bucket, *, files: int = 3) -> Path:
    """Write the reads into some files of a folder, as S3 does."""
    folder.mkdir()
    for number in range(files):
        lines = [s3_line(key, second, 1) for key, second in bucket.reads[number::files]]
        (folder / f"2025-11-08-{number}").write_text("".join(f"{line}\n" for line in lines))
    return folder
