"""The manifest of an S3 Inventory: which files list what lies in the bucket, and which columns they have.

Source (November 2026): docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory-location.html.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from thermocline.domain.errors import FileTreeError, InvalidInputError

MANIFEST: Final = "manifest.json"
CSV: Final = "CSV"
PARQUET: Final = "Parquet"
LARGEST_MANIFEST: Final = 64 * 2**20
NEEDED: Final = {
    "key": "Key",
    "size": "Size",
    "lastmodifieddate": "LastModifiedDate",
    "storageclass": "StorageClass",
}
"""Without these there is no plan."""
KNOWN: Final = {**NEEDED, "bucket": "Bucket", "islatest": "IsLatest", "isdeletemarker": "IsDeleteMarker"}
"""What is read, by its plain name."""


@dataclass(frozen=True, slots=True)
class Part:
    """One file of an inventory."""

    path: Path
    size: int | None = None
    """In bytes, as the manifest says."""
    md5: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an inventory consists of."""

    bucket: str
    """Whose objects it lists; empty if that stands in its rows only."""
    made_at: float | None
    """Seconds since the epoch."""
    format: str
    columns: Sequence[str]
    """Plain names of a CSV's columns in their order; Parquet files have their own."""
    parts: Sequence[Part]


def plain_name(column: str) -> str:
    """Return a column's name without case and underscores: CSV has `IsLatest`, Parquet `is_latest`."""
    return column.strip().replace("_", "").lower()


def open_inventory(path: Path) -> Manifest:
    """Return the inventory of a `manifest.json`, of a folder that has one below it, or of a Parquet file.

    Raises `InvalidInputError` for what is none, `FileTreeError` for files that are missing.
    """
    if path.is_dir():
        found = sorted(path.rglob(MANIFEST))
        if len(found) != 1:
            told = ", ".join(str(each.relative_to(path)) for each in found[-3:]) or "none"
            raise InvalidInputError(f"{str(path)!r} has {len(found)} files {MANIFEST} ({told}); name one of them")
        path = found[0]
    if path.name.endswith(".parquet"):
        return Manifest("", None, PARQUET, (), (Part(path),))
    return read_manifest(path)


def read_manifest(path: Path) -> Manifest:
    """Return what a `manifest.json` says, its files found near it. Raises as `open_inventory` does."""
    told = parse_manifest(_read(path), str(path))
    if told["fileFormat"] == CSV:
        columns = tuple(plain_name(name) for name in told["fileSchema"].split(","))
        check_columns(columns, str(path))
    else:
        columns = ()
    made = told.get("creationTimestamp")
    parts = tuple(
        Part(_find(path, str(each["key"])), _whole_number(each.get("size")), each.get("MD5checksum"))
        for each in told["files"]
    )
    return Manifest(
        str(told["sourceBucket"]),
        int(str(made)) / 1000 if str(made).isdigit() else None,
        str(told["fileFormat"]),
        columns,
        parts,
    )


def parse_manifest(raw: bytes, name: str) -> Mapping[str, Any]:
    """Return the manifest's JSON with what it must have. Raises `InvalidInputError`, also for ORC."""
    try:
        told = json.loads(raw)
    except (ValueError, RecursionError) as exc:
        raise InvalidInputError(f"{name!r} is no manifest of an S3 Inventory: not JSON ({exc})") from exc
    wanted = ("sourceBucket", "fileFormat", "fileSchema", "files")
    missing = [each for each in wanted if not isinstance(told, dict) or each not in told]
    if missing:
        raise InvalidInputError(f"{name!r} is no manifest of an S3 Inventory: it has no {missing[0]}")
    if told["fileFormat"] not in {CSV, PARQUET}:
        raise InvalidInputError(
            f"{name!r} is an inventory in {told['fileFormat']}, which is not read here; "
            "configure the inventory to be written as Parquet or CSV"
        )
    files = told["files"]
    if not isinstance(files, list) or not all(isinstance(each, dict) and each.get("key") for each in files):
        raise InvalidInputError(f"{name!r} is no manifest of an S3 Inventory: its files have no keys")
    if not files:
        raise InvalidInputError(f"{name!r} lists no files: the bucket was empty")
    result: Mapping[str, Any] = told
    return result


def check_columns(columns: Sequence[str], name: str) -> None:
    """Raise `InvalidInputError` if these columns are not enough for a plan."""
    missing = [told for plain, told in NEEDED.items() if plain not in columns]
    if missing:
        raise InvalidInputError(
            f"{name!r} has no column {' and no '.join(missing)}; add it to the inventory's configuration"
        )


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST_MANIFEST:
            raise InvalidInputError(f"{str(path)!r} is too large for a manifest of an S3 Inventory")
        return path.read_bytes()
    except OSError as exc:
        raise FileTreeError(f"{str(path)!r} cannot be read: {exc.strerror}") from exc


def _find(manifest: Path, key: str) -> Path:
    """Return where a file of the manifest lies: its key, or an end of it, below the manifest's folder or one above."""
    names = [name for name in key.split("/") if name not in {"", ".", ".."}]
    folders = [manifest.parent, *list(manifest.absolute().parent.parents)[: len(names)]]
    for folder in folders:
        for begin in range(len(names)):
            candidate = folder.joinpath(*names[begin:])
            if candidate.is_file():
                return candidate
    raise FileTreeError(
        f"{str(manifest)!r} names {key!r}, which is neither beside it nor in a folder 'data' beside its own folder; "
        "copy the inventory's data files too"
    )


def _whole_number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
