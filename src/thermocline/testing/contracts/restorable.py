"""Laws of `Restorable`. An adapter passes them by providing one fixture: a store with `ARCHIVE_CLASSES`."""
# ruff: noqa: D102 - the name of a test states its law

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from dataclasses import dataclass
from typing import Final, Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thermocline.domain.digests import CHUNK_BYTES
from thermocline.domain.errors import InvalidInputError, ObjectArchivedError, ObjectMissingError
from thermocline.domain.restores import RestoreSpeed, RestoreStage, StoreRestore
from thermocline.domain.units import Seconds, Timestamp, later
from thermocline.ports.object_store import STANDARD, ObjectStore, Restorable
from thermocline.testing.contracts.running import AsyncTests, in_event_loop

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR
ARCHIVE_CLASSES: Mapping[str, Mapping[RestoreSpeed, Seconds]] = {
    "GLACIER": {
        RestoreSpeed.BULK: Seconds(12 * HOUR),
        RestoreSpeed.STANDARD: Seconds(5 * HOUR),
        RestoreSpeed.EXPEDITED: Seconds(300.0),
    },
    "DEEP_ARCHIVE": {RestoreSpeed.BULK: Seconds(48 * HOUR), RestoreSpeed.STANDARD: Seconds(12 * HOUR)},
    "NEARLINE": dict.fromkeys(RestoreSpeed, Seconds(0.0)),
}
"""What a store that is tried here needs a restore for, and how long each speed takes."""
ORDINARY: Final = "STANDARD_IA"
"""A class from which every store reads at once."""

MOMENT: Final = Seconds(0.000_001)
ARCHIVED: Final = StoreRestore(RestoreStage.ARCHIVED)
REQUESTED: Final = StoreRestore(RestoreStage.REQUESTED)
LONG_KEY: Final = f"i/p/{'Ä' * 450}/01kdvdna00f1w7gy3rf1w7gy3r"
_RUNS = itertools.count()
_RANDOM = settings(
    # The executors that differ are the adapters: an example that one of them breaks is worth trying on all.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    deadline=None,
)


class RestorableStore(ObjectStore, Restorable, Protocol):
    """An object store with archive classes."""


@dataclass(frozen=True, slots=True)
class Archive:
    """A fresh store and the clock that it lives by."""

    open: Callable[[], AbstractAsyncContextManager[RestorableStore]]
    """Opened several times, it is several processes on the same objects; the first finds none."""
    now: Callable[[], Timestamp]
    advance: Callable[[Seconds], Awaitable[None]]
    """Lets that much time pass for the store."""


