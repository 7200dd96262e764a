"""Adopting what a restored backup does not know: what is adopted, what is left alone, and what is told."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.crash.recovering import (
    MOMENT,
    adopt_all,
    alter_object,
    confirm_and_settle,
    keys_in,
    lose_everything,
    put_object,
    restore_backup,
    take_backup,
)
from tests.machine import Machine, settle
from thermocline import StorageOrchestrator
from thermocline.domain.adoption import Fate, Outcome
from thermocline.domain.digests import CHUNK_BYTES, Buffer, digest_whole
from thermocline.domain.errors import ObjectArchivedError, StorageError, UnavailableError
from thermocline.domain.units import Seconds
from thermocline.domain.work import OutboxKind
from thermocline.services.adopting import AdoptionProgress
from thermocline.testing.faults import Faults


async def restored(machine: Machine, *bodies: tuple[str, bytes]) -> None:
    """Store contents, back up and restore at once: later objects are unknown."""
    async with machine.process() as store:
        for name, body in bodies:
            await store.store_content(name, body)
        machine.clock.advance(MOMENT)
        backup = take_backup(machine)
    restore_backup(machine, backup)


def by_id(outcomes: list[Outcome]) -> dict[str, Outcome]:
    assert len({outcome.content_id for outcome in outcomes}) == len(outcomes)
    return {outcome.content_id: outcome for outcome in outcomes}


def refuse_reads(machine: Machine, key: str, error: Exception) -> None:
    """Make every read of one object's bytes raise."""
    whole = machine.objects.stream

    async def stream(asked: str, start: int, end: int) -> AsyncGenerator[Buffer]:
        if asked == key:
            raise error
        async for block in whole(asked, start, end):
            yield block

    machine.objects.stream = stream  # type: ignore[method-assign, assignment]


