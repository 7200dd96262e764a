"""The whole story on a real folder: back up, go on, lose the catalog, restore, repair, confirm; and from nothing."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.crash.recovering import adopt_all
from thermocline import Settings, StorageOrchestrator
from thermocline.adapters.clock import SystemClock
from thermocline.domain.adoption import Fate
from thermocline.domain.errors import ContentNotFoundError, InstallationMismatchError, StorageError
from thermocline.domain.work import OutboxKind
from thermocline.services.checking import Damage
from thermocline.wiring.backing_up import back_up_catalog, begin_anew, restore_catalog

pytestmark = pytest.mark.thorough

LARGE = os.urandom(9 * 2**20)
HOUR = 3600 * 10**6


def quiet(*_: int) -> None:
    """Show no progress."""


def objects_in(settings: Settings) -> set[Path]:
    root = settings.objects_path("main")
    return {path for path in root.rglob("*") if path.is_file() and path.name != ".installation"}


async def shown(store: StorageOrchestrator, content_id: str) -> bytes | None:
    try:
        async with store.open_content(content_id) as content:
            return b"".join([bytes(piece) async for piece in content])
    except ContentNotFoundError:
        return None


async def run_all_jobs(store: StorageOrchestrator) -> None:
    for job in store.services.worker.jobs:
        while await job.run():
            pass


def let_hours_pass(patch: pytest.MonkeyPatch, settings: Settings, hours: int) -> None:
    """Make the clock go on, and every object older, by the store's time too."""
    real = SystemClock.now
    patch.setattr(SystemClock, "now", lambda clock: real(clock) + hours * HOUR)
    for path in objects_in(settings):
        status = path.stat()
        os.utime(path, (status.st_atime - hours * 3600, status.st_mtime - hours * 3600))


def test_back_up_go_on_lose_restore_repair_confirm(tmp_path: Path) -> None:
    asyncio.run(_story(Settings(data=tmp_path / "data")))


async def _story(settings: Settings) -> None:
    before = {f"kept/{number:02}": f"kept {number}".encode() * number for number in range(20)}
    before |= {"large": LARGE, "over": b"over, before", "changed": b"changed"}
    after = {"over": b"over, after", "large": LARGE[::-1], "new/1": b"new", "new/2": LARGE[:5_000_000]}
    async with StorageOrchestrator.open(settings) as store:
        for name, body in {**before, "deleted": b"deleted", "gone": b"gone before"}.items():
            await store.store_content(name, body, metadata={"of": name}, initial_tier="warm")
        await store.delete_content("gone")
        reached, go_on = asyncio.Event(), asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield LARGE[:5_000_000]
            reached.set()  # the first part is on its way, its intent declared
            await go_on.wait()
            yield b"the end"

        in_flight = asyncio.ensure_future(store.store_content("in flight", slowly()))
        await reached.wait()
        assert await store.services.adapters.catalog.intents.count() == 1
        backup = await back_up_catalog(settings, None, replace=False, note=quiet)
        assert backup.made.contents == len(before) + 1
        go_on.set()
        await in_flight
        for name, body in after.items():
            await store.store_content(name, body, content_type="text/plain")
        await store.delete_content("deleted")
        await store.update_metadata("changed", {"since": "the backup"})
        # Since the backup an overwritten object has gone too: its grace was over.
        gone = await store.stat("kept/07")
        await store.store_content("kept/07", b"another")
        assert not await store.services.adapters.stores["main"].delete([gone.object_key])
    after |= {"kept/07": b"another", "in flight": LARGE[:5_000_000] + b"the end"}
    objects = objects_in(settings)

    for path in settings.data.glob("catalog.db*"):
        path.unlink()
    done = await restore_catalog(settings, backup.made.path, note=quiet)
    assert (done.aside, done.contents) == (None, len(before) + 1)
    with pytest.MonkeyPatch.context() as patch:
        let_hours_pass(patch, settings, 30 * 24)  # past every grace
        async with StorageOrchestrator.open(settings) as store:
            await run_all_jobs(store)
            # Not one byte of what was acknowledged before is lost; what came after is partly unknown yet.
            for name, body in before.items():
                if name != "kept/07":
                    assert await shown(store, name) == body
            with pytest.raises(StorageError):
                await shown(store, "kept/07")
            outcomes = {one.content_id: one.fate for one in await adopt_all(store)}
            assert outcomes == dict.fromkeys(after, Fate.ADOPTED)
            for name, body in {**before, **after}.items():
                assert await shown(store, name) == body
            assert (await store.stat("changed")).metadata == {"of": "changed"}  # as the backup knows it
            assert await shown(store, "deleted") == b"deleted"  # what was deleted since is back
            assert await shown(store, "gone") is None
            await run_all_jobs(store)
            assert objects_in(settings) == objects, "nothing was deleted"

            await store.services.sweep.run(confirmed=True)
            let_hours_pass(patch, settings, 3)
            await run_all_jobs(store)
            await store.services.outbox.deliver(OutboxKind.DELETE_OBJECT)
            for name, body in {**before, **after}.items():
                assert await shown(store, name) == body
            assert [finding async for finding in store.check()] == []
            records = [record async for record in store.list_content()]
            assert len(objects_in(settings)) == len(records)


