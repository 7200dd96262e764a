"""Direct uploads on a store in memory: what becomes of a session whatever fails, whoever dies, however late it is."""

import asyncio
import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.machine import Machine, settle
from tests.services.moves import run
from thermocline import StorageOrchestrator, StorageTier
from thermocline.adapters.objects.memory import MemoryObjectStore
from thermocline.domain.content import Changes, StoredHeaders, Visibility
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import (
    ContentHeldError,
    ContentNotFoundError,
    ContentTooLargeError,
    DigestMismatchError,
    IntentLostError,
    InvalidInputError,
    InvalidMetadataError,
    PreconditionFailedError,
    StorageError,
    TruncatedBodyError,
)
from thermocline.domain.units import Bytes, Seconds, later
from thermocline.ports.object_store import STANDARD, Upload
from thermocline.ports.presigns import Presigns
from thermocline.services.direct_uploads import UploadSession
from thermocline.services.transferring import WriteRequest
from thermocline.testing.faults import FaultMode, Faults, ProcessDied

BODY = bytes(range(150))
"""Three parts."""
HOUR = 3600.0


class DirectMemoryStore(MemoryObjectStore, Presigns):
    """A memory store whose URLs are keys of a dictionary."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine.clock, part_size=Bytes(64), archive_classes={"GLACIER": {}})
        self.begun: dict[str, Upload] = {}
        self.sent: dict[str, bytes] = {}

    async def begin_direct_upload(
        self, key: str, attributes: Mapping[str, str], *, storage_class: str = STANDARD
    ) -> str:
        upload_id = f"u{len(self.begun)}"
        self.begun[upload_id] = await self.begin_upload(key, attributes, storage_class=storage_class)
        return upload_id

    async def part_urls(
        self,
        key: str,  # noqa: ARG002 - the port's
        upload_id: str,
        *,
        count: int,
        lives: Seconds,  # noqa: ARG002 - the port's
    ) -> list[str]:
        return [f"{upload_id}/{number}" for number in range(1, count + 1)]

    async def complete_direct_upload(self, key: str, upload_id: str, *, sizes: list[Bytes]) -> None:
        if key not in self._contents.uploads:
            head = await self.head(key)
            if head is None or head.size != sum(sizes):
                raise IntentLostError("gone")
            return
        parts = [self.sent.get(f"{upload_id}/{number}") for number in range(1, len(sizes) + 1)]
        if [None if part is None else len(part) for part in parts] != sizes:
            raise TruncatedBodyError("a part did not come")
        upload = self.begun[upload_id]
        for part in parts:
            await upload.write(part or b"")
        await upload.complete()

    async def download_url(
        self,
        key: str,
        *,
        lives: Seconds,  # noqa: ARG002 - the port's
        content_type: str | None = None,  # noqa: ARG002 - the port's
    ) -> str:
        return f"get/{key}"


def machine_of(folder: Path) -> tuple[Machine, DirectMemoryStore]:
    machine = Machine(folder)
    store = DirectMemoryStore(machine)
    machine.objects = store
    return machine, store


def request(tier: StorageTier = StorageTier.HOT, **more: object) -> WriteRequest:
    return WriteRequest(ContentId("a"), tier, **more)  # type: ignore[arg-type]


async def begin(store: StorageOrchestrator, size: int = len(BODY), **more: object) -> UploadSession:
    return await store.services.direct_uploads.begin(request(**more), size)  # type: ignore[arg-type]


def send(objects: DirectMemoryStore, session: UploadSession, body: bytes = BODY) -> None:
    start = 0
    for url, size in zip(session.urls, session.sizes, strict=True):
        objects.sent[url] = body[start : start + size]
        start += size


async def complete(store: StorageOrchestrator, session: UploadSession) -> int:
    return (await store.services.direct_uploads.complete(session.token)).revision


def test_what_was_sent_becomes_the_content_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine, objects = machine_of(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", b"before")
            session = await begin(store)
            assert (session.sizes, session.content_id) == ((64, 64, 22), "a")
            assert await store.retrieve_content("a") == b"before"
            send(objects, session)
            revisions = {await complete(store, session) for _ in range(3)}
            assert len(revisions) == 1
            assert await store.retrieve_content("a") == BODY
            await settle(store, machine.clock)
            stored, named, rows, intents = await machine.remains()
            assert (stored, rows, intents) == (named, 0, 0)

    run(scenario)


def test_a_session_that_nobody_completes_is_cleaned_up_in_time(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine, objects = machine_of(tmp_path)
        async with machine.process() as store:
            session = await begin(store)
            send(objects, session)
            machine.clock.advance(HOUR - 60)
            assert await store.services.cleaner.run() == 0, "it lives as long as its URLs"
            machine.clock.advance(61)
            await settle(store, machine.clock)
            assert await machine.remains() == (set(), set(), 0, 0)
            with pytest.raises(IntentLostError):
                await complete(store, session)
            with pytest.raises(ContentNotFoundError):
                await store.retrieve_content("a")

    run(scenario)


def test_a_part_may_come_late_and_costs_the_session_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine, objects = machine_of(tmp_path)
        async with machine.process() as store:
            session = await begin(store)
            with pytest.raises(TruncatedBodyError):
                await complete(store, session)
            machine.clock.advance(HOUR - 60)
            assert await store.services.cleaner.run() == 0, "asking too early has not shortened it"
            send(objects, session)
            await complete(store, session)
            assert await store.retrieve_content("a") == BODY

    run(scenario)


def test_other_bytes_than_announced_leave_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine, objects = machine_of(tmp_path)
        async with machine.process() as store:
            session = await begin(store, expected_sha256=bytes(32))
            send(objects, session)
            with pytest.raises(DigestMismatchError):
                await complete(store, session)
            assert await machine.remains() == (set(), set(), 0, 0)

    run(scenario)


def test_held_content_is_not_overwritten(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine, objects = machine_of(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", b"held")
            session = await begin(store)
            send(objects, session)
            await store.services.changing.change(ContentId("a"), Changes(held=True))
            with pytest.raises(ContentHeldError):
                await complete(store, session)
            assert await store.retrieve_content("a") == b"held"

    run(scenario)


def test_what_makes_no_session(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine, _ = machine_of(tmp_path)
        async with machine.process() as store:
            with pytest.raises(InvalidInputError, match="negative"):
                await begin(store, -1)
            with pytest.raises(ContentTooLargeError):
                await begin(store, 2**60)
            with pytest.raises(InvalidInputError, match="before a restore"):
                await begin(store, tier=StorageTier.ARCHIVE)
            assert await machine.remains() == (set(), set(), 0, 0)
        (tmp_path / "plain").mkdir()
        async with Machine(tmp_path / "plain").process() as store:
            with pytest.raises(InvalidInputError, match="gives out no URLs"):
                await begin(store)

    run(scenario)


def test_a_token_that_was_changed_commits_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine, objects = machine_of(tmp_path)
        async with machine.process() as store:
            session = await begin(store)
            send(objects, session)
            told = json.loads(base64.urlsafe_b64decode(session.token + "=="))
            installation, placement, _, token = told["object_key"].split("/")
            for change in (
                {"object_key": f"{installation}/{placement}/b/{token}"},
                {"object_key": f"{installation}/{placement}/a/{token[:-1]}0"},
                {"object_key": f"other/{placement}/a/{token}"},
                {"object_key": "x"},
                {"size": -1},
                {"size": 2**70},
                {"size": True},
                {"part_size": 0},
                {"tier": "tepid"},
                {"tier": "archive"},
                {"content_type": "a\nb"},
                {"sha256": "zz"},
                {"more": 1},
                {"metadata": ["x"]},
                {"metadata": {"x": "y" * 20_000}},
                {"cache_control": 1},
                {"content_disposition": "a\nb"},
                {"content_lives": 0},
                {"content_lives": True},
                {"content_lives": 2**70},
            ):
                forged = base64.urlsafe_b64encode(json.dumps({**told, **change}).encode()).decode().rstrip("=")
                with pytest.raises(StorageError):
                    await store.services.direct_uploads.complete(forged)
            assert await complete(store, session)
            assert await store.retrieve_content("a") == BODY

    run(scenario)


def test_a_session_remembers_all_that_a_put_can_say(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine, objects = machine_of(tmp_path)
        async with machine.process() as store:
            session = await store.begin_upload(
                "a", len(BODY), {"album": "pets", "deep": {"er": [1, None]}}, "cold",
                content_type="image/png", cache_control="max-age=60", content_disposition="attachment",
                visibility="public", expires_in=60.0, sha256=hashlib.sha256(BODY).digest(),
            )  # fmt: skip
            send(objects, session)
            machine.clock.advance(Seconds(600.0))
            receipt = await store.complete_upload(session.token)
            record = await store.stat("a")
            assert (receipt.revision, receipt.tier) == (record.revision, StorageTier.COLD)
            assert record.metadata == {"album": "pets", "deep": {"er": [1, None]}}
            assert record.headers == StoredHeaders("image/png", "max-age=60", "attachment")
            assert record.visibility is Visibility.PUBLIC
            # From the completion on, not from the beginning.
            assert record.expires_at == later(machine.clock.now(), Seconds(60.0))
            # The version before this one completes it, if it says no more than that one could.
            plain = await begin(store)
            told = json.loads(base64.urlsafe_b64decode(plain.token + "=="))
            assert set(told) == {
                "object_key", "upload_id", "size", "part_size", "tier", "content_type", "visibility", "expires_at",
                "sha256",
            }  # fmt: skip

    run(scenario)


def test_a_session_remembers_no_more_than_fits_a_url(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine, objects = machine_of(tmp_path)
        async with machine.process() as store:
            begun = await machine.remains()
            for size in (4096, 16_000):
                with pytest.raises(InvalidInputError, match=r"can remember 4096 bytes of its id, headers and metadata"):
                    await store.begin_upload("a", 1, {"x": "y" * size})
            with pytest.raises(InvalidMetadataError):
                await store.begin_upload("a", 1, {"x": "y" * 20_000})
            with pytest.raises(InvalidInputError, match="in the future"):
                await store.begin_upload("a", 1, expires_in=0.0)
            with pytest.raises(InvalidInputError, match="32 bytes"):
                await store.begin_upload("a", 1, sha256=b"x")
            assert await machine.remains() == begun
            session = await store.begin_upload("a", len(BODY), {"x": "y" * 3500})
            assert len(session.token) < 6000
            send(objects, session)
            await store.complete_upload(session.token)
            assert (await store.stat("a")).metadata == {"x": "y" * 3500}

    run(scenario)


def test_a_condition_is_looked_at_in_the_commit(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine, objects = machine_of(tmp_path)
        async with machine.process() as store:
            first, second, third = [await begin(store) for _ in range(3)]
            for session in (first, second, third):
                send(objects, session)
            receipt = await store.complete_upload(first.token, if_none_match="*")
            assert receipt.created
            # Repeated, its acknowledgement may have been lost: the content is its own.
            assert (await store.complete_upload(first.token, if_none_match="*")).revision == receipt.revision
            with pytest.raises(PreconditionFailedError):
                await store.complete_upload(second.token, if_none_match="*")
            with pytest.raises(IntentLostError):
                await store.complete_upload(second.token)
            assert (await store.stat("a")).revision == receipt.revision
            assert not (await store.complete_upload(third.token, if_match=receipt.etag)).created
            await settle(store, machine.clock)
            stored, named, rows, intents = await machine.remains()
            assert (stored, rows, intents) == (named, 0, 0)

    run(scenario)


def test_a_token_that_claims_a_longer_life_has_none(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine, _ = machine_of(tmp_path)
        async with machine.process() as store:
            session = await begin(store)
            told = json.loads(base64.urlsafe_b64decode(session.token + "=="))
            told["expires_at"] += round(1000 * HOUR * 1_000_000)
            forged = base64.urlsafe_b64encode(json.dumps(told).encode()).decode().rstrip("=")
            with pytest.raises(TruncatedBodyError):
                await store.services.direct_uploads.complete(forged)
            machine.clock.advance(store.services.settings.limits.presign_max + 1)
            for _ in range(3):
                await store.services.cleaner.run()
                machine.clock.advance(HOUR)
            assert await machine.remains() == (set(), set(), 0, 0)

    run(scenario)


async def _points(folder: Path) -> list[str]:
    machine, objects = machine_of(folder)
    faults = Faults()
    async with machine.process(faults) as store:
        faults.start()
        session = await begin(store)
        send(objects, session)
        await complete(store, session)
        await store.services.background.drain()
    return list(faults.points)


async def _strike(folder: Path, point: str, mode: FaultMode) -> bool:
    machine, objects = machine_of(folder)
    faults = Faults({point: mode})
    session: UploadSession | None = None
    acknowledged = False
    async with machine.process(faults) as store:
        faults.start()
        try:
            session = await begin(store)
            send(objects, session)
            await complete(store, session)
            acknowledged = True
            await store.services.background.drain()
        except (ProcessDied, asyncio.CancelledError, StorageError):
            pass
    async with machine.process() as store:
        if session is not None:
            await complete(store, session)  # whatever happened, the client tries again, and is told the truth
            assert await store.retrieve_content("a") == BODY
    await machine.recover()
    async with machine.process() as store:
        if session is not None or acknowledged:
            assert await store.retrieve_content("a") == BODY
    stored, named, rows, intents = await machine.remains()
    assert (stored, rows, intents) == (named, 0, 0), f"{point}, {mode}"
    return bool(faults.fired)


@pytest.mark.thorough
@pytest.mark.parametrize("mode", [FaultMode.BEFORE, FaultMode.AFTER, FaultMode.LOST, FaultMode.CANCELLED])
def test_a_session_survives_every_fault_at_every_call(tmp_path: Path, mode: FaultMode) -> None:
    (tmp_path / "plan").mkdir()
    points = asyncio.run(_points(tmp_path / "plan"))
    assert any("complete_direct_upload" in point for point in points)
    assert any("commit_write" in point for point in points)
    for number, point in enumerate(points):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert asyncio.run(_strike(folder, point, mode)), f"{point} was not struck"


def test_downloads_are_redirected_only_from_a_size_on_and_while_the_content_lives(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine, _ = machine_of(tmp_path)
        machine.settings = machine.settings.model_copy(
            update={"http": machine.settings.http.model_copy(update={"redirect_from": Bytes(100)})}
        )
        async with machine.process() as store:
            for name, body, tier, expires_in in (
                ("large", BODY, StorageTier.HOT, None),
                ("small", BODY[:99], StorageTier.HOT, None),
                ("archived", BODY, StorageTier.ARCHIVE, None),
                ("ending", BODY, StorageTier.HOT, 60.0),
            ):
                await store.store_content(name, body, initial_tier=tier, expires_in=expires_in)
            machine.clock.advance(59.5)
            urls = {
                name: await store.services.direct_downloads.url_for(await store.stat(name))
                for name in ("large", "small", "archived", "ending")
            }
            assert urls["large"] == f"get/{(await store.stat('large')).object_key}"
            assert [urls[name] for name in ("small", "archived", "ending")] == [None, None, None]

    run(scenario)
