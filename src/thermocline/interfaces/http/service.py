"""Running the whole service: the store, its background work, and the server, until a signal asks it to stop."""

import asyncio
import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import cast

from uvicorn._types import ASGI3Application

from thermocline.domain.errors import ConfigurationError
from thermocline.domain.hosts import is_loopback
from thermocline.interfaces.http.app import ServiceRoutes, ThermoclineApp
from thermocline.interfaces.http.counters import HttpCounters
from thermocline.interfaces.http.holding import OpenStore
from thermocline.interfaces.http.hot import HotContentReads
from thermocline.interfaces.http.metrics import process_report
from thermocline.interfaces.http.processes.siblings import SupervisedSiblings
from thermocline.interfaces.http.wire.hot_reads import SLOW_HEADERS
from thermocline.interfaces.http.wire.limits import WireLimits
from thermocline.interfaces.http.wire.server import bind, serve
from thermocline.interfaces.http.wire.shared import Shared
from thermocline.orchestrator import StorageOrchestrator
from thermocline.wiring.sections import LimitsSettings
from thermocline.wiring.services import Services
from thermocline.wiring.settings import Settings

FILES_BESIDE_CONNECTIONS = 512
"""For the catalog, objects being read and written, and the process itself."""

# A browser tells by it that another site's page asks: only the slow way judges that.
_SLOW_HEADER = b"sec-fetch-site"


@dataclass(frozen=True, slots=True)
class SharedPlace:
    """Where one of several processes of a service stands: both sockets are its own to close."""

    listener: socket.socket
    supervisor: socket.socket
    size: int
    """How many processes there are."""


async def serve_store(
    settings: Settings,
    *,
    work: bool = True,
    place: SharedPlace | None = None,
    on_started: Callable[[str], None] | None = None,
) -> signal.Signals | None:
    """Serve the store that `settings` name until SIGTERM or SIGINT, then drain; return the signal that asked for it.

    Without `work` another process must do the background work. `on_started` is called with the service's URL once it
    accepts connections. With `place` it is one process of several, and also drains when their supervisor is gone.
    Raises `ConfigurationError` if it cannot start like this: the address is not to be had, or is not a loopback one
    while no access token exists.
    """
    _allow_connections(settings.limits.max_connections)
    with listen(settings) if place is None else place.listener as listener:
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(StorageOrchestrator.open(settings, work=work))
            is_open = await store.services.authorizing.is_open()
            _check_reach(settings, listener, is_open=is_open)
            counters = HttpCounters()
            siblings = None
            if place is not None:
                siblings = await stack.enter_async_context(_among_others(place, store.services, counters))
            app = ThermoclineApp(settings, _already_open(store), siblings, counters)
            routes = ServiceRoutes(store, settings, counters)

            def started(shared: Shared) -> None:
                counters.wire_refusals = shared.refused
                address = url_of(listener)
                if siblings is not None:
                    siblings.tell_started(address)
                if on_started is not None:
                    on_started(address)

            return await serve(
                cast("ASGI3Application", app),
                sockets=[listener],
                hot_reads=HotContentReads(routes, counters),
                # Once a token exists, there is always one.
                slow_headers=SLOW_HEADERS | {_SLOW_HEADER} if is_open else SLOW_HEADERS,
                limits=wire_limits(settings.limits),
                graceful_timeout_seconds=round(settings.limits.drain_time),
                remember_header_blocks=settings.http.memorise_requests,
                on_started=started,
            )


def listen(settings: Settings) -> socket.socket:
    """Return the service's listening socket. Raises `ConfigurationError` if the address is not to be had."""
    http = settings.http
    try:
        return bind(http.host, http.port)
    except OSError as exc:
        raise ConfigurationError(
            f"cannot listen on {http.host} port {http.port}: {exc.strerror or exc}; choose another with [http] host "
            "and port, or end what listens there"
        ) from exc


def url_of(listener: socket.socket) -> str:
    """Return the URL of what listens there."""
    address, port = listener.getsockname()[:2]
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def _check_reach(settings: Settings, listener: socket.socket, *, is_open: bool) -> None:
    if is_open and not is_loopback(listener.getsockname()[0]):
        raise ConfigurationError(
            f"{settings.http.host} can be reached from other machines, and no access token exists: anybody could read "
            "and delete everything. Create one with 'thermocline token create --scope read,write', or listen "
            "on 127.0.0.1"
        )


@asynccontextmanager
async def _among_others(
    place: SharedPlace, services: Services, counters: HttpCounters
) -> AsyncIterator[SupervisedSiblings]:
    """Be one of several processes for the length of the block."""
    siblings = await SupervisedSiblings.join(
        place.supervisor,
        place.size,
        report=lambda: process_report(services, counters),
        on_orphaned=lambda: signal.raise_signal(signal.SIGTERM),
    )
    listening = asyncio.get_running_loop().create_task(siblings.listen())
    try:
        yield siblings
    finally:
        listening.cancel()
        await asyncio.wait([listening])
        await siblings.leave()


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