def test_everything_comes_back_from_the_folder_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        settings = Settings(data=tmp_path / "data")
        bodies = {f"c/{number}": os.urandom(number * 1000) for number in range(25)} | {"large": LARGE, "empty": b""}
        async with StorageOrchestrator.open(settings) as store:
            for name in bodies:
                await store.store_content(name, b"before")
            for name, body in bodies.items():
                await store.store_content(name, body, content_type="image/png", initial_tier="cold")
        for path in settings.data.glob("catalog.db*"):
            path.unlink()
        # A start without the catalog fails, says what to do, and its empty catalog is in nobody's way.
        with pytest.raises(InstallationMismatchError, match=r"backup --restore FILE.*fsck --rebuild-catalog"):
            async with StorageOrchestrator.open(settings):
                pass
        assert (settings.data / "catalog.db").exists()
        await begin_anew(settings)
        async with StorageOrchestrator.open(settings) as store:
            assert {one.fate for one in await adopt_all(store)} == {Fate.ADOPTED}
            for name, body in bodies.items():
                assert await shown(store, name) == body
                record = await store.stat(name)
                assert (record.headers.content_type, record.tier.value) == ("image/png", "cold")
            await store.services.sweep.run(confirmed=True)
            assert {one.damage async for one in store.check()} == {Damage.ORPHAN}  # those that were replaced

    asyncio.run(scenario())


def test_two_installations_on_one_folder_refuse_to_start(tmp_path: Path) -> None:
    async def scenario() -> None:
        one = Settings(data=tmp_path / "one")
        other = Settings.model_validate(
            {"data": str(tmp_path / "two"), "objects": {"main": {"path": str(one.objects_path("main"))}}}
        )
        async with StorageOrchestrator.open(one) as store:
            await store.store_content("a", b"a")
            before = objects_in(one)
            with pytest.raises(InstallationMismatchError):
                async with StorageOrchestrator.open(other):
                    pass
        assert objects_in(one) == before
        # Nor does the other's backup fit here.
        backup = await back_up_catalog(other, tmp_path / "two.db", replace=False, note=quiet)
        with pytest.raises(InstallationMismatchError, match="is of installation"):
            await restore_catalog(one, backup.made.path, note=quiet)
        async with StorageOrchestrator.open(one) as store:
            assert await store.retrieve_content("a") == b"a"

    asyncio.run(scenario())


def test_of_several_stores_none_is_claimed_if_one_is_anothers(tmp_path: Path) -> None:
    """A catalog without its stores must not take the one that is nobody's: the other's would be torn apart."""

    async def scenario() -> None:
        one = Settings(data=tmp_path / "one")
        async with StorageOrchestrator.open(one):
            pass
        stores = {"free": {"path": str(tmp_path / "free")}, "main": {"path": str(one.objects_path("main"))}}
        placements = {"other": {"objects": "free"}, "standard": {"objects": "main"}}
        other = Settings.model_validate({"data": str(tmp_path / "two"), "objects": stores, "placements": placements})
        with pytest.raises(InstallationMismatchError):
            async with StorageOrchestrator.open(other):
                pass
        assert not (tmp_path / "free" / ".installation").exists()

    asyncio.run(scenario())
