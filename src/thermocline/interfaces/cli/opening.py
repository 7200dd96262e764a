"""Opening the store for one command, and leaving it tidy."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from thermocline.interfaces.cli.options import Invocation

if TYPE_CHECKING:
    from thermocline.orchestrator import StorageOrchestrator
    from thermocline.wiring.settings import Settings

TIDYING_SECONDS = 1.0


@asynccontextmanager
async def open_store(call: Invocation) -> "AsyncIterator[StorageOrchestrator]":
    """Open the store for the length of the block. Raises `ConfigurationError`."""
    from thermocline.orchestrator import StorageOrchestrator

    settings = call.settings()
    quieten_logs(settings)
    async with StorageOrchestrator.open(settings) as store:
        yield store


def quieten_logs(settings: "Settings") -> None:
    """Log nothing unless [log] level was set: a command tells its errors itself, in one line."""
    from thermocline.wiring.logs import configure_logs, silence_logs

    if "level" in settings.log.model_fields_set:
        configure_logs(settings.log)
    else:
        silence_logs()


async def tidy(store: "StorageOrchestrator") -> None:
    """Do a little of the work that is due, for installations where no service runs; losing it anywhere is safe."""
    from thermocline.domain.errors import StorageError
    from thermocline.domain.work import OutboxKind

    services = store.services
    with suppress(StorageError, TimeoutError):
        async with asyncio.timeout(TIDYING_SECONDS):
            await services.expiry.run()
            await services.cleaner.run()
            await services.outbox.deliver(OutboxKind.DELETE_OBJECT)
