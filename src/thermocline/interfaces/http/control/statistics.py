"""Statistics: the cache, and the background work."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from thermocline.domain.units import format_moment
from thermocline.interfaces.http.cache_state import cache_state
from thermocline.interfaces.http.control.calls import ExchangeHere, ServicesHere, json_answer
from thermocline.interfaces.http.gate import require_overview
from thermocline.services.recovering import ADVICE, PAUSED_JOBS
from thermocline.services.working import Job
from thermocline.wiring.services import Services

router = APIRouter(tags=["statistics"])


@router.get("/v1/stats/work", summary="Background work: last run, next run, backlog")
async def work_statistics(exchange: ExchangeHere, services: ServicesHere) -> JSONResponse:
    """Return the state of each job of this process, and what waits in the catalog for any process.

    Needs `read` without a prefix, or `admin`.
    """
    require_overview(exchange)
    return json_answer(
        exchange,
        {
            "jobs": {job.name: _job_json(job) for job in services.worker.jobs},
            "outbox": await _outbox_json(services),
            "recovery": await _recovery_json(services),
            "scrub": await _scrub_json(services),
            "intents": await services.adapters.catalog.intents.count(),
            "background": {"shed": services.background.shed, "failed": services.background.failed},
        },
    )


@router.get("/v1/stats/cache", summary="The cache, by type and level")
async def cache_statistics(exchange: ExchangeHere, services: ServicesHere) -> JSONResponse:
    """Return hits, misses, sets and sizes of this process's caches. Needs `read` without a prefix, or `admin`."""
    require_overview(exchange)
    return json_answer(exchange, {"content": {"memory": cache_state(services).as_json()}})


def _job_json(job: Job) -> dict[str, Any]:
    return {
        "every_seconds": job.every,
        "runs": job.runs,
        "done": job.done,
        "failures": job.failures,
        "last_run": format_moment(job.last_run),
        "next_run": format_moment(job.next_run),
        "last_error": job.last_error,
    }


async def _recovery_json(services: Services) -> dict[str, Any]:
    recovering = await services.recovering.is_recovering()
    shown: dict[str, Any] = {"recovering": recovering}
    return shown | {"paused": list(PAUSED_JOBS), "advice": ADVICE} if recovering else shown


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


async def _outbox_json(services: Services) -> dict[str, Any]:
    return {
        state.kind.value: {
            "waiting": state.waiting,
            "dead": state.dead,
            "oldest_due_at": format_moment(state.oldest_at),
        }
        for state in await services.adapters.catalog.outbox.state()
    }
