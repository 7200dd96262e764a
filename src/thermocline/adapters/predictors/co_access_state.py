"""What a co-access table learned, as bytes: bounded, versioned, and refused unless every part of it fits.

`TCCA`, the version, an XXH3 of the rest, then one zstd frame: a line of JSON, the content ids (one a line: they have
no control characters), and the columns. What is read most comes first; each row has its heaviest neighbours only.
"""

import json
import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xxhash
import zstandard

from thermocline.adapters.predictors.co_access_table import CoAccessTable
from thermocline.domain.content_id import parse_content_id
from thermocline.domain.errors import InvalidInputError
from thermocline.domain.units import Bytes, Seconds, Timestamp

MAGIC: Final = b"TCCA\x01"
MOST_STATE_BYTES: Final = Bytes(4 * 2**20)
"""Of the columns and ids together, before compression: what one row of a catalog may well hold."""
MOST_SAVED_SLOTS: Final = 64
FEWEST_SAVED_SLOTS: Final = 20
_DIGEST_BYTES: Final = 8
_CELL_BYTES: Final = 8
_SUM_BYTES: Final = 4
_HEAD_BYTES: Final = 512
_LARGEST_MOMENT: Final = 2**62


def encode(table: CoAccessTable) -> bytes:
    """Return the state, of at most `MOST_STATE_BYTES`; where not all fits, what is read least is left out."""
    scale = 1.0 if table.origin is None else table.scale_at(table.latest)
    names = sorted(table.rows, key=lambda name: -float(table.sums[table.rows[name]]))
    id_bytes = np.cumsum([len(name.encode()) + 1 for name in names] or [0])
    slots = min(MOST_SAVED_SLOTS, table.slots)
    while slots > FEWEST_SAVED_SLOTS and _size(len(names), slots, id_bytes) > MOST_STATE_BYTES:
        slots = max(slots // 2, FEWEST_SAVED_SLOTS)
    while names and _size(len(names), slots, id_bytes) > MOST_STATE_BYTES:
        del names[-max(len(names) // 16, 1) :]
    rows = np.array([table.rows[name] for name in names], dtype=np.int64)
    weights = table.weights[rows]
    heaviest = np.argsort(-weights, axis=1, kind="stable")[:, :slots]
    places = np.full(len(table.names) + 1, -1, np.int32)
    places[rows] = np.arange(len(rows), dtype=np.int32)
    neighbours = places[np.take_along_axis(table.neighbours[rows], heaviest, axis=1)]
    weights = np.take_along_axis(weights, heaviest, axis=1) / np.float32(scale)
    head = {
        "contents": len(names),
        "slots": slots,
        "latest": int(table.latest),
        "stretches": table.stretches / scale,
        "observed": table.observed / scale,
    }
    body = b"".join(
        [
            json.dumps(head).encode() + b"\n",
            *(name.encode() + b"\n" for name in names),
            (table.sums[rows] / np.float32(scale)).astype("<f4").tobytes(),
            neighbours.astype("<i4").tobytes(),
            np.where(neighbours >= 0, weights, 0).astype("<f4").tobytes(),
        ]
    )
    frame = zstandard.ZstdCompressor(level=3).compress(body)
    return MAGIC + xxhash.xxh3_64_digest(frame) + frame


def decode(state: bytes, memory: Bytes, half_life: Seconds) -> CoAccessTable | None:
    """Return a table with what `encode` wrote, as far as `memory` goes; None for anything else, whatever it is."""
    frame = state[len(MAGIC) + _DIGEST_BYTES :]
    if state[: len(MAGIC) + _DIGEST_BYTES] != MAGIC + xxhash.xxh3_64_digest(frame):
        return None
    try:
        if zstandard.get_frame_parameters(frame).content_size > MOST_STATE_BYTES + _HEAD_BYTES:
            return None
        return _read(zstandard.ZstdDecompressor().decompress(frame), memory, half_life)
    except (zstandard.ZstdError, ValueError, KeyError, TypeError, OverflowError, InvalidInputError, MemoryError):
        return None


def _size(contents: int, slots: int, id_bytes: npt.NDArray[Any]) -> int:
    ids = int(id_bytes[contents - 1]) if contents else 0
    return ids + contents * (_SUM_BYTES + slots * _CELL_BYTES)


def _read(body: bytes, memory: Bytes, half_life: Seconds) -> CoAccessTable | None:
    line, _, rest = body.partition(b"\n")
    head = json.loads(line)
    count, slots, latest = (head[name] for name in ("contents", "slots", "latest"))
    stretches, observed = float(head["stretches"]), float(head["observed"])
    if not (count >= 0 and 1 <= slots <= MOST_SAVED_SLOTS and 0 <= latest < _LARGEST_MOMENT):
        return None
    columns = count * (_SUM_BYTES + slots * _CELL_BYTES)
    ids, values = rest[: len(rest) - columns], rest[len(rest) - columns :]
    names = [parse_content_id(name) for name in ids.split(b"\n")[:-1]]
    if len(values) != columns or len(names) != count or len(set(names)) != count:
        return None
    sums = np.frombuffer(values, "<f4", count)
    neighbours = np.frombuffer(values, "<i4", count * slots, count * _SUM_BYTES).reshape(count, slots)
    weights = np.frombuffer(values, "<f4", count * slots, count * (_SUM_BYTES + slots * 4)).reshape(count, slots)
    fits = (
        bool(np.all(np.isfinite(sums) & (sums >= 0)) and np.all(np.isfinite(weights) & (weights >= 0)))
        and bool(np.all((neighbours >= -1) & (neighbours < count)))
        and all(math.isfinite(total) and total >= 0 for total in (stretches, observed))
    )
    if not fits:
        return None
    table = CoAccessTable(memory, half_life)
    table.scale_at(Timestamp(latest))
    table.latest, table.stretches, table.observed = Timestamp(latest), stretches, observed
    table.fill(names, sums, neighbours, weights)
    return table
