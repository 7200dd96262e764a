"""Metrics of the catalog: the same, whichever process is asked. Totals are at most a minute old."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import structlog
from prometheus_client.metrics_core import Metric

from thermocline.domain.errors import StorageError
from thermocline.domain.heat import day_of
from thermocline.domain.units import Seconds, Timestamp, elapsed
from thermocline.domain.work import JobTotals, OutboxState, QuarantineTotals
from thermocline.interfaces.http.families import counter, gauge, moment
from thermocline.ports.moves import MovesState
from thermocline.ports.policy_budget import DaySpent
from thermocline.ports.restores import RestoresState
from thermocline.services.policy_passes import PassState
from thermocline.services.totalling import StorageTotals
from thermocline.wiring.services import Services

log = structlog.get_logger(__name__)

TOTALS_SECONDS = Seconds(60.0)
"""How old totals may be: a scrape must not cost a look at millions of rows."""
PATIENCE_SECONDS = Seconds(5.0)
"""A catalog that is busy for longer costs its metrics, not the scrape: most scrapers give up after 10 s."""


@dataclass(frozen=True, slots=True)
class CatalogState:
    """What the catalog told."""

    now: Timestamp
    outbox: Sequence[OutboxState]
    intents: int
    quarantine: QuarantineTotals
    moves: MovesState
    restores: RestoresState
    storage: StorageTotals
    storage_prices: Mapping[str, float]
    policy_pass: PassState | None
    policy_spent: DaySpent
    jobs: Mapping[str, JobTotals]


async def ask_catalog(services: Services) -> CatalogState | None:
    """Return the state of the catalog, or None if it does not answer."""
    catalog, now = services.adapters.catalog, services.adapters.clock.now()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return CatalogState(
                now=now,
                outbox=await catalog.outbox.state(),
                intents=await catalog.intents.count(),
                quarantine=await catalog.totals.quarantine(),
                moves=await catalog.moves.state(),
                restores=await catalog.restores.state(now=now),
                storage=await services.totals.storage(max_age=TOTALS_SECONDS),
                storage_prices=services.storage_prices(),
                policy_pass=await services.optimizing.state(),
                policy_spent=await catalog.policy_budget.spent(day_of(now)),
                jobs=await catalog.job_runs.all(),
            )
    except (StorageError, TimeoutError) as exc:
        log.warning("metrics_without_catalog", error=type(exc).__name__, message=str(exc))
        return None


def catalog_metrics(state: CatalogState) -> Iterator[Metric]:
    """Yield the families of the catalog."""
    yield from _storage(state.storage, state.storage_prices)
    yield from _backlog(state)
    yield from _policy(state)
    yield from _jobs(state.jobs)


def _storage(storage: StorageTotals, prices: Mapping[str, float]) -> Iterator[Metric]:
    yield gauge(
        "thermocline_stored_bytes",
        "Bytes of live content.",
        ("tier",),
        [((tier.tier.value,), tier.size) for tier in storage.tiers],
    )
    yield gauge(
        "thermocline_stored_contents",
        "Live contents.",
        ("tier",),
        [((tier.tier.value,), tier.count) for tier in storage.tiers],
    )
    yield gauge(
        "thermocline_estimated_cost_usd_per_month",
        "What storing the live content costs a month.",
        ("tier",),
        [
            ((tier.tier.value,), tier.size * prices[tier.tier.value])
            for tier in storage.tiers
            if tier.tier.value in prices
        ],
    )
    yield gauge(
        "thermocline_stored_as_of_timestamp_seconds",
        "When stored bytes and contents were counted.",
        (),
        [((), moment(storage.as_of))],
    )


def _backlog(state: CatalogState) -> Iterator[Metric]:
    yield gauge(
        "thermocline_outbox_rows",
        "Rows of promised work.",
        ("kind", "state"),
        [
            ((row.kind.value, name), count)
            for row in state.outbox
            for name, count in (("waiting", row.waiting), ("dead", row.dead))
        ],
    )
    yield gauge(
        "thermocline_outbox_oldest_age_seconds",
        "How long the oldest row that is due has been so.",
        ("kind",),
        [((row.kind.value,), _age(row.oldest_at, state.now)) for row in state.outbox],
    )
    yield gauge("thermocline_intents", "Uploads under way or given up.", (), [((), state.intents)])
    yield gauge("thermocline_quarantined_objects", "Objects in quarantine.", (), [((), state.quarantine.objects)])
    moves, restores = state.moves, state.restores
    yield gauge(
        "thermocline_moves",
        "Planned moves.",
        ("state",),
        [(("waiting",), moves.waiting), (("failing",), moves.failing), (("given_up",), moves.given_up)],
    )
    yield gauge(
        "thermocline_moves_oldest_age_seconds",
        "How long ago the oldest waiting move was planned.",
        (),
        [((), _age(moves.oldest_at, state.now))],
    )
    yield gauge(
        "thermocline_restores",
        "Restores.",
        ("state",),
        [
            (("requested",), restores.requested),
            (("readable",), restores.readable),
            (("failing",), restores.failing),
        ],
    )
    yield gauge(
        "thermocline_restore_spent_today_usd",
        "What restores cost since midnight in UTC.",
        (),
        [((), restores.spent_today)],
    )


def _policy(state: CatalogState) -> Iterator[Metric]:
    done = state.policy_pass
    counts = {"examined": 0, "refused": 0, "changed": 0}
    if done is not None:
        counts = {"examined": done.examined, "refused": done.refused, "changed": done.changed}
    yield gauge(
        "thermocline_policy_pass_contents",
        "Contents in the policy's pass under way, or its last.",
        ("result",),
        [((name,), count) for name, count in counts.items()],
    )
    yield gauge(
        "thermocline_policy_pass_begun_timestamp_seconds",
        "When that pass began.",
        (),
        [((), 0.0 if done is None else moment(done.begun_at))],
    )
    spent = state.policy_spent
    yield gauge(
        "thermocline_policy_planned_today_moves", "Copies that policies planned today.", (), [((), spent.moves)]
    )
    yield gauge("thermocline_policy_planned_today_bytes", "Their bytes.", (), [((), spent.size)])
    yield gauge("thermocline_policy_planned_today_usd", "What they cost.", (), [((), spent.usd)])


def _jobs(jobs: Mapping[str, JobTotals]) -> Iterator[Metric]:
    yield gauge(
        "thermocline_catalog_job_last_run_timestamp_seconds",
        "When the job last ran in any process.",
        ("job",),
        [((name,), moment(totals.ran_at)) for name, totals in jobs.items()],
    )
    yield gauge(
        "thermocline_catalog_job_failing",
        "Whether the last run of the job failed.",
        ("job",),
        [((name,), totals.last_error is not None) for name, totals in jobs.items()],
    )
    yield counter(
        "thermocline_catalog_job_done",
        "Items done by all processes.",
        ("job",),
        [((name,), totals.done) for name, totals in jobs.items()],
    )
    yield counter(
        "thermocline_catalog_job_failures",
        "Failed runs of all processes.",
        ("job",),
        [((name,), totals.failures) for name, totals in jobs.items()],
    )


def _age(since: Timestamp | None, now: Timestamp) -> float:
    return 0.0 if since is None else max(elapsed(since, now), 0.0)
