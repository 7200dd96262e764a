"""Every benchmark by name."""

from collections.abc import Callable, Mapping

from bench import (
    co_access,
    coalesced_lookups,
    columns,
    deciding,
    durable_put,
    gigabyte,
    hot_reads,
    import_tree,
    listing,
    memory_hit,
    redis_hits,
    redis_trouble,
    s3,
    simulation,
    tier_moves,
    tracker,
)
from bench.figures import Table
from bench.plan import Plan

SUITE: Mapping[str, Callable[[Plan], Table]] = {
    "hot_get": hot_reads.run,
    "durable_put": durable_put.run,
    "gigabyte": gigabyte.run,
    "listing": listing.run,
    "tier_moves": tier_moves.run,
    "tracker": tracker.run,
    "import_tree": import_tree.run,
    "coalesced_lookups": coalesced_lookups.run,
    "columns": columns.run,
    "decide": deciding.run,
    "simulation": simulation.run,
    "memory_hit": memory_hit.run,
    "redis_hits": redis_hits.run,
    "redis_trouble": redis_trouble.run,
    "co_access": co_access.run,
    "s3_reads": s3.run_reads,
    "warm": s3.run_warm,
    "s3_large": s3.run_large,
    "copies": s3.run_copies,
}
