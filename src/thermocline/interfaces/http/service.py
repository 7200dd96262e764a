"""Running the whole service: the store, its background work, and the server, until a signal asks it to stop."""

import resource
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

from uvicorn._types import ASGI3Application

from thermocline.domain.errors import ConfigurationError
from thermocline.domain.hosts import is_loopback
from thermocline.interfaces.http.app import ServiceRoutes, ThermoclineApp
from thermocline.interfaces.http.holding import OpenStore
from thermocline.interfaces.http.hot import HotContentReads
from thermocline.interfaces.http.wire.hot_reads import SLOW_HEADERS
from thermocline.interfaces.http.wire.limits import WireLimits
from thermocline.interfaces.http.wire.server import bind, serve
from thermocline.interfaces.http.wire.shared import Shared
from thermocline.orchestrator import StorageOrchestrator
from thermocline.wiring.sections import LimitsSettings
from thermocline.wiring.settings import Settings

FILES_BESIDE_CONNECTIONS = 512
"""For the catalog, objects being read and written, and the process itself."""

# A browser tells by it that another site's page asks: only the slow way judges that.
_SLOW_HEADER = b"sec-fetch-site"


async def serve_store(
    settings: Settings,
    *,
    work: bool = True,
    share_port: bool = False,
    on_started: Callable[[str], None] | None = None,
) -> signal.Signals | None:
    """Serve the store that `settings` name until SIGTERM or SIGINT, then drain; return the signal that asked for it.

    Without `work` another process must do the background work. `on_started` is called with the service's URL once it
    accepts connections. `share_port` lets several processes of one store listen on the same port. Raises
    `ConfigurationError` if it cannot start like this: the address is not to be had, or is not a loopback one while no
    access token exists.
    """
    http = settings.http
    _allow_connections(settings.limits.max_connections)
    try:
        listener = bind(http.host, http.port, share_port=share_port)
    except OSError as exc:
        raise ConfigurationError(
            f"cannot listen on {http.host} port {http.port}: {exc.strerror or exc}; choose another with [http] host "
            "and port, or end what listens there"
        ) from exc
    with listener:
        address, port = listener.getsockname()[:2]
        async with StorageOrchestrator.open(settings, work=work) as store:
            is_open = await store.services.authorizing.is_open()
            if is_open and not is_loopback(address):
                raise ConfigurationError(
                    f"{http.host} can be reached from other machines, and no access token exists: anybody could read "
                    "and delete everything. Create one with 'thermocline token create --scope read,write', or listen "
                    "on 127.0.0.1"
                )
            app = ThermoclineApp(settings, _already_open(store))
            routes = ServiceRoutes(store, settings, app.counters)

            def started(shared: Shared) -> None:
                app.counters.wire_refusals = shared.refused
                if on_started is not None:
                    on_started(f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}")

            return await serve(
                cast("ASGI3Application", app),
                sockets=[listener],
                hot_reads=HotContentReads(routes, app.counters),
                # Once a token exists, there is always one.
                slow_headers=SLOW_HEADERS | {_SLOW_HEADER} if is_open else SLOW_HEADERS,
                limits=wire_limits(settings.limits),
                graceful_timeout_seconds=round(settings.limits.drain_time),
                remember_header_blocks=http.memorise_requests,
                on_started=started,
            )


def wire_limits(limits: LimitsSettings) -> WireLimits:
    """Return the wire's limits as the settings say."""
    return WireLimits(
        header_arrival_seconds=limits.header_time,
        keep_alive_idle_seconds=limits.keep_alive,
        body_stall_seconds=limits.stall_time,
        send_stall_seconds=limits.stall_time,
        connections=limits.max_connections,
    )


def _allow_connections(connections: int) -> None:
    """Let this process open a file for each connection, as far as it is allowed to: many systems begin at 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + FILES_BESIDE_CONNECTIONS
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _already_open(store: StorageOrchestrator) -> OpenStore:
    @asynccontextmanager
    async def lend() -> AsyncIterator[StorageOrchestrator]:
        yield store

    return lend
