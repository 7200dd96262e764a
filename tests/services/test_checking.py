"""`fsck` finds each kind of damage, and takes nothing for damage that only changed meanwhile."""

import asyncio
import contextlib
import random
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from tests.machine import Machine
from tests.services.reads import damage, large_parts
from thermocline import StorageOrchestrator
from thermocline.adapters.objects import memory
from thermocline.domain.content_id import ContentId
from thermocline.domain.digests import CHUNK_BYTES, ContentDigest
from thermocline.domain.keys import ObjectKey, new_token
from thermocline.domain.units import Seconds
from thermocline.domain.work import OutboxKind
from thermocline.services.checking import CheckProgress, Damage
from thermocline.services.looking_up import LIST_FROM, MOST_BETWEEN
from thermocline.testing.faults import Faults


async def findings(store: StorageOrchestrator, *, read_bytes: bool = True) -> set[tuple[Damage, str | None]]:
    return {(finding.damage, finding.content_id) async for finding in store.check(read_bytes=read_bytes)}


def test_what_is_archived_is_looked_up_without_a_restore(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            for name in ("a", "gone", "restored"):
                await store.store_content(name, b"x" * 1000, initial_tier="archive")
            await store.store_content("hot", b"y" * 10)
            assert await findings(store) == set()
            await store.restore_content("restored")
            machine.clock.advance(Seconds(3600.0))
            seen: list[CheckProgress] = []
            assert [finding async for finding in store.services.checking.check(progress=seen.append)] == []
            assert (seen[-1].contents, seen[-1].read_bytes) == (4, 1010), "what is readable is read"
            machine.objects._contents.remove((await store.stat("gone")).object_key)
            assert await findings(store) == {(Damage.MISSING, "gone")}
            assert (await machine.work_left())["restores"] == 1

    asyncio.run(scenario())


def test_every_kind_of_damage_is_found(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            keys = {}
            for number in range(19):
                keys[number] = (await store.store_content(f"c{number:02}", b"x" * 100)).object_key
            keys[19] = (await store.store_content("empty", b"")).object_key
            assert await findings(store) == set()
            damage(machine, keys[3], b"x" * 99 + b"y")
            damage(machine, keys[4], b"x" * 99)
            await machine.objects.delete([keys[18], keys[19]])
            token = new_token(machine.clock.now(), b"0" * 10)
            orphan = ObjectKey(store.services.placements.installation, "standard", ContentId("orphan"), token)
            await machine.objects.put(str(orphan), b"x", {})
            await machine.objects.put("foreign", b"x", {})
            outbox = store.services.adapters.catalog.outbox
            await store.delete_content("c00")
            machine.clock.advance(Seconds(10**6))
            (row,) = await outbox.claim(OutboxKind.DELETE_OBJECT, now=machine.clock.now(), lease=Seconds(60), limit=9)
            await outbox.fail([row], reason="as planned", due_at=None)
            always = {
                (Damage.MISSING, "c18"),
                (Damage.MISSING, "empty"),
                (Damage.ORPHAN, "orphan"),
                (Damage.DEAD_LETTER, None),
                (Damage.DAMAGED, "c04"),
            }
            assert await findings(store) == always | {(Damage.DAMAGED, "c03")}
            assert await findings(store, read_bytes=False) == always, "looking alone sees sizes"
            assert store.services.reading.damaged == 0, "a check is no read"

    asyncio.run(scenario())


def test_listings_tell_of_a_thousand_what_looks_tell_of_each(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults()
        async with machine.process(faults) as store:
            keys, sizes = {}, {}
            for number in range(60):
                # Keys of ids that begin alike come in another order than the ids, and lie in two placements.
                name = f"{number % 7}" + "-/.x"[number % 4] + f"{number}" * (number % 3 + 1)
                sizes[name] = number + 1
                tier = "cold" if number % 2 else "warm"
                keys[name] = (await store.store_content(name, b"x" * sizes[name], initial_tier=tier)).object_key
            gone, shorter, longer, replaced = random.Random(1).sample(sorted(keys), 4)
            await machine.objects.delete([keys[gone]])
            damage(machine, keys[shorter], b"")
            damage(machine, keys[longer], b"x" * 100)
            await machine.objects.delete([keys[replaced]])
            await (await machine.objects.begin_upload(keys[replaced], {})).write(b"x" * sizes[replaced])
            expected = {(Damage.MISSING, gone), (Damage.MISSING, replaced)}
            expected |= {(Damage.DAMAGED, shorter), (Damage.DAMAGED, longer)}
            faults.start()
            seen: list[CheckProgress] = []
            quickly = store.services.checking.check(read_bytes=False, progress=seen.append)
            assert {(finding.damage, finding.content_id) async for finding in quickly} == expected
            assert seen[-1].contents == len(keys) == 60
            assert Counter(point.partition("#")[0] for point in faults.points)["objects.head"] == len(expected)

    asyncio.run(scenario())


def test_what_changed_while_it_was_listed_is_no_finding(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults()
        async with machine.process(faults) as store:
            old = [(await store.store_content(f"c{number}", b"old")).object_key for number in range(LIST_FROM)]
            gate = faults.gate("objects.list_range.next#1")
            faults.start()
            checking = asyncio.create_task(findings(store, read_bytes=False))
            await gate.reached()
            await store.store_content("c1", b"newer")
            await store.erase_content("c2")
            await machine.objects.delete(old[:2])
            await store.store_content("c0", b"newest")
            gate.open()
            assert await checking == set()

    asyncio.run(scenario())


def test_few_contents_between_many_others_cost_few_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        monkeypatch.setattr(memory, "_PAGE", 10)
        faults = Faults()
        async with machine.process(faults) as store:
            prefix = store.services.placements.key_prefix("standard")
            for number in range(LIST_FROM):
                await store.store_content(f"c{number}", b"x")
            for number in range(40 * LIST_FROM):
                await machine.objects.put(f"{prefix}c1/other{number}", b"", {})
            faults.start()
            assert await findings(store, read_bytes=False) == set()
            listed = Counter(point.partition("#")[0] for point in faults.points)["objects.list_range.next"]
            assert 10 * listed <= MOST_BETWEEN * LIST_FROM + 10

    asyncio.run(scenario())


def test_what_was_made_to_pass_its_chunk_digests_is_found_by_the_whole(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = large_parts(tmp_path)
        body, forged = b"x" * (CHUNK_BYTES + 1), b"y" + b"x" * CHUNK_BYTES
        digest = ContentDigest()
        digest.update(forged)
        async with machine.process() as store:
            receipt = await store.store_content("a", body)
            damage(machine, receipt.object_key, forged)
            assert await findings(store) == {(Damage.DAMAGED, "a")}
            with contextlib.closing(sqlite3.connect(machine.database)) as raw:
                raw.execute("UPDATE contents SET chunk_digests = ?", (digest.chunks(),))
                raw.commit()
            assert await findings(store) == {(Damage.DAMAGED, "a")}
            damage(machine, receipt.object_key, body)
            assert await findings(store) == {(Damage.DAMAGED, "a")}, "and the other way round"

    asyncio.run(scenario())


@pytest.mark.parametrize("change", ["overwritten", "deleted"])
def test_what_changed_meanwhile_is_no_finding(tmp_path: Path, change: str) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults()
        async with machine.process(faults) as store:
            old = await store.store_content("a", b"old")
            gate = faults.gate("objects.stream.next#1")
            faults.start()
            checking = asyncio.create_task(findings(store))
            await gate.reached()
            if change == "overwritten":
                await store.store_content("a", b"new")
                await machine.objects.delete([old.object_key])
            else:
                await store.erase_content("a")
            gate.open()
            assert await checking == set()

    asyncio.run(scenario())


def test_progress_is_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            for number in range(10):
                await store.store_content(f"c{number}", b"x" * 100)
            seen: list[CheckProgress] = []
            async for _ in store.services.checking.check(progress=seen.append):
                pytest.fail("nothing is wrong")
            last = seen[-1]
            assert (last.contents, last.read_bytes, last.objects, last.findings) == (10, 1000, 10, 0)

    asyncio.run(scenario())
