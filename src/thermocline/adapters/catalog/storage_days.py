"""Summaries of storage reads by day: what a flush makes of them in the same statement, without asking what was there.

Of a day's storage reads only one counts: it is by days that policies learn and prices are compared
(`economics.columns`). So a flush must know whether the day was counted already. The last `RECENT_STORAGE_DAYS` days, up
to the last one with storage reads, are known one by one, as bits; a day before those (the clock was set back by months)
is left out, because nobody knows any more whether it was counted.

The text is for both databases: PostgreSQL takes the distance of a shift modulo 64, and only as a 32-bit integer, so
distances of `RECENT_STORAGE_DAYS` and more are handled before anything is shifted.
"""

from collections.abc import Mapping
from typing import Final

from thermocline.domain.heat import HEAT_DAYS, RECENT_STORAGE_DAYS, VISIT_DAYS

STORAGE_HEAT: Final = tuple(f"storage_heat_{days}d" for days in HEAT_DAYS)
"""The columns of the decayed sums of days; `added_parameter` names what a day adds to each."""
_ALL_BITS: Final = (1 << RECENT_STORAGE_DAYS) - 1
_NEAR: Final = (1 << VISIT_DAYS) - 1
_DAY: Final = "CAST(:day AS BIGINT)"
_AHEAD: Final = f"({_DAY} - last_storage_day)"
_BEHIND: Final = f"(last_storage_day - {_DAY})"

_AFTER: Final = (
    f"(CASE WHEN {_BEHIND} < {VISIT_DAYS} THEN recent_storage_days << CAST({VISIT_DAYS} - {_BEHIND} AS INTEGER) "
    f"ELSE recent_storage_days >> CAST({_BEHIND} - {VISIT_DAYS} AS INTEGER) END & {_NEAR})"
)
"""Which of the `VISIT_DAYS` after a day that is behind the last one are known: the next one is the highest bit."""
_BEFORE: Final = f"((recent_storage_days >> CAST({_BEHIND} + 1 AS INTEGER)) & {_NEAR})"
"""Which of those before it: the day just before is the lowest bit."""
_WAS_ONE_VISIT: Final = " OR ".join(
    f"({_AFTER} >= {1 << distance} AND ({_BEFORE} & {(1 << distance) - 1}) > 0)" for distance in range(1, VISIT_DAYS)
)
"""Whether the nearest days around it are of one visit without it, too."""
_NEW_VISITS: Final = (
    f"CASE WHEN last_storage_day IS NULL OR {_AHEAD} > {VISIT_DAYS} THEN 1 WHEN {_AHEAD} > 0 THEN 0 "
    f"WHEN {_AFTER} = 0 AND {_BEFORE} = 0 THEN 1 "
    f"WHEN {_AFTER} = 0 OR {_BEFORE} = 0 OR {_WAS_ONE_VISIT} THEN 0 ELSE -1 END"
)
"""How many visits more there are once a new day counts: a late one may join two."""


def added_parameter(name: str) -> str:
    """Return the parameter of what a day adds to the sum `name`."""
    return f"day_{name}"


def day_changes(storage: str) -> Mapping[str, str]:
    """Return what becomes of each column when `storage` reads (an expression) happened on the day `:day`."""
    is_new = (
        f"{storage} > 0 AND (last_storage_day IS NULL OR {_AHEAD} > 0 OR ({_BEHIND} < {RECENT_STORAGE_DAYS} "
        f"AND ((recent_storage_days >> CAST({_BEHIND} AS INTEGER)) & 1) = 0))"
    )
    return {
        "storage_days": f"storage_days + CASE WHEN {is_new} THEN 1 ELSE 0 END",
        "last_storage_day": (
            f"CASE WHEN {storage} = 0 OR {_BEHIND} >= 0 THEN last_storage_day ELSE {_DAY} END"  # no day yet: the day
        ),
        "recent_storage_days": (
            f"CASE WHEN {storage} = 0 OR {_BEHIND} >= {RECENT_STORAGE_DAYS} THEN recent_storage_days "
            f"WHEN last_storage_day IS NULL OR {_AHEAD} >= {RECENT_STORAGE_DAYS} THEN 1 "
            f"WHEN {_AHEAD} > 0 THEN ((recent_storage_days << CAST({_AHEAD} AS INTEGER)) & {_ALL_BITS}) | 1 "
            f"ELSE recent_storage_days | (CAST(1 AS BIGINT) << CAST({_BEHIND} AS INTEGER)) END"
        ),
        "storage_visits": f"storage_visits + CASE WHEN {is_new} THEN {_NEW_VISITS} ELSE 0 END",
        **{
            name: f"{name} + CASE WHEN {is_new} THEN CAST(:{added_parameter(name)} AS DOUBLE PRECISION) ELSE 0.0 END"
            for name in STORAGE_HEAT
        },
    }