def test_nothing_is_deleted_while_the_catalog_recovers(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", b"first")
            await store.store_content("a", b"second")  # the first object's deletion is queued
            await store.store_content("short", b"short", expires_in=60.0)
            await store.store_content("gone", b"gone")
            await store.delete_content("gone")
            orphan = await put_object(machine, "orphan", b"orphan")
            machine.clock.advance(Seconds(3 * 3600.0))
            await store.services.sweep.run()  # in quarantine from now on
            backup = take_backup(machine)
        restore_backup(machine, backup)
        before = await keys_in(machine)
        assert orphan in before
        async with machine.process() as store:
            await settle(store, machine.clock)
            machine.clock.advance(Seconds(30 * 86400.0))
            await settle(store, machine.clock)
            for job in store.services.worker.jobs:
                await job.run()
            assert await keys_in(machine) == before
            catalog = store.services.adapters.catalog
            (deletions,) = (one for one in await catalog.outbox.state() if one.kind is OutboxKind.DELETE_OBJECT)
            assert deletions.waiting == 2
            # Users go on, and what their deletions promise waits too; an explicit wish to erase does not.
            receipt = await store.store_content("a", b"third")
            await store.delete_content("a")
            await settle(store, machine.clock)
            assert receipt.object_key in await keys_in(machine)
            erased = await store.store_content("private", b"private")
            await store.erase_content("private")
            assert erased.object_key not in await keys_in(machine)
            # Once it is confirmed, all of it happens.
            with pytest.raises(StorageError, match="fsck --repair"):
                await store.services.sweep.run(confirmed=True)
            assert [outcome.fate for outcome in await adopt_all(store)] == [Fate.ADOPTED]
            await confirm_and_settle(store, machine)
            assert not await store.services.recovering.is_recovering()
            assert await keys_in(machine) == {(await store.stat("orphan")).object_key}

    asyncio.run(scenario())


def test_a_sweep_says_why_it_does_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        await restored(machine, ("a", b"a"))
        async with machine.process() as store:
            report, *_ = await store.services.sweep.run()
            assert report.refused is not None
            assert "restored backup" in report.refused
            await adopt_all(store)
            report, *_ = await store.services.sweep.run(confirmed=True)
            assert report.refused is None
            report, *_ = await store.services.sweep.run()
            assert report.refused is None

    asyncio.run(scenario())


def test_the_newest_of_each_content_is_adopted_and_the_rest_is_left(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        await restored(machine, ("a", b"before"))
        async with machine.process() as store:
            await put_object(machine, "new", b"old", sha256=digest_whole(b"old"))
            machine.clock.advance(MOMENT)
            await put_object(machine, "new", b"new", sha256=digest_whole(b"new"))
            await put_object(machine, "a", b"after", sha256=digest_whole(b"after"))
            old = await store.stat("a")
            progress: list[AdoptionProgress] = []
            told = by_id([one async for one in store.services.adopting.adopt(progress=progress.append)])
            assert {name: one.fate for name, one in told.items()} == {"a": Fate.ADOPTED, "new": Fate.ADOPTED}
            assert (told["a"].replaced, told["a"].unproven) == (old.object_key, False)
            assert (progress[-1].listed, progress[-1].found, progress[-1].judged) == (4, 3, 2)
            assert await store.retrieve_content("a") == b"after"
            assert await store.retrieve_content("new") == b"new"
            assert (await store.stat("a")).revision > old.revision
            assert not (await store.stat("a")).unproven
            # Again: the replaced and the superseded are found, and left.
            again = by_id(await adopt_all(store))
            assert {name: one.fate for name, one in again.items()} == {"a": Fate.LEFT, "new": Fate.LEFT}
            assert len(await keys_in(machine)) == 4

    asyncio.run(scenario())


def test_overlapping_uploads_leave_a_doubt(tmp_path: Path) -> None:
    """The one begun last was adopted; the other was finished after that one was begun."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        await restored(machine)
        async with machine.process() as store:
            early = machine.clock.now()
            machine.clock.advance(MOMENT)
            await put_object(machine, "a", b"later", sha256=digest_whole(b"later"))
            machine.clock.advance(MOMENT)
            now = machine.clock.now
            machine.clock.now = lambda: early  # type: ignore[method-assign]
            key = await put_object(machine, "a", b"early", sha256=digest_whole(b"early"))
            machine.clock.now = now  # type: ignore[method-assign]
            # It came to its end only now.
            alter_object(machine, key, modified_at=machine.clock.now())
            (outcome,) = await adopt_all(store)
            assert (outcome.fate, outcome.unproven) == (Fate.ADOPTED, True)
            assert await store.retrieve_content("a") == b"later"
            assert (await store.stat("a")).unproven

    asyncio.run(scenario())


def test_a_streamed_upload_is_adopted_but_unproven(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        await restored(machine)
        async with machine.process() as store:
            await put_object(machine, "a", bytes(CHUNK_BYTES + 5))
            (outcome,) = await adopt_all(store)
            assert (outcome.fate, outcome.unproven) == (Fate.ADOPTED, True)
            record = await store.stat("a")
            assert (record.unproven, record.digest) == (True, digest_whole(bytes(CHUNK_BYTES + 5)))
            async with store.open_content("a", start=CHUNK_BYTES) as content:
                assert b"".join([bytes(piece) async for piece in content]) == bytes(5)

    asyncio.run(scenario())


def test_what_contradicts_itself_or_says_nothing_is_told_and_left_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        await restored(machine, ("a", b"before"))
        async with machine.process() as store:
            await put_object(machine, "a", b"damaged", sha256=digest_whole(b"whole"))
            key = await put_object(machine, "foreign", b"?")
            alter_object(machine, key, attributes={"token": "x"})
            await machine.objects.put("not/one/of/ours", b"?", {})
            upload = await machine.objects.begin_upload(key.replace("foreign", "unfinished"), {})
            await upload.write(b"x")
            before = await keys_in(machine)
            told = by_id(await adopt_all(store))
            assert {name: one.fate for name, one in told.items()} == {
                "a": Fate.CONTRADICTED,
                "foreign": Fate.FOREIGN,
            }
            assert await store.retrieve_content("a") == b"before"
            assert await keys_in(machine) == before
            assert [record.content_id async for record in store.list_content()] == ["a"]

    asyncio.run(scenario())


def test_an_upload_that_overtook_the_backup_is_told(tmp_path: Path) -> None:
    """It began before the last change that the backup knows, and was finished after it."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            faults = Faults()
            gate = faults.gate("catalog.records.commit_write#1")
            async with machine.process(faults) as slow:
                faults.start()
                writing = asyncio.ensure_future(slow.store_content("a", b"slow" * 100))
                await gate.reached()
                machine.clock.advance(MOMENT)
                await store.store_content("a", b"fast")
                backup = take_backup(machine)
                gate.open()
                receipt = await writing
            assert await machine_shows(machine, "a") == b"slow" * 100
            # By the store's clock it was finished before it was committed; let it have been later.
            alter_object(machine, receipt.object_key, modified_at=machine.clock.now())
        restore_backup(machine, backup)
        async with machine.process() as store:
            (outcome,) = await adopt_all(store)
            assert (outcome.fate, outcome.object_key) == (Fate.UNCLEAR, receipt.object_key)
            assert await store.retrieve_content("a") == b"fast"

    asyncio.run(scenario())


async def machine_shows(machine: Machine, content_id: str) -> bytes:
    async with machine.process() as store:
        return await store.retrieve_content(content_id)


def test_a_hold_keeps_what_is_there(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            for name in ("kept", "lost"):
                await store.store_content(name, b"before")
                await store.update_metadata(name, held=True)
            machine.clock.advance(MOMENT)
            backup = take_backup(machine)
        restore_backup(machine, backup)
        async with machine.process() as store:
            for name in ("kept", "lost"):
                await put_object(machine, name, b"after", sha256=digest_whole(b"after"))
            await machine.objects.delete([(await store.stat("lost")).object_key])
            told = by_id(await adopt_all(store))
            assert {name: one.fate for name, one in told.items()} == {"kept": Fate.UNCLEAR, "lost": Fate.ADOPTED}
            assert await store.retrieve_content("kept") == b"before"
            assert (await store.stat("lost")).held

    asyncio.run(scenario())


def test_archived_objects_are_adopted_by_their_word_or_wait(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        await restored(machine)
        body = bytes(CHUNK_BYTES) + b"end"
        known = await put_object(machine, "known", body, sha256=digest_whole(body))
        silent = await put_object(machine, "silent", b"silent")
        readable = machine.objects.stream
        refuse_reads(machine, known, ObjectArchivedError(known))
        refuse_reads(machine, silent, ObjectArchivedError(silent))
        async with machine.process() as store:
            told = by_id(await adopt_all(store))
            assert {name: one.fate for name, one in told.items()} == {"known": Fate.ADOPTED, "silent": Fate.ARCHIVED}
            # It is named meanwhile: confirming does not give it to the sweep.
            await confirm_and_settle(store, machine)
            assert await keys_in(machine) == {known, silent}
            machine.objects.stream = readable  # type: ignore[method-assign]
            # What was adopted without its chunk digests is read all the same, verified.
            async with store.open_content("known") as content:
                assert b"".join([bytes(piece) async for piece in content]) == body
            # Restored by its store, the other one is adopted too, although the recovery is over.
            assert [one.fate for one in await adopt_all(store)] == [Fate.ADOPTED]
            assert await store.retrieve_content("silent") == b"silent"

    asyncio.run(scenario())


def test_one_unreadable_object_keeps_no_other_from_being_adopted(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        await restored(machine)
        keys = [await put_object(machine, name, name.encode()) for name in "abc"]
        readable = machine.objects.stream
        refuse_reads(machine, keys[1], UnavailableError("the disk failed"))
        async with machine.process() as store:
            told = by_id(await adopt_all(store))
            assert [told[name].fate for name in "abc"] == [Fate.ADOPTED, Fate.UNREADABLE, Fate.ADOPTED]
            machine.objects.stream = readable  # type: ignore[method-assign]
            assert [one.fate for one in await adopt_all(store)] == [Fate.ADOPTED]

    asyncio.run(scenario())


def test_a_dry_run_adopts_nothing_and_confirms_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        await restored(machine)
        await put_object(machine, "a", b"a")
        async with machine.process() as store:
            (outcome,) = [one async for one in store.services.adopting.adopt(dry_run=True)]
            assert outcome.fate is Fate.ADOPTED
            assert [record async for record in store.list_content()] == []
            with pytest.raises(StorageError, match="fsck --repair"):
                await store.services.sweep.run(confirmed=True)
            await adopt_all(store)
            _ = [one async for one in store.services.adopting.adopt(dry_run=True)]
            await store.services.sweep.run(confirmed=True)

    asyncio.run(scenario())


def test_a_write_beside_the_adoption_wins(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        await restored(machine)
        await put_object(machine, "a", b"found")
        faults = Faults()
        gate = faults.gate("catalog.recovery.commit_adoption#1")
        async with machine.process() as store, machine.process(faults) as recovering:
            faults.start()
            adopting = asyncio.ensure_future(adopt_all(recovering))
            await gate.reached()
            machine.clock.advance(MOMENT)
            await store.store_content("a", b"written")
            gate.open()
            (outcome,) = await adopting
            assert outcome.fate is Fate.LEFT
            assert await store.retrieve_content("a") == b"written"

    asyncio.run(scenario())


def test_in_the_normal_state_unknown_objects_are_not_even_looked_at(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            await put_object(machine, "a", b"never acknowledged")
            assert await adopt_all(store) == []
            assert [record async for record in store.list_content()] == []

    asyncio.run(scenario())


def test_everything_comes_back_from_the_stores_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        bodies = {f"c/{number}/ü": bytes([number]) * (number * 40) for number in range(30)}
        async with machine.process() as store:
            for name, body in bodies.items():
                await store.store_content(name, body + b"old", content_type="text/plain")
            machine.clock.advance(MOMENT)
            for name, body in bodies.items():
                await store.store_content(name, body, content_type="text/html", initial_tier="cold")
        lose_everything(machine)
        async with machine.process() as store:
            assert {one.fate for one in await adopt_all(store)} == {Fate.ADOPTED}
            await check_all(store, bodies)
            await confirm_and_settle(store, machine)
            await check_all(store, bodies)
        stored, named, _, _ = await machine.remains()
        assert stored == named

    asyncio.run(scenario())


async def check_all(store: StorageOrchestrator, bodies: dict[str, bytes]) -> None:
    for name, body in bodies.items():
        assert await store.retrieve_content(name) == body
        record = await store.stat(name)
        assert (record.headers.content_type, record.tier.value) == ("text/html", "cold")
    assert [finding async for finding in store.check() if finding.damage.value != "orphan"] == []
