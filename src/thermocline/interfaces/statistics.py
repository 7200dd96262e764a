"""Statistics as JSON-ready values: the same over HTTP and on the command line."""

from collections.abc import Sequence
from typing import Any

from thermocline.domain.heat import day_of
from thermocline.domain.moves import LedgerEntry
from thermocline.domain.units import Seconds, Timestamp, elapsed, format_moment
from thermocline.domain.work import JobTotals
from thermocline.interfaces.cache_state import shared_state
from thermocline.interfaces.prediction_state import prediction_state
from thermocline.services.cache_statistics import HOLDINGS, Statistics
from thermocline.services.recovering import ADVICE, PAUSED_JOBS
from thermocline.services.tracking import AccessFlush
from thermocline.services.working import Job
from thermocline.wiring.services import Services

_HELD = HOLDINGS | {"redis/circuits_open"}
"""What a process has, and takes with it when it ends."""
LATELY_SECONDS = Seconds(600.0)
RECENT_MOVES = 1000
"""The latest moves, from which it is told how fast they are made."""
FRESH_SECONDS = Seconds(1.0)
"""How old totals may be that somebody asks for: so many do at once share one look at the catalog."""


def cache_statistics(services: Services) -> Statistics:
    """Return hits, misses, sets and sizes of this process's caches, by type and level, without ratios."""
    found = services.statistics.here()
    shared = shared_state(services)
    if shared is not None:
        found["content"]["redis"] |= shared.as_json()
    return found


def sum_cache_statistics(parts: Sequence[Statistics]) -> Statistics:
    """Return the statistics of several processes together, without ratios."""
    total: Statistics = {}
    for part in parts:
        for kind, levels in part.items():
            for level, numbers in levels.items():
                held = total.setdefault(kind, {}).setdefault(level, {})
                for name, number in numbers.items():
                    held[name] = held.get(name, 0) + number
    return total


def without_holdings(part: Statistics) -> Statistics:
    """Return the statistics of a process that has ended: it counted, and holds nothing."""
    return {
        kind: {
            level: {name: 0 if f"{level}/{name}" in _HELD else number for name, number in numbers.items()}
            for level, numbers in levels.items()
        }
        for kind, levels in part.items()
    }


async def storage_statistics(services: Services) -> dict[str, Any]:
    """Return how much live content each tier has, and what storing it costs. Raises `UnavailableError`."""
    totals, prices = await services.totals.storage(max_age=FRESH_SECONDS), services.storage_prices()
    return {
        "as_of": format_moment(totals.as_of),
        "tiers": {
            tier.tier.value: {
                "count": tier.count,
                "bytes": tier.size,
                "usd_per_month": tier.size * prices[tier.tier.value] if tier.tier.value in prices else None,
            }
            for tier in totals.tiers
        },
        "total": {
            "count": sum(tier.count for tier in totals.tiers),
            "bytes": sum(tier.size for tier in totals.tiers),
            "usd_per_month": sum(tier.size * prices.get(tier.tier.value, 0.0) for tier in totals.tiers),
        },
    }


async def work_statistics(services: Services) -> dict[str, Any]:
    """Return what `catalog_work` does, and what this process does of it and beside requests. Raises likewise."""
    work = await catalog_work(services)
    for job in services.worker.jobs:
        work["jobs"][job.name]["here"] = _job_here(job)
    return {
        "is_worker": services.worker.is_running,
        **work,
        "sweeps": _sweeps_json(services),
        "tracking": _tracking_json(services.tracking),
        "prediction": prediction_state(services).as_json(),
        "background": {"shed": services.background.shed, "failed": services.background.failed},
    }


async def catalog_work(services: Services) -> dict[str, Any]:
    """Return when each job ran in any process, and what waits in the catalog. Raises `UnavailableError`."""
    catalog, now = services.adapters.catalog, services.adapters.clock.now()
    anywhere = await catalog.job_runs.all()
    quarantine, moves, restores = (
        await catalog.totals.quarantine(),
        await catalog.moves.state(),
        await catalog.restores.state(now=now),
    )
    return {
        "jobs": {job.name: _job_json(job, anywhere.get(job.name)) for job in services.worker.jobs},
        "outbox": {
            state.kind.value: {
                "waiting": state.waiting,
                "dead": state.dead,
                "oldest_due_at": format_moment(state.oldest_at),
            }
            for state in await catalog.outbox.state()
        },
        "recovery": await _recovery_json(services),
        "scrub": await _scrub_json(services),
        "intents": await catalog.intents.count(),
        "quarantine": {"objects": quarantine.objects, "oldest_due_at": format_moment(quarantine.oldest_at)},
        "policy": await _policy_json(services),
        "moves": {
            "waiting": moves.waiting,
            "failing": moves.failing,
            "given_up": moves.given_up,
            **_progress(moves.waiting, await catalog.moves.ledger(content_id=None, limit=RECENT_MOVES), now),
            "oldest_planned_at": format_moment(moves.oldest_at),
        },
        "restores": {
            "requested": restores.requested,
            "readable": restores.readable,
            "failing": restores.failing,
            "spent_today_usd": restores.spent_today,
            "daily_budget_usd": services.settings.restore.daily_budget,
        },
    }


