"""A machine with contents and orphans, and workers that sweep it."""

import contextlib
from pathlib import Path

from tests.machine import Machine
from thermocline import Settings
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import StorageError
from thermocline.domain.keys import ObjectKey, new_token
from thermocline.domain.units import Seconds
from thermocline.testing.faults import Faults, ProcessDied

GRACE = Seconds(3 * 3600.0)
LEASE_OVER = Seconds(61.0)
CONTENTS = ("c0", "c1", "c2", "c3", "c4", "c5")
ORPHANS = ("a", "c0", "c2/x", "c2/y", "c2/z", "zz")
"""Before the first content, under one, in the middle, behind the last: of four shares of two contents, one has none."""


def settings(**limits: object) -> Settings:
    return Settings.model_validate(
        {
            "limits": {"sweep_share_size": 2, **limits},
            "placements": {"standard": {"objects": "main"}},
            "tiers": {"archive": {"placement": "standard"}},
        }
    )


class World:
    """A machine with contents and orphans, all of them old."""

    def __init__(self, folder: Path, **limits: object) -> None:
        folder.mkdir(exist_ok=True)
        self.machine = Machine(folder, settings=settings(**limits))
        self.orphans: set[str] = set()

    async def fill(self, contents: tuple[str, ...] = CONTENTS, orphans: tuple[str, ...] = ORPHANS) -> None:
        async with self.machine.process() as store:
            for name in contents:
                await store.store_content(name, b"live")
            await store.services.background.drain()
            for number, name in enumerate(orphans):
                token = new_token(self.machine.clock.now(), self.machine.random.randbytes(10))
                key = str(ObjectKey(store.services.placements.installation, "standard", ContentId(name), token))
                if number % 3 == 2:
                    await self.machine.objects.begin_upload(key, {})
                else:
                    await self.machine.objects.put(key, b"orphan", {})
                self.orphans.add(key)
        self.machine.clock.advance(GRACE)

    async def quarantined(self) -> set[str]:
        return {str(key) for (key,) in await self.machine.query("SELECT object_key FROM quarantine")}

    async def go_on(self) -> None:
        """Let another worker come when every lease is over, until nothing is under way."""
        for _ in range(2):
            self.machine.clock.advance(LEASE_OVER)
            async with self.machine.process() as store:
                await store.services.sweep.run(wait=False)

    async def end(self) -> None:
        """Nothing but orphans was quarantined, and all of them; what is left after the grace is what is named."""
        assert await self.quarantined() == self.orphans
        self.machine.clock.advance(GRACE)
        async with self.machine.process() as store:
            await store.services.sweep.empty_quarantine()
        await self.machine.recover()
        stored, named, rows, intents = await self.machine.remains()
        assert stored == named
        assert (rows, intents) == (0, 0)

    def pages(self, faults: Faults) -> int:
        return sum(point.startswith("objects.list_range.next") for point in faults.points)


async def sweep(world: World, faults: Faults) -> None:
    async with world.machine.process(faults) as store:
        faults.start()
        with contextlib.suppress(ProcessDied, StorageError):
            await store.services.sweep.run(wait=False)
