"""From settings to running services, closed in reverse order whatever happens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from thermocline.adapters.cache.memory import MemoryCache
from thermocline.adapters.catalog.locations import is_postgres, sqlite_path
from thermocline.adapters.catalog.sql import SqlCatalog
from thermocline.adapters.clock import SystemClock
from thermocline.adapters.entropy import SystemEntropy
from thermocline.adapters.files.local_trees import LocalTrees
from thermocline.domain.units import Seconds
from thermocline.wiring.logs import hand_logs_over
from thermocline.wiring.predicting import predictor_factory
from thermocline.wiring.services import Adapters, Services, assemble
from thermocline.wiring.settings import Settings
from thermocline.wiring.sharing_cache import open_shared_cache
from thermocline.wiring.stores import open_store

LAST_FLUSH_WAIT = Seconds(5.0)
HASTY_FLUSH_WAIT = Seconds(0.25)
"""A command that only read must not wait for a busy catalog: then its reads are not counted."""


@asynccontextmanager
async def open_services(settings: Settings, *, work: bool = False) -> AsyncIterator[Services]:
    """Open everything that `settings` name, for the length of the block; `work` also runs the background work.

    Raises `ConfigurationError` if it cannot start like this.
    """
    hand_logs_over()
    async with AsyncExitStack() as stack:
        adapters = await _open_adapters(settings, stack)
        async with running(await assemble(settings, adapters), work=work) as services:
            yield services


@asynccontextmanager
async def running(services: Services, *, work: bool) -> AsyncIterator[Services]:
    """Run what goes on beside the requests for the length of the block: the worker only if asked."""
    await services.authorizing.refresh()
    await services.listener.poll()
    loop = asyncio.get_running_loop()
    beside = [services.listener.run(), services.tracking.run(), services.statistics.run()]
    if services.learning is not None:
        beside.append(services.learning.run())
    always = [loop.create_task(work) for work in beside]
    if work:
        services.worker.start()
    try:
        yield services
    finally:
        for task in always:
            task.cancel()
        for task in always:
            with suppress(asyncio.CancelledError):
                await task
        await services.worker.stop()
        await services.background.close()
        await services.keeper.close()
        await services.statistics.flush()
        if services.learning is not None:
            await services.learning.close(max_wait=LAST_FLUSH_WAIT if work else HASTY_FLUSH_WAIT)
        await services.tracking.close(max_wait=LAST_FLUSH_WAIT if work else HASTY_FLUSH_WAIT)


async def _open_adapters(settings: Settings, stack: AsyncExitStack) -> Adapters:
    clock = SystemClock()
    catalog = await SqlCatalog.open(
        settings.catalog_url(),
        busy_timeout=settings.catalog.busy_timeout,
        connections=settings.catalog.connections,
    )
    stack.push_async_callback(catalog.aclose)
    stores = {}
    for name in settings.objects:
        stores[name] = await open_store(settings, name, stack)
    cache = settings.cache
    shared = await open_shared_cache(cache, clock, stack, installation=await catalog.installation())
    return Adapters(
        catalog=catalog,
        stores=stores,
        memory=MemoryCache(clock, capacity=cache.memory, max_age=cache.l1_max_age if cache.is_shared else None),
        shared=shared.level,
        shared_counts=shared.counts,
        clock=clock,
        entropy=SystemEntropy(),
        predictor=predictor_factory(settings.prediction),
        trees=_trees(settings),
    )


def _trees(settings: Settings) -> LocalTrees:
    """Return what opens folders for imports and exports, and knows which are our own."""
    own = [settings.objects_path(name) for name in settings.local_objects()]
    if not is_postgres(settings.catalog_url()):
        catalog = sqlite_path(settings.catalog_url())
        own += [catalog.with_name(catalog.name + end) for end in ("", "-wal", "-shm")]
    return LocalTrees(
        own=tuple(own),
        around=(settings.data,),
    )