class RestorableContract(AsyncTests):
    """Laws of `Restorable`. Subclasses provide `archive`, anew for each test."""

    @pytest.fixture
    def archive(self) -> Archive:
        """Return a fresh store that needs restores for `ARCHIVE_CLASSES`."""
        raise NotImplementedError

    @pytest.mark.parametrize("how", ["put", "upload"])
    @pytest.mark.parametrize("body", [b"", b"12345"], ids=["empty", "full"])
    async def test_what_is_archived_is_seen_but_not_read(self, archive: Archive, how: str, body: bytes) -> None:
        async with archive.open() as store:
            if how == "put":
                await store.put("k", body, {"a": "b"}, storage_class="GLACIER")
            else:
                upload = await store.begin_upload("k", {"a": "b"}, storage_class="GLACIER")
                for start in range(0, len(body), store.part_size):
                    await upload.write(body[start : start + store.part_size])
                await upload.complete()
            for start, end in ((0, 0), (0, len(body)), (0, 100)):
                with pytest.raises(ObjectArchivedError) as caught:
                    await store.fetch("k", start, end)
                assert caught.value.key == "k"
                with pytest.raises(ObjectArchivedError):
                    await _streamed(store, "k", start, end)
            assert await store.restore_state("k") == ARCHIVED
            head = await store.head("k")
            assert head is not None
            assert (head.size, dict(head.attributes), head.storage_class) == (len(body), {"a": "b"}, "GLACIER")
            assert await _listed(store) == ["k"]
            assert not await store.delete(["k"])
            assert await _listed(store) == []

    @pytest.mark.parametrize(
        ("storage_class", "speed"), [(name, speed) for name, delays in ARCHIVE_CLASSES.items() for speed in delays]
    )
    async def test_each_speed_takes_its_time(self, archive: Archive, storage_class: str, speed: RestoreSpeed) -> None:
        async with archive.open() as store:
            await store.put("k", b"12345", {}, storage_class=storage_class)
            delay = ARCHIVE_CLASSES[storage_class][speed]
            arrival = later(archive.now(), delay)
            await store.request_restore("k", speed=speed, days=3)
            if delay:
                await archive.advance(Seconds(delay - MOMENT))
                assert await store.restore_state("k") == REQUESTED
                with pytest.raises(ObjectArchivedError):
                    await store.fetch("k", 0, 5)
                await archive.advance(MOMENT)
            assert await store.restore_state("k") == StoreRestore(
                RestoreStage.READABLE, later(arrival, Seconds(3 * DAY))
            )
            assert await store.fetch("k", 1, 4) == b"234"
            assert await _streamed(store, "k", 0, 5) == b"12345"

    async def test_a_restore_changes_nothing_else(self, archive: Archive) -> None:
        async with archive.open() as store:
            await store.put("k", b"12345", {"a": "b"}, storage_class="NEARLINE")
            before = await store.head("k"), [info async for page in store.list_pages("") for info in page]
            await store.request_restore("k", speed=RestoreSpeed.BULK, days=1)
            assert before == (await store.head("k"), [info async for page in store.list_pages("") for info in page])
            for start, end in ((0, 6), (6, 6)):
                with pytest.raises(EOFError):
                    await store.fetch("k", start, end)

    async def test_what_is_under_way_stays_as_it_is(self, archive: Archive) -> None:
        async with archive.open() as store, archive.open() as other:
            await store.put("k", b"12345", {}, storage_class="GLACIER")
            end = later(archive.now(), Seconds(5 * HOUR + DAY))
            await store.request_restore("k", speed=RestoreSpeed.STANDARD, days=1)
            await archive.advance(Seconds(HOUR))
            await asyncio.gather(
                *(
                    who.request_restore("k", speed=speed, days=days)
                    for who in (store, other)
                    for speed in RestoreSpeed
                    for days in (1, 30)
                )
            )
            assert await other.restore_state("k") == REQUESTED
            await archive.advance(Seconds(4 * HOUR))
            assert await other.restore_state("k") == StoreRestore(RestoreStage.READABLE, end)

    async def test_many_first_requests_at_once_are_one_restore(self, archive: Archive) -> None:
        async with archive.open() as store, archive.open() as other:
            for number in range(8):
                key = f"{number}/{'long' * 60}"
                await store.put(key, b"12345", {}, storage_class="GLACIER")
                ends = {later(archive.now(), Seconds(300.0 + days * DAY)) for days in range(1, 9)}
                await asyncio.gather(
                    *(
                        who.request_restore(key, speed=RestoreSpeed.EXPEDITED, days=days)
                        for days in range(1, 9)
                        for who in (store, other)
                    )
                )
                await archive.advance(Seconds(300.0))
                state = await store.restore_state(key)
                assert state == await other.restore_state(key)
                assert state.stage is RestoreStage.READABLE
                assert state.readable_until in ends
            assert len(await _listed(store)) == 8

    async def test_a_restored_copy_expires_and_can_be_restored_again(self, archive: Archive) -> None:
        async with archive.open() as store:
            await store.put("k", b"12345", {}, storage_class="GLACIER")
            for _ in range(2):
                await store.request_restore("k", speed=RestoreSpeed.EXPEDITED, days=2)
                await archive.advance(Seconds(300.0 + 2 * DAY - MOMENT))
                assert await store.fetch("k", 0, 5) == b"12345"
                await archive.advance(MOMENT)
                assert await store.restore_state("k") == ARCHIVED
                with pytest.raises(ObjectArchivedError):
                    await store.fetch("k", 0, 5)
                with pytest.raises(ObjectArchivedError):
                    await _streamed(store, "k", 0, 5)

    async def test_a_stream_that_began_in_time_goes_on(self, archive: Archive) -> None:
        body = bytes(2 * CHUNK_BYTES)
        async with archive.open() as store:
            upload = await store.begin_upload("k", {}, storage_class="NEARLINE")
            for start in range(0, len(body), store.part_size):
                await upload.write(body[start : start + store.part_size])
            await upload.complete()
            await store.request_restore("k", speed=RestoreSpeed.BULK, days=1)
            async with aclosing(store.stream("k", 0, len(body))) as stream:
                size = len(await anext(stream))
                await archive.advance(Seconds(DAY))
                assert size + sum([len(block) async for block in stream]) == len(body)

    async def test_asking_again_for_what_is_readable_keeps_it_longer_never_shorter(self, archive: Archive) -> None:
        async with archive.open() as store:
            await store.put("k", b"12345", {}, storage_class="GLACIER")
            await store.request_restore("k", speed=RestoreSpeed.EXPEDITED, days=10)
            await archive.advance(Seconds(300.0))
            end = later(archive.now(), Seconds(10 * DAY))
            await archive.advance(Seconds(DAY))
            await store.request_restore("k", speed=RestoreSpeed.BULK, days=3)
            assert await store.restore_state("k") == StoreRestore(RestoreStage.READABLE, end)
            await store.request_restore("k", speed=RestoreSpeed.BULK, days=10)
            end = later(end, Seconds(DAY))
            assert await store.restore_state("k") == StoreRestore(RestoreStage.READABLE, end)
            assert await store.fetch("k", 0, 5) == b"12345"

    async def test_the_longest_of_many_extensions_at_once_holds(self, archive: Archive) -> None:
        async with archive.open() as store, archive.open() as other:
            await store.put("k", b"12345", {}, storage_class="NEARLINE")
            await store.request_restore("k", speed=RestoreSpeed.BULK, days=1)
            for round_number in range(5):
                await archive.advance(Seconds(60.0))
                longest = 8 + round_number
                requests = [
                    who.request_restore("k", speed=RestoreSpeed.BULK, days=days)
                    for days in (3, 1, longest, 2, 4, 1, 6, 5)
                    for who in (store, other)
                ]
                await asyncio.gather(*requests)
                end = later(archive.now(), Seconds(longest * DAY))
                assert await store.restore_state("k") == StoreRestore(RestoreStage.READABLE, end)

    async def test_every_process_sees_a_restore(self, archive: Archive) -> None:
        async with archive.open() as other:
            async with archive.open() as store:
                await store.put("k", b"12345", {}, storage_class="NEARLINE")
                with pytest.raises(ObjectArchivedError):
                    await other.fetch("k", 0, 5)
                await store.request_restore("k", speed=RestoreSpeed.BULK, days=1)
            assert await other.fetch("k", 0, 5) == b"12345"

    async def test_deleting_an_object_forgets_its_restore(self, archive: Archive) -> None:
        async with archive.open() as store:
            for key in ("k", LONG_KEY):
                # Used again, which no key of Thermocline is: otherwise nobody could tell.
                for _ in range(2):
                    await store.put(key, b"12345", {}, storage_class="NEARLINE")
                    assert await store.restore_state(key) == ARCHIVED
                    await store.request_restore(key, speed=RestoreSpeed.BULK, days=1)
                    assert await store.fetch(key, 0, 5) == b"12345"
                    assert not await store.delete([key])
                    with pytest.raises(ObjectMissingError):
                        await store.restore_state(key)

    async def test_a_request_that_races_with_a_deletion_leaves_nothing(self, archive: Archive) -> None:
        async def request(store: RestorableStore, key: str) -> None:
            with suppress(ObjectMissingError):
                await store.request_restore(key, speed=RestoreSpeed.BULK, days=1)

        async with archive.open() as store, archive.open() as other:
            for number in range(25):
                key = f"k/{'long' * (number % 2 * 60)}"
                await store.put(key, b"12345", {}, storage_class="NEARLINE")
                _, _, failed = await asyncio.gather(request(store, key), request(other, key), other.delete([key]))
                assert not failed
                await store.put(key, b"12345", {}, storage_class="NEARLINE")
                assert await store.restore_state(key) == ARCHIVED
                assert not await store.delete([key])

    async def test_what_does_not_exist_is_not_restored(self, archive: Archive) -> None:
        async with archive.open() as store:
            upload = await store.begin_upload("unfinished", {}, storage_class="GLACIER")
            for key in ("none", "unfinished"):
                with pytest.raises(ObjectMissingError):
                    await store.request_restore(key, speed=RestoreSpeed.BULK, days=1)
                with pytest.raises(ObjectMissingError):
                    await store.restore_state(key)
            await upload.complete()
            assert await store.restore_state("unfinished") == ARCHIVED

    @pytest.mark.parametrize("storage_class", [STANDARD, ORDINARY])
    async def test_what_needs_no_restore_gets_none(self, archive: Archive, storage_class: str) -> None:
        async with archive.open() as store:
            await store.put("k", b"12345", {}, storage_class=storage_class)
            with pytest.raises(ValueError, match="needs no restore"):
                await store.request_restore("k", speed=RestoreSpeed.BULK, days=1)
            assert await store.restore_state("k") == StoreRestore(RestoreStage.READABLE, None)
            assert await store.fetch("k", 0, 5) == b"12345"

    async def test_a_request_that_makes_no_sense_changes_nothing(self, archive: Archive) -> None:
        async with archive.open() as store:
            await store.put("k", b"12345", {}, storage_class="DEEP_ARCHIVE")
            with pytest.raises(ValueError, match=r"no speed expedited.*bulk, standard"):
                await store.request_restore("k", speed=RestoreSpeed.EXPEDITED, days=1)
            for days in (-1, 0, 366):
                with pytest.raises(InvalidInputError, match="days"):
                    await store.request_restore("k", speed=RestoreSpeed.BULK, days=days)
            for key in ("", "x" * 1025, "\ud800"):
                with pytest.raises(ValueError, match="key"):
                    await store.request_restore(key, speed=RestoreSpeed.BULK, days=1)
                with pytest.raises(ValueError, match="key"):
                    await store.restore_state(key)
            assert await store.restore_state("k") == ARCHIVED

    async def test_a_repeated_put_neither_needs_a_restore_nor_ends_one(self, archive: Archive) -> None:
        async with archive.open() as store:
            for _ in range(2):
                await store.put("k", b"12345", {"a": "b"}, storage_class="NEARLINE")
                assert await store.restore_state("k") == ARCHIVED
            await store.request_restore("k", speed=RestoreSpeed.BULK, days=1)
            await store.put("k", b"12345", {"a": "b"}, storage_class="NEARLINE")
            assert await store.fetch("k", 0, 5) == b"12345"

    async def test_keys_that_look_alike_are_restored_apart(self, archive: Archive) -> None:
        keys = [
            "a", "A", "a/b", "a~", "a~~", "é", "e\u0301", ".", "..", ".restores/a~", "/", "%61",
            LONG_KEY, LONG_KEY.lower(),
            "i/p/" + "x" * 900 + "/01kdvdna00f1w7gy3rf1w7gy3r", "i/p/" + "X" * 900 + "/01kdvdna00f1w7gy3rf1w7gy3r",
            *("x" * size for size in (198, 199, 200, 201, 398, 399, 400, 401, 1024)), "X" * 199,
        ]  # fmt: skip
        async with archive.open() as store:
            for key in keys:
                await store.put(key, key.encode(), {}, storage_class="NEARLINE")
            for number, key in enumerate(keys):
                await store.request_restore(key, speed=RestoreSpeed.BULK, days=number + 1)
                for other in keys[number + 1 :]:
                    assert await store.restore_state(other) == ARCHIVED, (key, other)
            assert sorted(await _listed(store)) == sorted(keys)
            for number, key in enumerate(keys):
                end = later(archive.now(), Seconds((number + 1) * DAY))
                assert await store.restore_state(key) == StoreRestore(RestoreStage.READABLE, end)
                assert await store.fetch(key, 0, len(key.encode())) == key.encode()
                assert not await store.delete([key])

    @_RANDOM
    @given(data=st.data())
    def test_it_behaves_like_its_model(self, archive: Archive, data: st.DataObject) -> None:
        in_event_loop(_compare_with_model)(archive, data)


