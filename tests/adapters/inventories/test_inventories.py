"""Inventories in every format are the same columns; logs find their objects; what is wrong is told, with its place."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.inventories import DAY, NAMES, TODAY, Row, draw_bucket, s3_line, write_inventory, write_logs, write_parquet
from thermocline.adapters.inventories import readings, rows
from thermocline.adapters.inventories.manifests import open_inventory
from thermocline.adapters.inventories.reading import Inventory, hash_of, read_inventory
from thermocline.adapters.inventories.readings import join, log_files, read_logs
from thermocline.adapters.traces import csv_blocks
from thermocline.domain.errors import FileTreeError, InvalidInputError

FORMS = ("CSV", "Parquet")


def _read(manifest: Path, prefix: str = "") -> Inventory:
    return read_inventory(open_inventory(manifest), "media", prefix)


def _told(inventory: Inventory) -> dict[int, tuple[int, int, str]]:
    """By the keys' hashes: size, day, class."""
    current = inventory.current
    return {
        int(key): (int(size), int(day), inventory.class_names[int(place)])
        for key, size, day, place in zip(
            inventory.hashes, current.sizes, current.modified, current.classes, strict=True
        )
    }


PRICED = {"STANDARD": "s3.standard", "STANDARD_IA": "s3.standard_ia", "GLACIER_IR": "s3.glacier_ir", "SNOW": "SNOW"}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("form", FORMS)
def test_everything_is_read_in_any_order_of_columns_and_any_parts(
    tmp_path: Path, form: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_blocks, "BLOCK_BYTES", 700)
    monkeypatch.setattr(rows, "BATCH_ROWS", 7)
    draws = np.random.default_rng(seed)
    bucket = draw_bucket(seed, classes=tuple(PRICED))
    old = [
        Row(row.key, row.size + 1, row.modified - DAY, row.storage_class, is_latest=False) for row in bucket.rows[:9]
    ]
    gone = [Row("gone", 0, TODAY * DAY, is_marker=True)]
    elsewhere = [Row("x", 1, 1, bucket="other")]
    listed = [*bucket.rows, *old, *gone, *elsewhere]
    manifest = write_inventory(
        tmp_path / "daily",
        [listed[number] for number in draws.permutation(len(listed))],
        form=form,
        parts=int(draws.integers(1, 5)),
        columns=list(draws.permutation(list(NAMES))),
    )
    inventory = _read(manifest)
    assert _told(inventory) == {
        hash_of(row.key): (row.size, row.modified // DAY, PRICED[row.storage_class]) for row in bucket.rows
    }
    assert (np.diff(inventory.hashes.astype(object)) > 0).all()
    assert sorted(inventory.noncurrent.sizes) == sorted(row.size for row in old)
    assert (inventory.markers, inventory.outside, inventory.duplicates) == (1, 1, 0)
    below = _read(manifest.parent.parent, "photos/3/")
    inside = [row for row in bucket.rows if row.key.startswith("photos/3/")]
    assert set(_told(below)) == {hash_of(row.key) for row in inside}
    assert below.outside == len(listed) - len(inside) - sum(row.key.startswith("photos/3/") for row in old)


def test_progress_is_the_bytes_of_the_parts(tmp_path: Path) -> None:
    for form in FORMS:
        manifest = open_inventory(write_inventory(tmp_path / form, draw_bucket(1).rows, form=form))
        told: list[int] = []
        read_inventory(manifest, "media", "", progress=told.append)
        assert sum(told) == sum(part.path.stat().st_size for part in manifest.parts)


def test_a_key_that_is_listed_twice_counts_once(tmp_path: Path) -> None:
    inventory = _read(write_inventory(tmp_path / "i", [Row("a", 1, DAY), Row("b", 2, DAY), Row("a", 3, DAY)], parts=1))
    assert (inventory.duplicates, _told(inventory)[hash_of("a")][0]) == (1, 1)


def test_without_columns_of_versions_everything_is_current(tmp_path: Path) -> None:
    columns = ["Key", "Size", "LastModifiedDate", "StorageClass"]
    for form in FORMS:
        manifest = write_inventory(tmp_path / form, [Row("a b", 1, DAY)], form=form, columns=columns, parts=1)
        assert _told(_read(manifest)) == {hash_of("a b"): (1, 1, "s3.standard")}


def test_a_parquet_file_needs_no_manifest(tmp_path: Path) -> None:
    write_parquet(tmp_path / "x.parquet", [Row("a", 1, DAY)])
    assert _told(_read(tmp_path / "x.parquet")) == {hash_of("a"): (1, 1, "s3.standard")}


@pytest.mark.parametrize("zone", [None, "UTC"])
@pytest.mark.parametrize("unit", ["ms", "us", "ns", "text", "int"])
def test_moments_as_parquet_may_have_them(tmp_path: Path, unit: str, zone: str | None) -> None:
    moment: Any = pa.array([3 * DAY * 1000 - 1, 3 * DAY * 1000], pa.int64())
    if unit == "text":
        moment = pa.array(["1970-01-03T23:59:59.999Z", "1970-01-04 00:00:00"])
    elif unit != "int":
        moment = moment.cast(pa.timestamp("ms")).cast(pa.timestamp(unit)).cast(pa.timestamp(unit, zone))
    table = pa.table(
        {"key": ["a", "b"], "size": [1, 2], "storage_class": ["STANDARD"] * 2, "last_modified_date": moment}
    )
    pq.write_table(table, tmp_path / "x.parquet")
    inventory = _read(tmp_path / "x.parquet")
    assert {key: told[1] for key, told in _told(inventory).items()} == {hash_of("a"): 2, hash_of("b"): 3}


# --- what is wrong ---------------------------------------------------------------------------------------------------


def _changed(manifest: Path, **changes: Any) -> Path:
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | changes))
    return manifest


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"fileFormat": "ORC"}, "is an inventory in ORC, which is not read here; configure the inventory"),
        ({"files": []}, "lists no files"),
        ({"files": [{"size": 3}]}, "its files have no keys"),
        ({"fileSchema": "Bucket, Key, Size"}, "no column LastModifiedDate and no StorageClass; add it to"),
        ({"sourceBucket": "other"}, "is of the bucket 'other', not of 'media'"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_told(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    manifest = _changed(write_inventory(tmp_path / "i", [Row("a", 1, DAY)]), **changes)
    with pytest.raises(InvalidInputError, match=told):
        _read(manifest)


def test_what_is_no_manifest_is_told(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    for raw, told in (
        (b"{", "not JSON"),
        (b"[1]", "it has no sourceBucket"),
        (b'{"sourceBucket": 1}', "no fileFormat"),
    ):
        path.write_bytes(raw)
        with pytest.raises(InvalidInputError, match=told):
            open_inventory(path)
    with pytest.raises(FileTreeError, match="No such file"):
        open_inventory(tmp_path / "none.json")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "manifest.json").write_text("{}")
    with pytest.raises(InvalidInputError, match=r"has 2 files manifest.json"):
        open_inventory(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInputError, match=r"has 0 files manifest.json"):
        open_inventory(tmp_path / "empty")


def test_files_that_are_missing_or_not_those_of_the_manifest_are_told(tmp_path: Path) -> None:
    manifest = write_inventory(tmp_path / "i", [Row("a", 1, DAY), Row("b", 1, DAY)])
    part = tmp_path / "i" / "data" / "part-1.csv.gz"
    raw = part.read_bytes()
    part.write_bytes(raw[:-4])
    with pytest.raises(InvalidInputError, match=r"part-1.csv.gz' has \d+ bytes, and \d+ by its manifest"):
        _read(manifest)
    part.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    with pytest.raises(InvalidInputError, match=r"part-1.csv.gz' has not the MD5"):
        _read(manifest)
    part.unlink()
    with pytest.raises(FileTreeError, match=r"names 'lists/media/daily/data/part-1.csv.gz', which is neither"):
        _read(manifest)


def _csv_of(tmp_path: Path, body: str | bytes) -> Path:
    manifest = write_inventory(
        tmp_path / "i",
        [Row("a", 1, DAY)],
        parts=1,
        columns=["Key", "Size", "LastModifiedDate", "StorageClass", "IsLatest"],
    )
    part = tmp_path / "i" / "data" / "part-0.csv.gz"
    part.write_bytes(gzip.compress(body.encode()) if isinstance(body, str) else body)
    files = json.loads(manifest.read_text())["files"]
    return _changed(manifest, files=[{"key": files[0]["key"]}])


GOOD = '"a","1","2025-01-01T00:00:00.000Z","STANDARD","true"\n'


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ('"b","-1","2025-01-01T00:00:00.000Z","STANDARD","true"', r"part-0.csv.gz', row 3: Size is '-1', no number"),
        ('"b","","2025-01-01T00:00:00.000Z","STANDARD","true"', "row 3: Size is missing"),
        ('"b","1e3","2025-01-01T00:00:00.000Z","STANDARD","true"', "row 3: Size is '1e3'"),
        ('"","1","2025-01-01T00:00:00.000Z","STANDARD","true"', "row 3: Key is missing"),
        ('"b","1","yesterday","STANDARD","true"', "row 3: LastModifiedDate is 'yesterday', no moment"),
        ('"b","1","2025-13-01T00:00:00.000Z","STANDARD","true"', "row 3: LastModifiedDate is '2025-13-01.*no date"),
        ('"b","1","","STANDARD","true"', "row 3: LastModifiedDate is missing"),
        ('"b","1","2025-01-01T00:00:00.000Z","","true"', "row 3: StorageClass is missing"),
        ('"b","1","2025-01-01T00:00:00.000Z","STANDARD","maybe"', "row 3: IsLatest is 'maybe', neither"),
        ('"b","1"', "part-0.csv.gz' is no CSV of an inventory: .*Expected 5 columns, got 2"),
    ],
)
def test_a_row_that_is_none_is_told_with_its_file_and_number(tmp_path: Path, row: str, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        _read(_csv_of(tmp_path, GOOD * 2 + row + "\n" + GOOD))


def test_a_part_that_is_cut_or_empty(tmp_path: Path) -> None:
    whole = gzip.compress((GOOD * 5000).encode())
    with pytest.raises(InvalidInputError, match=r"part-0.csv.gz' is cut short"):
        _read(_csv_of(tmp_path, whole[:-9]))
    (tmp_path / "2").mkdir()
    with pytest.raises(InvalidInputError, match="lists nothing under s3://media/"):
        _read(_csv_of(tmp_path / "2", ""))
    write_parquet(tmp_path / "x.parquet", [Row("a", 1, DAY)])
    (tmp_path / "x.parquet").write_bytes((tmp_path / "x.parquet").read_bytes()[:-20])
    with pytest.raises(InvalidInputError, match=r"x.parquet' is no Parquet of an inventory"):
        _read(tmp_path / "x.parquet")
    pq.write_table(pa.table({"key": ["a"]}), tmp_path / "x.parquet")
    with pytest.raises(InvalidInputError, match="no column Size and no LastModifiedDate and no StorageClass"):
        _read(tmp_path / "x.parquet")


def test_a_prefix_under_which_nothing_lies_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"nothing under s3://media/none/ \(1 rows lie elsewhere\)"):
        _read(write_inventory(tmp_path / "i", [Row("a", 1, DAY)], parts=1), "none/")


