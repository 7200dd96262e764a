"""Laws of `Sweeps`."""
# ruff: noqa: D102 - the name of a test states its law

import asyncio

from thermocline.domain.content_id import ContentId
from thermocline.domain.units import Timestamp
from thermocline.domain.work import OutboxKind, Quarantined
from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.steps import PLACEMENT, OpenCatalog, new_key, one_process, some_id

SOON = Timestamp(1000)


class SweepsContract(CatalogContract):
    """Laws of `Sweeps`."""

    async def test_only_what_nothing_names_is_quarantined(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            queued = (await steps.put(content_id)).record.object_key
            live = (await steps.put(content_id)).record.object_key
            intent, orphan, other = (new_key(content_id) for _ in range(3))
            await steps.declare(intent)
            asked = [queued, live, intent, orphan, other, orphan, "foreign", "foreign/a/b/c", ""]
            sweeps = steps.catalog.sweeps
            assert sorted(await sweeps.unnamed(asked)) == sorted([orphan, other])
            assert await sweeps.quarantine_unnamed([orphan, queued], placement=PLACEMENT, delete_at=SOON) == 1
            assert await sweeps.unnamed(asked) == [other]
            assert await sweeps.quarantine_unnamed(asked, placement=PLACEMENT, delete_at=SOON) == 1
            assert await sweeps.quarantine_unnamed(asked, placement=PLACEMENT, delete_at=SOON) == 0
            assert await sweeps.quarantine_unnamed([], placement=PLACEMENT, delete_at=SOON) == 0
            await steps.take_all(OutboxKind.DELETE_OBJECT)
            assert await sweeps.unnamed([queued]) == [queued]

    async def test_a_dead_letter_still_names_its_object(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            key = (await steps.put(content_id)).record.object_key
            await steps.delete(content_id)
            (row,) = await steps.take(OutboxKind.DELETE_OBJECT)
            await steps.catalog.outbox.fail([row], reason="why", due_at=None)
            assert await steps.catalog.sweeps.unnamed([key]) == []

    async def test_quarantined_objects_are_due_oldest_first_until_released(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            sweeps = steps.catalog.sweeps
            keys = [new_key(some_id()) for _ in range(3)]
            for delay, key in enumerate(keys):
                await sweeps.quarantine_unnamed([key], placement=PLACEMENT, delete_at=Timestamp(SOON - delay))
            assert await sweeps.due(now=Timestamp(SOON - 3), limit=10) == []
            assert await sweeps.due(now=Timestamp(SOON - 1), limit=10) == [
                Quarantined(keys[2], PLACEMENT),
                Quarantined(keys[1], PLACEMENT),
            ]
            assert [row.object_key for row in await sweeps.due(now=SOON, limit=1)] == [keys[2]]
            await sweeps.release([keys[2], keys[1], "unknown"])
            await sweeps.release([])
            assert [row.object_key for row in await sweeps.due(now=SOON, limit=10)] == [keys[0]]

    async def test_an_object_is_never_quarantined_and_named_by_an_earlier_commit(
        self, open_catalog: OpenCatalog
    ) -> None:
        async with one_process(open_catalog) as steps:
            for _ in range(10):
                write = steps.write_of(some_id())
                await steps.declare(write.object_key)
                _, quarantined = await asyncio.gather(
                    steps.commit(write),
                    steps.catalog.sweeps.quarantine_unnamed([write.object_key], placement=PLACEMENT, delete_at=SOON),
                )
                assert quarantined == 0

    async def test_ids_are_counted_off_in_the_order_of_their_bytes(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            after = steps.catalog.sweeps.content_id_after
            run = some_id()
            names = [f"{run}/{name}" for name in ("A", "a", "a-b", "a/b", "b", "\u00e9", "\uff5e", "\U0001f600")]
            for name in reversed(names):
                await steps.put(ContentId(name))
            await steps.delete(ContentId(names[4]))
            for start, name in enumerate(["", *names]):
                found = [await after(name, skip=skip) for skip in range(len(names) - start + 1)]
                assert found == [*names[start:], None]
            assert await after(f"{run}/a.", skip=1) == names[4]
            assert await after("\U0010ffff", skip=0) is None
