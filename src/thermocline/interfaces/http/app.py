"""The service as an ASGI application: content routes on plain ASGI, control routes on FastAPI.

Runs by itself or mounted under any prefix of a host application. `create_app` makes it, `get_store` gives the
host's own routes the store.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from thermocline.domain.content_id import ContentId, parse_content_id
from thermocline.domain.errors import ConfigurationError, ContentNotFoundError, IntegrityError, StorageError
from thermocline.interfaces.http.control.application import create_control
from thermocline.interfaces.http.cors import CorsRules
from thermocline.interfaces.http.counters import HttpCounters
from thermocline.interfaces.http.error_table import problem_of
from thermocline.interfaces.http.exchange import SCOPE_KEY, AnswerCutError, Exchange
from thermocline.interfaces.http.gate import Gate
from thermocline.interfaces.http.holding import OpenStore, StoreHolder
from thermocline.interfaces.http.problems import INTERNAL, NO_ROUTE, ProblemError, method_not_allowed
from thermocline.interfaces.http.processes.siblings import NoSiblings, Siblings
from thermocline.interfaces.http.read_route import ReadRoute
from thermocline.interfaces.http.targets import path_below_root
from thermocline.interfaces.http.write_route import WriteRoute
from thermocline.orchestrator import StorageOrchestrator
from thermocline.wiring.settings import Settings

log = structlog.get_logger(__name__)

APP_KEY = "thermocline.app"
_CONTENT = b"/v1/content/"
_REVISION = b"/i/"
_OF_ONE_CONTENT = (b"/v1/info/", b"/v1/tier/", b"/v1/restore/")
_CONTENT_METHODS = "GET, HEAD, PUT, DELETE, OPTIONS"
_READ_METHODS = "GET, HEAD, OPTIONS"
_LIVENESS = b"/healthz"
_LONGEST_REVISION = 19


class ServiceRoutes:
    """What answers requests on one open store."""

    def __init__(self, store: StorageOrchestrator, settings: Settings, counters: HttpCounters) -> None:
        self.store = store
        self.cors = CorsRules(settings.http.cors_origins)
        self.gate = Gate(store.services.authorizing, settings.http, self.cors)
        self.reads = ReadRoute(store.services, counters)
        self.writes = WriteRoute(store.services)


class ThermoclineApp:
    """An ASGI application. Every request gets exactly one answer; what fails is a problem document.

    The store opens with the lifespan, or with the first request if the host does not run ours.
    """

    def __init__(
        self,
        settings: Settings,
        open_store: OpenStore,
        siblings: Siblings | None = None,
        counters: HttpCounters | None = None,
    ) -> None:
        self.settings = settings
        self.counters = counters or HttpCounters()
        self._holder = StoreHolder(open_store)
        self._routes: ServiceRoutes | None = None
        self._control = create_control(self.counters, siblings or NoSiblings())

    async def store(self) -> StorageOrchestrator:
        """Return the open store, opening it if need be. Raises what opening it raises."""
        return await self._holder.get()

    @asynccontextmanager
    async def lifespan(self, host: Any = None) -> AsyncIterator[None]:
        """Keep the store open inside the block; fit for a host's `lifespan`, or to be used inside of one."""
        await self._holder.get()
        if host is not None and hasattr(host, "state"):
            host.state.thermocline_app = self
        try:
            yield
        finally:
            await self._holder.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection."""
        if scope["type"] == "http":
            exchange = Exchange(scope, receive, send)
            # Whatever is logged for this request, wherever, says so.
            with structlog.contextvars.bound_contextvars(request_id=exchange.head.request_id):
                await self._answer(exchange)
        elif scope["type"] == "lifespan":
            await self._run_lifespan(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _run_lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        phase = "startup"
        try:
            async with self.lifespan():
                await send({"type": "lifespan.startup.complete"})
                phase = "shutdown"
                await receive()
        except BaseException as exc:
            await send({"type": f"lifespan.{phase}.failed", "message": str(exc)})
            raise
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, exchange: Exchange) -> None:
        try:
            try:
                await self._dispatch(exchange)
            except ProblemError as exc:
                _check_not_begun(exchange, exc)
                await exchange.answer_problem(exc.problem)
            except StorageError as exc:
                await self._answer_error(exchange, exc)
            except AnswerCutError as exc:
                log.warning("answer_cut", request_id=exchange.head.request_id, reason=str(exc))
                raise
            except Exception as exc:
                if exchange.complete:
                    return  # the control routes answered and logged it, and Starlette raised it again
                log.exception("request_failed", request_id=exchange.head.request_id)
                _check_not_begun(exchange, exc)
                await exchange.answer_problem(INTERNAL)
        except AnswerCutError:
            self.counters.cut_answers += 1
            raise
        finally:
            if exchange.status is not None:
                self.counters.requests[exchange.route, exchange.status].count += 1

    async def _answer_error(self, exchange: Exchange, exc: StorageError) -> None:
        problem = problem_of(exc, now=self._now())
        if problem.status >= INTERNAL.status:
            log.warning(
                "request_refused",
                request_id=exchange.head.request_id,
                error=type(exc).__name__,
                message=str(exc),
                damage=isinstance(exc, IntegrityError),
            )
        _check_not_begun(exchange, exc)
        await exchange.answer_problem(problem)

    def _now(self) -> Any:
        store = self._holder.current()
        return store.services.adapters.clock.now() if store is not None else 0

    async def _dispatch(self, exchange: Exchange) -> None:
        path = path_below_root(exchange.scope)
        if path == _LIVENESS and self._holder.current() is None:
            # Alive, even if the store does not open: restarting would not help; /readyz tells.
            await self._to_control(exchange, path.decode(), None)
            return
        routes = await self._open_routes()
        await routes.gate.admit(exchange)
        if path.startswith(_CONTENT):
            exchange.route = "content"
            await self._content(routes, exchange, path[len(_CONTENT) :])
        elif path.startswith(_REVISION):
            exchange.route = "revision"
            await self._revision(routes, exchange, path[len(_REVISION) :])
        else:
            for prefix in _OF_ONE_CONTENT:
                if path.startswith(prefix):
                    parse_content_id(path[len(prefix) :])
            try:
                text = path.decode()
            except UnicodeDecodeError as exc:
                raise ProblemError(NO_ROUTE) from exc
            await self._to_control(exchange, text, routes.store)

    async def _open_routes(self) -> ServiceRoutes:
        store = await self._holder.get()
        if self._routes is None or self._routes.store is not store:
            self._routes = ServiceRoutes(store, self.settings, self.counters)
        return self._routes

    async def _content(self, routes: ServiceRoutes, exchange: Exchange, raw_id: bytes) -> None:
        exchange.extra_fields = routes.cors.fields(exchange.head.get(b"origin"))
        method = exchange.head.method
        if method in {"GET", "HEAD"}:
            await routes.reads.answer(exchange, parse_content_id(raw_id))
        elif method == "PUT":
            await routes.writes.put(exchange, parse_content_id(raw_id))
        elif method == "DELETE":
            await routes.writes.delete(exchange, parse_content_id(raw_id))
        elif method == "OPTIONS":
            await _answer_options(routes, exchange, _CONTENT_METHODS)
        else:
            raise ProblemError(method_not_allowed(_CONTENT_METHODS))

    async def _revision(self, routes: ServiceRoutes, exchange: Exchange, rest: bytes) -> None:
        exchange.extra_fields = routes.cors.fields(exchange.head.get(b"origin"))
        method = exchange.head.method
        if method == "OPTIONS":
            await _answer_options(routes, exchange, _READ_METHODS)
            return
        if method not in {"GET", "HEAD"}:
            raise ProblemError(method_not_allowed(_READ_METHODS))
        digits, separator, raw_id = rest.partition(b"/")
        if not separator:
            raise ProblemError(NO_ROUTE)
        content_id: ContentId = parse_content_id(raw_id)
        # One way to write each revision, so that a CDN keeps one copy.
        if not digits.isdigit() or digits[:1] == b"0" or len(digits) > _LONGEST_REVISION:
            raise ContentNotFoundError(content_id)
        await routes.reads.answer(exchange, content_id, int(digits))

    async def _to_control(self, exchange: Exchange, path: str, store: StorageOrchestrator | None) -> None:
        scope = dict(exchange.scope)
        scope.update({"path": exchange.root + path, "root_path": exchange.root, SCOPE_KEY: exchange, APP_KEY: self})
        if store is not None:
            scope["thermocline.store"] = store
        try:
            await self._control(scope, exchange.receive, exchange.send)
        finally:
            exchange.route = getattr(scope.get("route"), "path", exchange.route)


async def get_store(connection: HTTPConnection) -> StorageOrchestrator:
    """Return the store of the Thermocline application that this application mounts; for FastAPI's `Depends`.

    Raises `ConfigurationError` if none is mounted.
    """
    app = connection.scope.get(APP_KEY)
    if not isinstance(app, ThermoclineApp):
        host = connection.scope.get("app")
        app = getattr(getattr(host, "state", None), "thermocline_app", None) or _find_mounted(host)
    if not isinstance(app, ThermoclineApp):
        raise ConfigurationError("no Thermocline application is mounted here; mount what create_app() returns")
    return await app.store()


def _find_mounted(host: Any) -> ThermoclineApp | None:
    for route in getattr(host, "routes", ()):
        app = getattr(route, "app", None)
        found = app if isinstance(app, ThermoclineApp) else _find_mounted(route)
        if found is not None:
            return found
    return None


async def _answer_options(routes: ServiceRoutes, exchange: Exchange, allow: str) -> None:
    exchange.extra_fields = []
    fields = routes.cors.preflight(exchange.head.get(b"origin"))
    await exchange.answer(204, [(b"allow", allow.encode()), *fields])


def _check_not_begun(exchange: Exchange, cause: Exception) -> None:
    if exchange.status is not None:
        raise AnswerCutError("the answer had begun when it failed") from cause


def create_app(
    settings: Settings | None = None, *, work: bool = True, open_store: OpenStore | None = None
) -> ThermoclineApp:
    """Return the service as an ASGI application, to be run or mounted.

    `work` also runs the background work, without which deletions and expiries are not carried out; switch it off
    where another process of the same catalog does it. `open_store` replaces how the store is opened.
    """
    chosen = settings or Settings.load()
    return ThermoclineApp(chosen, open_store or (lambda: StorageOrchestrator.open(chosen, work=work)))
