"""Files of predictions: a JSON array, JSON lines, or CSV."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any, Final

from thermocline.domain.errors import InvalidInputError
from thermocline.domain.predictions import Prediction, parse_prediction
from thermocline.interfaces.cli.exits import UsageError
from thermocline.interfaces.cli.sources import open_source

MOST_BYTES: Final = 256 * 2**20
HEADER: Final = ["content_id", "access_probability"]


async def read_predictions(path: str) -> list[Prediction]:
    """Return the predictions of a file, or of standard input for `-`.

    Raises `CommandError` if it cannot be read, `UsageError` that names the first line or item which is none.
    """
    async with open_source(path) as source:
        raw = bytearray()
        async for piece in source.pieces():
            raw += piece
            if len(raw) > MOST_BYTES:
                raise UsageError(f"{source.name} has more than {MOST_BYTES} bytes", "split it")
        name = source.name
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise UsageError(f"{name} is not UTF-8") from exc
    predictions = []
    for where, given in _values(name, text):
        try:
            predictions.append(parse_prediction(given))
        except InvalidInputError as exc:
            raise UsageError(f"{name}, {where}: {exc}") from exc
    return predictions


def _values(name: str, text: str) -> Iterator[tuple[str, Any]]:
    """Yield where each prediction stands, and what is there."""
    begin = text.lstrip()[:1]
    if begin == "[":
        try:
            array = json.loads(text)
        except (ValueError, RecursionError) as exc:
            raise UsageError(f"{name} is not JSON: {exc}") from exc
        yield from ((f"item {number}", value) for number, value in enumerate(array, start=1))
    elif begin == "{":
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                try:
                    yield f"line {number}", json.loads(line)
                except (ValueError, RecursionError) as exc:
                    raise UsageError(f"{name}, line {number}: not JSON: {exc}") from exc
    else:
        yield from _rows(name, text)


def _rows(name: str, text: str) -> Iterator[tuple[str, Any]]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in rows:
            where = f"line {rows.line_num}"
            if not row or (rows.line_num == 1 and [cell.strip() for cell in row] == HEADER):
                continue
            if len(row) != len(HEADER):
                raise UsageError(f"{name}, {where}: write content_id,access_probability")
            try:
                yield where, {"content_id": row[0], "access_probability": float(row[1])}
            except ValueError as exc:
                raise UsageError(f"{name}, {where}: {row[1]!r} is not a number") from exc
    except csv.Error as exc:
        raise UsageError(f"{name}, line {rows.line_num}: not CSV: {exc}") from exc