def _progress(waiting: int, latest: Sequence[LedgerEntry], now: Timestamp) -> dict[str, Any]:
    """Return how many copies a second were made lately, and in how many seconds those waiting will be."""
    made = [entry.moved_at for entry in latest if entry.copied and elapsed(entry.moved_at, now) < LATELY_SECONDS]
    per_second = len(made) / max(elapsed(min(made), now), 1.0) if made else 0.0
    return {"made_per_second": per_second, "seconds_left": waiting / per_second if per_second else None}


async def _recovery_json(services: Services) -> dict[str, Any]:
    recovering = await services.recovering.is_recovering()
    shown: dict[str, Any] = {"recovering": recovering}
    return shown | {"paused": list(PAUSED_JOBS), "advice": ADVICE} if recovering else shown


async def _policy_json(services: Services) -> dict[str, Any]:
    """Return how far the policy's pass is, and what it has planned today."""
    done = await services.optimizing.state()
    now, rules = services.adapters.clock.now(), services.settings.policy
    spent = await services.adapters.catalog.policy_budget.spent(day_of(now))
    return {
        "name": rules.name,
        "pass": None
        if done is None
        else {
            "begun_at": format_moment(done.begun_at),
            "ended_at": format_moment(done.ended_at),
            "examined": done.examined,
            "refused": done.refused,
            "changed": done.changed,
        },
        "planned_today": {"moves": spent.moves, "bytes": spent.size, "usd": spent.usd},
        "daily_limits": {"moves": rules.daily_moves, "bytes": rules.daily_bytes, "usd": rules.daily_usd},
    }


async def _scrub_json(services: Services) -> dict[str, Any] | None:
    """Return how far the scrub is; None before its first pass."""
    state = await services.scrub.state()
    if state is None:
        return None
    return {
        "begun_at": format_moment(state.begun_at),
        "ended_at": format_moment(state.ended_at),
        "verified": state.done,
        "skipped": state.skipped,
        "findings": state.findings,
    }


def _job_json(job: Job, anywhere: JobTotals | None) -> dict[str, Any]:
    # What this process did a moment ago may not be noted yet.
    if anywhere is None or (job.last_run is not None and job.last_run >= anywhere.ran_at):
        last_run, next_run, last_error = job.last_run, job.next_run, job.last_error
    else:
        last_run, next_run, last_error = anywhere.ran_at, anywhere.next_at, anywhere.last_error
    return {
        "every_seconds": job.every,
        "last_run": format_moment(last_run),
        "next_run": format_moment(next_run),
        "last_error": last_error,
        "last_failure": None if anywhere is None else format_moment(anywhere.failed_at),
        "done": job.done if anywhere is None else max(anywhere.done, job.done),
        "failures": job.failures if anywhere is None else max(anywhere.failures, job.failures),
    }


def _job_here(job: Job) -> dict[str, Any]:
    return {
        "runs": job.runs,
        "done": job.done,
        "failures": job.failures,
        "last_run": format_moment(job.last_run),
        "next_run": format_moment(job.next_run),
        "last_error": job.last_error,
    }


def _sweeps_json(services: Services) -> dict[str, Any]:
    return {
        report.placement: {
            "swept_at": format_moment(services.sweep.swept_at),
            "listed": report.listed,
            "unnamed": report.unnamed,
            "quarantined": report.quarantined,
            "refused": report.refused,
        }
        for report in services.sweep.last_reports
    }


def _tracking_json(flush: AccessFlush) -> dict[str, Any]:
    tracker = flush.tracker
    return {
        "waiting": tracker.waiting,
        "capacity": tracker.capacity,
        "flushed": flush.flushed,
        "dropped": tracker.dropped,
        "failures": flush.failures,
        "last_flush": format_moment(flush.last_flush),
        "last_error": flush.last_error,
    }
