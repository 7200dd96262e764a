"""An inventory becomes columns: what lies in the bucket, without its keys, of which a hash is kept."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote_plus

import numpy as np
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from thermocline.adapters.inventories.manifests import CSV, Manifest
from thermocline.adapters.inventories.rows import Rows, inventory_rows
from thermocline.domain.errors import InvalidInputError

PRICED_AS: Final[Mapping[str, str]] = {
    "STANDARD": "s3.standard",
    "STANDARD_IA": "s3.standard_ia",
    "ONEZONE_IA": "s3.onezone_ia",
    "INTELLIGENT_TIERING": "s3.intelligent",
    "GLACIER_IR": "s3.glacier_ir",
    "GLACIER": "s3.glacier",
    "DEEP_ARCHIVE": "s3.deep_archive",
}
"""S3's storage classes, and what the price book calls them."""
Hashes = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Stored:
    """Some objects, in columns of one length."""

    sizes: NDArray[np.int64]
    modified: NDArray[np.int32]
    """Days since the epoch."""
    classes: NDArray[np.int16]
    """Places in `Inventory.class_names`."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What lies in a bucket, or in a part of it."""

    class_names: tuple[str, ...]
    """As the price book calls them, or as the inventory does where it has no price."""
    current: Stored
    """What can be read by its key alone."""
    hashes: Hashes
    """Of the keys of `current`, ascending."""
    noncurrent: Stored
    """Older versions: paid for, and not read."""
    markers: int
    """Delete markers: not paid for."""
    outside: int
    """Rows of other buckets, or that do not begin with the prefix."""
    duplicates: int
    """Rows of a key that stands in the inventory already."""


def hash_of(key: str) -> int:
    """Return what stands for a key. Among ten million keys, two are the same once in 400,000 inventories."""
    return xxhash.xxh3_64_intdigest(key.encode("utf-8", "surrogatepass"))


def hashes_of(keys: Iterable[str]) -> Hashes:
    """Return them for many."""
    return np.fromiter((hash_of(key) for key in keys), np.uint64)


def read_inventory(
    manifest: Manifest, bucket: str, prefix: str, *, progress: Callable[[int], None] = lambda _: None
) -> Inventory:
    """Return what lies under `prefix`. Memory: 22 bytes an object, and some pieces of a file.

    Raises `InvalidInputError` for an inventory of another bucket, or of nothing there; and as `inventory_rows` does.
    """
    if manifest.bucket not in {"", bucket}:
        raise InvalidInputError(f"the inventory is of the bucket {manifest.bucket!r}, not of {bucket!r}")
    reader = _Reader(bucket, prefix, is_encoded=manifest.format == CSV)
    for rows in inventory_rows(manifest, progress=progress):
        reader.take(rows)
    return reader.inventory()


@dataclass(slots=True)
class _Pieces:
    sizes: list[NDArray[np.int64]] = field(default_factory=list)
    modified: list[NDArray[np.int32]] = field(default_factory=list)
    classes: list[NDArray[np.int16]] = field(default_factory=list)

    def take(self, rows: Rows, classes: NDArray[np.int16], which: NDArray[np.bool_]) -> None:
        self.sizes.append(rows.sizes[which])
        self.modified.append(rows.modified[which])
        self.classes.append(classes[which])

    def stored(self) -> Stored:
        return Stored(
            np.concatenate([np.zeros(0, np.int64), *self.sizes]),
            np.concatenate([np.zeros(0, np.int32), *self.modified]),
            np.concatenate([np.zeros(0, np.int16), *self.classes]),
        )


class _Reader:
    def __init__(self, bucket: str, prefix: str, *, is_encoded: bool) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._is_encoded = is_encoded
        self._names: dict[str, int] = {}
        self._current, self._noncurrent = _Pieces(), _Pieces()
        self._hashes: list[Hashes] = []
        self._markers = self._outside = 0

    def take(self, rows: Rows) -> None:
        keys = self._decoded(rows.keys)
        inside = np.ones(len(rows.sizes), bool)
        if rows.buckets is not None:
            inside &= pc.equal(rows.buckets, self._bucket).to_numpy(zero_copy_only=False)
        if self._prefix:
            inside &= np.fromiter((key.startswith(self._prefix) for key in keys), bool, len(keys))
        self._outside += int((~inside).sum())
        self._markers += int((inside & rows.is_marker).sum())
        classes = self._classes(rows.classes)
        objects = inside & ~rows.is_marker
        self._noncurrent.take(rows, classes, objects & ~rows.is_latest)
        current = objects & rows.is_latest
        self._current.take(rows, classes, current)
        self._hashes.append(hashes_of(keys[row] for row in np.flatnonzero(current)))

    def inventory(self) -> Inventory:
        stored, hashes = self._current.stored(), np.concatenate([np.zeros(0, np.uint64), *self._hashes])
        noncurrent = self._noncurrent.stored()
        if not len(hashes) and not len(noncurrent.sizes):
            raise InvalidInputError(
                f"the inventory lists nothing under s3://{self._bucket}/{self._prefix}"
                + (f" ({self._outside} rows lie elsewhere)" if self._outside else "")
            )
        order = np.argsort(hashes, kind="stable")  # of equal keys, the one that was listed first stays first
        hashes = hashes[order]
        first = np.ones(len(hashes), bool)
        first[1:] = hashes[1:] != hashes[:-1]
        kept = order[first]
        return Inventory(
            tuple(PRICED_AS.get(name, name) for name in self._names),
            Stored(stored.sizes[kept], stored.modified[kept], stored.classes[kept]),
            hashes[first],
            noncurrent,
            self._markers,
            self._outside,
            int((~first).sum()),
        )

    def _decoded(self, keys: Any) -> list[str]:
        """Return the keys as they are; a CSV has them URL-encoded, a space as a plus."""
        listed: list[str] = keys.to_pylist()
        if not self._is_encoded:
            return listed
        return [unquote_plus(key) if "%" in key or "+" in key else key for key in listed]

    def _classes(self, column: Any) -> NDArray[np.int16]:
        coded = column.dictionary_encode()
        places = np.array(
            [self._names.setdefault(name, len(self._names)) for name in coded.dictionary.to_pylist()], np.int16
        )
        found: NDArray[np.int16] = places[coded.indices.to_numpy(zero_copy_only=False)]
        return found
