"""Rows of `ledger` as entries."""

from typing import Final

from thermocline.adapters.catalog.forecasts import forecast_of
from thermocline.adapters.catalog.schema import ledger
from thermocline.adapters.catalog.transactions import Row
from thermocline.domain.content_id import ContentId
from thermocline.domain.moves import LedgerEntry
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Bytes, Timestamp

ENTRY: Final = tuple(column for column in ledger.c if column.name != "row_id")
"""In the order that `entry_of` reads."""


def entry_of(row: Row) -> LedgerEntry:
    """Return the entry in a row of `ENTRY`."""
    return LedgerEntry(
        ContentId(row[0]),
        Timestamp(row[1]),
        StorageTier(row[2]),
        StorageTier(row[3]),
        row[4],
        row[5],
        Bytes(row[6]),
        bool(row[7]),
        row[8],
        forecast_of(row[9], row[10]),
        row[11],
    )
