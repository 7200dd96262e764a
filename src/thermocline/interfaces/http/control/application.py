"""The FastAPI application of the control routes: every failure a problem document, nothing fetched from outside."""

from collections.abc import Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from thermocline.domain.errors import StorageError
from thermocline.interfaces.http.control import (
    documentation,
    invalidation,
    optimizing,
    predictions,
    probes,
    records,
    statistics,
    tiers,
    uploads,
)
from thermocline.interfaces.http.control.calls import current_services
from thermocline.interfaces.http.counters import HttpCounters
from thermocline.interfaces.http.error_table import problem_of
from thermocline.interfaces.http.exchange import exchange_in
from thermocline.interfaces.http.problems import (
    INTERNAL,
    NO_ROUTE,
    Problem,
    ProblemError,
    invalid_request,
    method_not_allowed,
)
from thermocline.interfaces.http.processes.siblings import Siblings

log = structlog.get_logger(__name__)
_NOT_FOUND, _NOT_ALLOWED = 404, 405
PARTS = (records, tiers, optimizing, uploads, invalidation, predictions, statistics, probes, documentation)


def create_control(counters: HttpCounters, siblings: Siblings) -> FastAPI:
    """Return the control routes; they run inside `ThermoclineApp` only, which puts exchange and store in the scope."""
    app = FastAPI(
        title="Thermocline",
        description="Tiered storage, cache and delivery for content platforms.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.counters = counters
    app.state.siblings = siblings
    for part in PARTS:
        app.include_router(part.router)
    app.add_exception_handler(ProblemError, _answer_problem)
    app.add_exception_handler(StorageError, _answer_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(Exception, _answer_crash)
    return app


async def _answer_problem(request: Request, exc: Exception) -> Response:
    return _render(request, exc.problem if isinstance(exc, ProblemError) else INTERNAL)


async def _answer_error(request: Request, exc: Exception) -> Response:
    if not isinstance(exc, StorageError):
        return _render(request, INTERNAL)
    problem = problem_of(exc, now=current_services(request).adapters.clock.now())
    if problem.status >= INTERNAL.status:
        log.warning(
            "request_refused",
            request_id=exchange_in(request.scope).head.request_id,
            error=type(exc).__name__,
            message=str(exc),
        )
    return _render(request, problem)


async def _answer_invalid(request: Request, exc: Exception) -> Response:
    errors: Sequence[Any] = exc.errors() if isinstance(exc, RequestValidationError) else ()
    details = [f"{'.'.join(str(part) for part in error['loc'][1:])}: {error['msg']}" for error in errors]
    return _render(request, invalid_request("; ".join(details) + "."))


async def _answer_http(request: Request, exc: Exception) -> Response:
    if isinstance(exc, HTTPException) and exc.status_code == _NOT_ALLOWED:
        return _render(request, method_not_allowed(_methods_at(request) or (exc.headers or {}).get("Allow", "")))
    if isinstance(exc, HTTPException) and exc.status_code != _NOT_FOUND:
        return _render(request, invalid_request(str(exc.detail)))
    return _render(request, NO_ROUTE)


async def _answer_crash(request: Request, exc: Exception) -> Response:
    log.error("request_failed", request_id=exchange_in(request.scope).head.request_id, exc_info=exc)
    return _render(request, INTERNAL)


def _methods_at(request: Request) -> str:
    """Return the methods of all routes at this path; a route alone knows only its own."""
    path = getattr(request.scope.get("route"), "path", None)
    methods = {
        method
        for part in PARTS
        for route in part.router.routes
        if getattr(route, "path", None) == path
        for method in getattr(route, "methods", ())
    }
    return ", ".join(sorted(methods))


def _render(request: Request, problem: Problem) -> Response:
    fields, body = problem.render(exchange_in(request.scope).head.request_id)
    response = Response(b"" if request.method == "HEAD" else body, problem.status)
    response.raw_headers = list(fields)
    return response