# --- logs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("form", FORMS)
def test_reads_find_their_objects(tmp_path: Path, form: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readings, "NUMBERED_AT", 11)
    bucket = draw_bucket(seed)
    inventory = _read(write_inventory(tmp_path / "i", bucket.rows, form=form))
    logged = read_logs(log_files([write_logs(tmp_path / "logs", bucket)]), "media")
    joined = join(logged, inventory, "media")
    assert (joined.unknown_objects, joined.unknown_reads) == (0, 0)
    expected: dict[tuple[int, int], int] = {}
    for key, second in bucket.reads:
        at = hash_of(key), second // DAY
        expected[at] = expected.get(at, 0) + 1
    reads = joined.reads
    assert {
        (int(inventory.hashes[place]), reads.origin + int(day)): int(count)
        for place, day, count in zip(reads.objects, reads.read_days, reads.counts, strict=True)
    } == expected
    assert (reads.origin, reads.days) == (TODAY - 80, 80)
    assert sorted(zip(reads.objects, reads.read_days, strict=True)) == list(
        zip(reads.objects, reads.read_days, strict=True)
    )


def test_what_does_not_count_is_counted(tmp_path: Path) -> None:
    inventory = _read(write_inventory(tmp_path / "i", [Row("a", 1, DAY)], parts=1))
    logs = tmp_path / "logs"
    (logs / "deep").mkdir(parents=True)
    lines = [
        s3_line("a", 5 * DAY, 1),
        s3_line("a", 5 * DAY, 1, bucket="other"),
        s3_line("a", 5 * DAY, 1, operation="REST.PUT.OBJECT"),
        s3_line("gone", 6 * DAY, 1),
        s3_line("gone", 6 * DAY, 1),
        "junk",
    ]
    (logs / "deep" / "one").write_text("\n".join(lines))
    (logs / "empty").write_text("\n")
    (logs / ".hidden").write_text("not looked at")
    told: list[int] = []
    logged = read_logs(log_files([logs]), "media", progress=told.append)
    joined = join(logged, inventory, "media")
    counts = logged.counts
    assert (counts.files, counts.empty_files, counts.accesses) == (2, 1, 3)
    assert (counts.skipped, counts.unreadable, counts.elsewhere) == (1, 1, 1)
    assert (joined.unknown_objects, joined.unknown_reads, joined.reads.counts.tolist()) == (1, 2, [1])
    assert sum(told) == (logs / "deep" / "one").stat().st_size + 1


