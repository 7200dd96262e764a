"""What operators' machines ask: is it alive, is it ready, what does it measure?"""

import asyncio

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from thermocline.domain.errors import StorageError
from thermocline.interfaces.http.control.calls import ExchangeHere, ServicesHere, json_answer
from thermocline.interfaces.http.counters import HttpCounters
from thermocline.interfaces.http.gate import require_overview
from thermocline.interfaces.http.metrics import METRICS_TYPE, render_metrics
from thermocline.interfaces.http.processes.siblings import Siblings
from thermocline.ports.cache import SharedLevel
from thermocline.ports.object_store import ObjectStore
from thermocline.wiring.services import Services

router = APIRouter(tags=["operation"])
log = structlog.get_logger(__name__)

PROBE_SECONDS = 5.0
PROBE_TOKEN = "readiness-probe"  # noqa: S105 - the last part of an object key that nobody ever stores
_NOT_READY = 503


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", summary="Is the process alive?")
async def liveness(exchange: ExchangeHere) -> JSONResponse:
    """Answer 200 as long as the process serves requests, whatever its dependencies do."""
    return json_answer(exchange, {"status": "ok"})


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", summary="Can it do its work? Per dependency")
async def readiness(exchange: ExchangeHere, services: ServicesHere) -> JSONResponse:
    """Answer 200 if the catalog and every object store answer, else 503; `checks` tells which do.

    A shared cache is told of too, but nothing waits for it: without it everything goes on.
    """
    probes = {"catalog": _catalog_answers(services)}
    for name, store in services.adapters.stores.items():
        probes[f"objects.{name}"] = _store_answers(name, store, services.placements.installation)
    if services.adapters.shared is not None:
        probes["cache"] = _cache_answers(services.adapters.shared)
    results = dict(zip(probes, await asyncio.gather(*probes.values()), strict=True))
    ready = all(answers for name, answers in results.items() if name != "cache")
    checks = {name: "ok" if answers else "unavailable" for name, answers in results.items()}
    return json_answer(
        exchange, {"status": "ready" if ready else "unready", "checks": checks}, 200 if ready else _NOT_READY
    )


@router.get("/metrics", summary="Metrics in Prometheus' text format", response_class=Response)
async def metrics(request: Request, exchange: ExchangeHere, services: ServicesHere) -> Response:
    """Return the metrics of this service, all its processes together.

    Needs `read` without a prefix, or `admin`, once tokens exist.
    """
    require_overview(exchange)
    counters: HttpCounters = request.app.state.counters
    siblings: Siblings = request.app.state.siblings
    return Response(
        await render_metrics(services, counters, siblings),
        headers={"content-type": METRICS_TYPE, "cache-control": "no-store"},
    )


async def _catalog_answers(services: Services) -> bool:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await services.adapters.catalog.check()
    except (StorageError, TimeoutError) as exc:
        log.warning("not_ready", dependency="catalog", error=type(exc).__name__, message=str(exc))
        return False
    return True


async def _cache_answers(shared: SharedLevel) -> bool:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await shared.version_of(PROBE_TOKEN)
    except (StorageError, TimeoutError):
        return False
    return True


async def _store_answers(name: str, store: ObjectStore, installation: str) -> bool:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await store.head(f"{installation}/{PROBE_TOKEN}")
    except (StorageError, TimeoutError) as exc:
        log.warning("not_ready", dependency=f"objects.{name}", error=type(exc).__name__, message=str(exc))
        return False
    return True
