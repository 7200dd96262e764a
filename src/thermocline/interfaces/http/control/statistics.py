"""Statistics: the cache, what is stored, and the background work."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from thermocline.interfaces import statistics
from thermocline.interfaces.http.control.calls import ExchangeHere, ServicesHere, json_answer
from thermocline.interfaces.http.gate import require_overview
from thermocline.interfaces.http.processes.siblings import Siblings

router = APIRouter(tags=["statistics"])


@router.get("/v1/stats/work", summary="Background work: last run, next run, backlog")
async def work_statistics(exchange: ExchangeHere, services: ServicesHere) -> JSONResponse:
    """Return when each job ran in any process of this catalog, what waits, and what this process does beside requests.

    `here` in a job is what this process did; processes note their runs at least twice a minute. Sweeps, tracking,
    `prediction` and `background` are of this process. Needs `read` without a prefix, or `admin`.
    """
    require_overview(exchange)
    return json_answer(exchange, await statistics.work_statistics(services))


@router.get("/v1/stats/storage", summary="What is stored, by tier")
async def storage_statistics(exchange: ExchangeHere, services: ServicesHere) -> JSONResponse:
    """Return count, bytes and cost of storage (US dollars a month) of the live content of each tier.

    Needs `read` without a prefix, or `admin`.
    """
    require_overview(exchange)
    return json_answer(exchange, await statistics.storage_statistics(services))


@router.get("/v1/stats/cache", summary="The cache, by type and level")
async def cache_statistics(request: Request, exchange: ExchangeHere, services: ServicesHere) -> JSONResponse:
    """Return hits, misses, sets and sizes of each cache type, and of each level of it.

    With a shared cache, counts are of all processes of the installation, a few seconds late; else of this service's.
    What memory holds is of this service's processes. The shared level's size is of what it took in.
    Needs `read` without a prefix, or `admin`.
    """
    require_overview(exchange)
    siblings: Siblings = request.app.state.siblings
    others, _ = await siblings.gather()
    parts = [statistics.cache_statistics(services), *(report.cache for report in others)]
    return json_answer(exchange, await services.statistics.read(statistics.sum_cache_statistics(parts)))