@pytest.mark.parametrize("path", ["/my%20cat.jpg", "/media/my%20cat.jpg"])
def test_paths_of_addresses_are_keys_with_or_without_the_bucket(tmp_path: Path, path: str) -> None:
    inventory = _read(write_inventory(tmp_path / "i", [Row("my cat.jpg", 1, DAY)], parts=1))
    line = {"EdgeStartTimestamp": 5 * DAY, "ClientRequestPath": path, "EdgeResponseStatus": 200, "EdgeResponseBytes": 9}
    (tmp_path / "log").write_text(json.dumps(line | {"CacheCacheStatus": "miss"}))
    joined = join(read_logs([tmp_path / "log"], "media"), inventory, "media")
    assert (joined.unknown_objects, joined.reads.objects.tolist()) == (0, [0])


def test_two_names_of_one_object_are_its_reads_together(tmp_path: Path) -> None:
    inventory = _read(write_inventory(tmp_path / "i", [Row("a", 1, DAY)], parts=1))
    (tmp_path / "one").write_text("ts,obj\n432000,a\n")
    line = {"EdgeStartTimestamp": 5 * DAY, "EdgeResponseStatus": 200, "EdgeResponseBytes": 9}
    (tmp_path / "two").write_text(
        "".join(json.dumps(line | {"ClientRequestPath": each}) + "\n" for each in ("/a", "/media/a"))
    )
    joined = join(read_logs([tmp_path / "one", tmp_path / "two"], "media"), inventory, "media")
    assert (joined.reads.objects.tolist(), joined.reads.counts.tolist()) == ([0], [3])


def test_logs_that_are_none_are_told_with_their_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("\n".join([s3_line("a", DAY, 1), *["junk"] * 11]))
    with pytest.raises(InvalidInputError, match=r"log': line 12, and 10 before it, are no lines of a S3 server"):
        read_logs([path], "media")
    path.write_text("ts,obj\n1,a\n2,\n")
    with pytest.raises(InvalidInputError, match=r"log': row 3: obj is empty"):
        read_logs([path], "media")
    path.write_bytes(b"\0\1" * 99)
    with pytest.raises(InvalidInputError, match=r"^'[^']*log' is no trace"):
        read_logs([path], "media")
    path.write_text(s3_line("a", DAY, 1, bucket="other"))
    with pytest.raises(InvalidInputError, match=r"no reads of this bucket: 1 files, 0 lines .* 1 of other buckets"):
        read_logs([path], "media")
    with pytest.raises(FileTreeError, match="no such file or folder"):
        log_files([tmp_path / "none"])
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidInputError, match="has no files"):
        log_files([tmp_path / "folder"])