@dataclass
class _Model:
    storage_class: str
    arrival: Timestamp | None = None
    end: Timestamp | None = None

    def state(self, now: Timestamp) -> StoreRestore:
        if self.storage_class not in ARCHIVE_CLASSES:
            return StoreRestore(RestoreStage.READABLE)
        if self.arrival is None or self.end is None or now >= self.end:
            return ARCHIVED
        return REQUESTED if now < self.arrival else StoreRestore(RestoreStage.READABLE, self.end)

    def request(self, now: Timestamp, speed: RestoreSpeed, days: int) -> bool:
        if speed not in ARCHIVE_CLASSES.get(self.storage_class, {}):
            return False
        stage = self.state(now).stage
        if stage is RestoreStage.ARCHIVED:
            self.arrival = later(now, ARCHIVE_CLASSES[self.storage_class][speed])
            self.end = later(self.arrival, Seconds(days * DAY))
        elif stage is RestoreStage.READABLE:
            self.end = max(self.end or now, later(now, Seconds(days * DAY)))
        return True


async def _compare_with_model(archive: Archive, data: st.DataObject) -> None:
    # The store outlives the example: each one has a prefix of its own.
    prefix = f"run{next(_RUNS)}/"
    model: dict[str, _Model] = {}
    async with archive.open() as store:
        for step in data.draw(st.lists(st.sampled_from(("put", "request", "request", "wait", "delete")), max_size=16)):
            key = prefix + data.draw(st.sampled_from(("a", "A", "b")))
            if step == "put" and key not in model:
                storage_class = data.draw(st.sampled_from((STANDARD, ORDINARY, *ARCHIVE_CLASSES)))
                await store.put(key, b"12345", {}, storage_class=storage_class)
                model[key] = _Model(storage_class)
            elif step == "delete":
                assert not await store.delete([key])
                model.pop(key, None)
            elif step == "wait":
                await archive.advance(data.draw(st.sampled_from([Seconds(n * HOUR) for n in (1, 5, 12, 24, 60)])))
            elif step == "request" and key in model:
                speed, days = data.draw(st.sampled_from(RestoreSpeed)), data.draw(st.integers(1, 4))
                refused = False
                try:
                    await store.request_restore(key, speed=speed, days=days)
                except ValueError:
                    refused = True
                assert refused != model[key].request(archive.now(), speed, days)
            for known, what in model.items():
                state = await store.restore_state(known)
                assert state == what.state(archive.now())
                readable = True
                try:
                    assert await store.fetch(known, 0, 5) == b"12345"
                except ObjectArchivedError:
                    readable = False
                assert readable == (state.stage is RestoreStage.READABLE)


async def _streamed(store: ObjectStore, key: str, start: int, end: int) -> bytes:
    async with aclosing(store.stream(key, start, end)) as stream:
        return b"".join([bytes(block) async for block in stream])


async def _listed(store: ObjectStore) -> list[str]:
    return [info.key async for page in store.list_pages("") for info in page]
