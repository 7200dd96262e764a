"""`Accesses` in PostgreSQL: one partition of `access_days` for each day, so that old days are dropped whole."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from sqlalchemy import text

from thermocline.adapters.catalog.accesses import HEAT, SqlAccesses, weights_now
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.storage_days import STORAGE_HEAT, added_parameter, day_changes
from thermocline.adapters.catalog.transactions import Connection
from thermocline.domain.heat import AccessCount, day_of
from thermocline.domain.units import Seconds, Timestamp
from thermocline.ports.accesses import DropsDays

_ADDED: Final = ", ".join(
    (
        *(f"{name} = {name} + (cache + storage + edge) * CAST(:{name} AS DOUBLE PRECISION)" for name in HEAT),
        *(f"{name} = {change}" for name, change in day_changes("storage").items()),
    )
)
ADD: Final = Statement(
    text(
        f"""
        WITH locked AS (
            SELECT content_id, cache, storage, edge
            FROM unnest(CAST(:ids AS TEXT[]), CAST(:cache AS BIGINT[]), CAST(:storage AS BIGINT[]),
                CAST(:edge AS BIGINT[])) AS given (id, cache, storage, edge) JOIN contents ON content_id = id
            WHERE object_key IS NOT NULL ORDER BY content_id FOR UPDATE OF contents
        ), summed AS (
            UPDATE contents SET reads_total = reads_total + cache + storage + edge,
                storage_reads = storage_reads + storage, last_read_at = greatest(last_read_at, :now), {_ADDED}
            FROM locked WHERE contents.content_id = locked.content_id
            RETURNING contents.content_id, cache, storage, edge
        )
        INSERT INTO access_days AS known (day, content_id, cache_reads, storage_reads, edge_reads)
        SELECT :day, content_id, cache, storage, edge FROM summed
        ON CONFLICT (day, content_id) DO UPDATE SET
            cache_reads = known.cache_reads + excluded.cache_reads,
            storage_reads = known.storage_reads + excluded.storage_reads,
            edge_reads = known.edge_reads + excluded.edge_reads
        """  # noqa: S608 - names of our columns
    )
)
"""A whole flush: rows are locked in order of their ids, so that two flushes never wait for each other in a circle."""
_PREFIX: Final = "access_days_"
TAKE_TURNS: Final = Statement(text("SELECT pg_advisory_xact_lock(:key)"))
_KEY: Final = 0x7468_6461_7973
"""Of everybody who makes or drops a partition in this database ("thdays")."""
_SELECT: Final = """
    SELECT relname FROM pg_catalog.pg_class JOIN pg_catalog.pg_inherits ON inhrelid = pg_class.oid
    WHERE inhparent = CAST('access_days' AS regclass)
"""
PARTITIONS: Final = Statement(text(_SELECT))
# Not `to_regclass`: it answers from a cache that may not have heard yet of what another process just made.
IS_THERE: Final = Statement(text(f"{_SELECT} AND relname = :partition"))


class PostgresAccesses(SqlAccesses, DropsDays):
    """Days in partitions, which the first flush of a day makes."""

    async def add(self, counts: Sequence[AccessCount], *, now: Timestamp, max_wait: Seconds | None = None) -> int:
        """Add reads that happened about `now`, in one transaction; of how many contents."""
        if not counts:
            return 0
        return await self._runner.write(partial(_add, counts=counts, now=now), max_wait=max_wait)

    async def drop_days(self, *, before_day: int) -> int:
        """Forget all days before `before_day`, however many rows they have; how many days."""
        return await self._runner.write(partial(_drop_partitions, before_day=before_day))


def _add(connection: Connection, counts: Sequence[AccessCount], now: Timestamp) -> int:
    day = day_of(now)
    _make_partition(connection, day)
    weighed = weights_now(connection, now)
    return connection.change(
        ADD,
        {
            "day": day,
            "now": now,
            "ids": [count.content_id for count in counts],
            "cache": [count.cache for count in counts],
            "storage": [count.storage for count in counts],
            "edge": [count.edge for count in counts],
            **dict(zip(HEAT, weighed.read, strict=True)),
            **dict(zip(map(added_parameter, STORAGE_HEAT), weighed.day, strict=True)),
        },
    )


def _make_partition(connection: Connection, day: int) -> None:
    name = f"{_PREFIX}{day}"
    if _is_there(connection, name):
        return
    connection.all(TAKE_TURNS, {"key": _KEY})
    if _is_there(connection, name):
        return
    # Made on its own and then attached: that locks out neither the flushes nor the readers of other days.
    connection.define(f"CREATE TABLE {name} (LIKE access_days INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
    connection.define(f"ALTER TABLE access_days ATTACH PARTITION {name} FOR VALUES FROM ({day}) TO ({day + 1})")


def _is_there(connection: Connection, name: str) -> bool:
    return connection.first(IS_THERE, {"partition": name}) is not None


def _drop_partitions(connection: Connection, before_day: int) -> int:
    connection.all(TAKE_TURNS, {"key": _KEY})
    days = sorted(int(row[0].removeprefix(_PREFIX)) for row in connection.all(PARTITIONS, {}))
    old = [day for day in days if day < before_day]
    for day in old:
        connection.define(f"DROP TABLE {_PREFIX}{day}")
    return len(old)
