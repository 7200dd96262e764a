"""A year of a store on real servers: what the policy plans is what happens, it pays as told, and nothing is lost.

100,000 contents with THERMOCLINE_SOAK=1, 10,000 otherwise. PostgreSQL holds the catalog; HOT, WARM and COLD lie in
two storage classes of Ceph's gateway, ARCHIVE on the server with Glacier semantics. Every fortnight of the year
contents are read, some are overwritten or deleted, one pass of the policy runs, and workers make what it planned.
Reads of what stays where it is are told to the tracker; every other read is one of the bytes.
"""

import asyncio
import hashlib
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
import uvloop

from tests.counts import SOAK
from tests.end_to_end.year_machine import ARCHIVE_DELAYS, DAY, RESTORE_SECONDS, YearMachine
from tests.machine import settle
from thermocline import ContentNotFoundError, StorageOrchestrator
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import ContentArchivedError
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Timestamp
from thermocline.domain.work import OutboxKind
from thermocline.economics.figures import ClassPrices
from thermocline.ports.records import Committed
from thermocline.services.bulk_writing import BulkItem
from thermocline.services.tracking import ReadKind
from thermocline.services.transferring import WriteRequest
from thermocline.testing.servers.ceph import CephServer
from thermocline.testing.servers.glacier import GlacierServer
from thermocline.testing.servers.postgres import PostgresServer
from thermocline.wiring.deciding import placement_prices

pytestmark = [pytest.mark.server, pytest.mark.thorough, pytest.mark.timeout(0 if SOAK else 900)]

CONTENTS = 100_000 if SOAK else 10_000
READ_BACK = CONTENTS if SOAK else 2_500
STEP_DAYS = 14
STEPS = 26
AT_ONCE = 16
BULK = 500
CHANGES = 2
"""Contents that are overwritten, and that are deleted, in each step."""
GB = 1e9
MONTH_DAYS = 30.4375
HORIZON_DAYS = 90
WARM, COLD, ARCHIVE = "warm", "cold", "archive"
Reads = Callable[[random.Random], set[int]]


def _steady(dice: random.Random) -> set[int]:
    """At least every second step: never silent for as long as the policy waits."""
    steps, at = set(), 0
    while at < STEPS:
        steps.add(at)
        at += dice.choice((1, 1, 2))
    return steps


def _fading(dice: random.Random) -> set[int]:
    return set(range(dice.randrange(4, 9)))


def _bursting(dice: random.Random) -> set[int]:
    begin = dice.randrange(9, 18)
    return set(range(begin, begin + dice.randrange(3, 7)))


def _seasonal(dice: random.Random) -> set[int]:
    return {*range(dice.randrange(2, 5)), *range(dice.randrange(9, 12), dice.randrange(16, 20))}


def _once(dice: random.Random) -> set[int]:
    return {dice.randrange(STEPS)}


SHAPES: Final[dict[str, tuple[float, Reads]]] = {
    "steady": (0.80, _steady),
    "silent": (0.06, lambda _: set()),
    "fading": (0.04, _fading),
    "bursting": (0.04, _bursting),
    "seasonal": (0.04, _seasonal),
    "once": (0.02, _once),
}
"""What part of the contents is read like this, and in which steps."""


@dataclass(slots=True)
class Content:
    """What the test knows of one content."""

    name: str
    shape: str
    steps: set[int]
    digest: bytes = b""
    storage_reads: list[Timestamp] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the ledger."""

    moved_at: int
    from_tier: str
    to_tier: str
    source: str
    target: str
    size: int
    reason: str
    saving: float | None
    cost: float | None


class Year:
    """A store through the year."""

    def __init__(self, machine: YearMachine, store: StorageOrchestrator, seed: int) -> None:
        self.machine = machine
        self.store = store
        self.dice = random.Random(seed)
        shapes = self.dice.choices(list(SHAPES), [share for share, _ in SHAPES.values()], k=CONTENTS)
        self.contents = {
            name: Content(name, shape, SHAPES[shape][1](self.dice))
            for name, shape in ((f"{number % 97:02}/{number:06}", shape) for number, shape in enumerate(shapes))
        }
        self.deleted: set[str] = set()
        self.planned = 0
        self.restored = 0
        self.begun_at = machine.clock.now()

    def body(self) -> bytes:
        return self.dice.randbytes(self.dice.randrange(200, 800))

    async def begin(self) -> None:
        """Store everything, as an import does: many share a transaction."""
        names = list(self.contents)
        for start in range(0, len(names), BULK):
            items = [
                BulkItem(WriteRequest(ContentId(name), StorageTier.WARM), self.body())
                for name in names[start : start + BULK]
            ]
            for item, answer in zip(items, await self.store.services.importing.storing.bulk.store(items), strict=True):
                assert isinstance(answer, Committed), answer
                self.contents[item.request.content_id].digest = hashlib.sha256(item.data).digest()

    async def live(self, step: int) -> None:
        """Let a fortnight pass, and do what is done then."""
        self.machine.pass_time(STEP_DAYS * DAY)
        services = self.store.services
        due = [content for content in self.contents.values() if step in content.steps]
        for content in due:
            if content.shape == "steady":
                services.tracker.note(content.name, ReadKind.STORAGE, 1)
                content.storage_reads.append(self.machine.clock.now())
        await self.read([content for content in due if content.shape != "steady"])
        await self.change()
        await services.tracking.flush()
        assert await services.optimizing.work() == len(self.contents)
        await self.make_planned()
        await self.deliver()

    async def read(self, contents: Collection[Content]) -> None:
        """Read the bytes of each; what is archived comes when it is restored."""
        archived = await self.read_now(contents)
        if not archived:
            return
        self.machine.pass_time(RESTORE_SECONDS + 1)
        while await self.store.services.restoring.run() + await self.store.services.moving.run():
            pass
        self.machine.pass_time(1)  # a read after the move, by the clock too
        assert await self.read_now(archived) == []
        self.restored += len(archived)

    async def read_now(self, contents: Iterable[Content]) -> list[Content]:
        """Read each; return which are archived."""
        archived: list[Content] = []

        async def one(content: Content) -> None:
            try:
                data = await self.store.retrieve_content(content.name)
            except ContentArchivedError:
                archived.append(content)
            else:
                assert hashlib.sha256(data).digest() == content.digest
                content.storage_reads.append(self.machine.clock.now())

        await each_of(contents, one)
        return archived

    async def change(self) -> None:
        """Overwrite some contents, and delete some; what is read then is what was acknowledged."""
        steady = [content for content in self.contents.values() if content.shape == "steady"]
        chosen = self.dice.sample(steady, 2 * CHANGES)
        for content in chosen[:CHANGES]:
            body = self.body()
            await self.store.store_content(content.name, body, initial_tier=WARM)
            content.digest = hashlib.sha256(body).digest()
            assert await self.read_now([content]) == []
        for content in chosen[CHANGES:]:
            assert await self.store.delete_content(content.name)
            with pytest.raises(ContentNotFoundError):
                await self.store.retrieve_content(content.name)
            del self.contents[content.name]
            self.deleted.add(content.name)

    async def make_planned(self) -> None:
        """Make the copies that are planned; each content is then where the plan said."""
        plans = {text(name): str(tier) for name, tier in await self.machine.query("SELECT content_id, tier FROM moves")}
        while await self.store.services.moving.run():
            pass
        tiers = await self.tiers()
        assert {name: tiers[name] for name in plans} == plans
        assert await self.machine.query("SELECT * FROM moves") == []
        self.planned += len(plans)

    async def deliver(self) -> None:
        for kind in OutboxKind:
            while await self.store.services.outbox.deliver(kind):
                pass

    async def tiers(self) -> dict[str, str]:
        rows = await self.machine.query("SELECT content_id, tier FROM contents WHERE deleted_at IS NULL")
        return {text(name): str(tier) for name, tier in rows}

    async def ledger(self) -> dict[str, list[Entry]]:
        """Return the moves of each content, oldest first."""
        rows = await self.machine.query(
            "SELECT content_id, moved_at, from_tier, to_tier, from_placement, to_placement, size, reason, "
            "saving_usd_per_month, cost_usd FROM ledger ORDER BY row_id"
        )
        entries: dict[str, list[Entry]] = {}
        for name, *values in rows:
            entries.setdefault(text(name), []).append(Entry(*values))  # type: ignore[arg-type]
        return entries


def test_a_year_of_moves_and_restores(tmp_path: Path, ceph: CephServer, postgres: PostgresServer) -> None:
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")  # noqa: T201 - repeats the year
    archive = GlacierServer(tmp_path / "archive", delays=ARCHIVE_DELAYS)
    archive.start()
    try:
        machine = YearMachine(tmp_path, ceph, archive, postgres, seed=seed)
        uvloop.run(_a_year(machine, seed))
        machine.discard()
    finally:
        archive.stop()


async def _a_year(machine: YearMachine, seed: int) -> None:
    try:
        async with machine.process() as store:
            year = Year(machine, store, seed)
            await year.begin()
            for step in range(STEPS):
                await year.live(step)
            entries = await year.ledger()
            tiers = await year.tiers()
            check_ways(year, entries, tiers)
            await check_savings(year, entries)
            await check_stored(year)
            machine.pass_time((machine.settings.restore.days + 1) * DAY)  # what was restored lately has ended
            await settle(store, machine.clock)
            await check_rest(year)
            await check_contents(year)
    finally:
        await machine.close()


def check_ways(year: Year, entries: dict[str, list[Entry]], tiers: dict[str, str]) -> None:
    """Each content went the way that its reads lead to, step by step, and each step once."""
    assert tiers.keys() == year.contents.keys()
    ways: Counter[tuple[str, str]] = Counter()
    for name, tier in tiers.items():
        moves = entries.get(name, [])
        at = WARM
        for move in moves:
            assert move.from_tier == at
            at = move.to_tier
            ways[move.from_tier, move.to_tier] += 1
        assert at == tier
        shape = year.contents[name].shape
        way = [(move.from_tier, move.to_tier) for move in moves]
        if shape == "steady":
            assert way == []
        elif shape == "silent":
            assert way == [(WARM, COLD), (COLD, ARCHIVE)]
        else:
            assert (WARM, COLD) in way
    assert min(ways[way] for way in ((WARM, COLD), (COLD, ARCHIVE), (ARCHIVE, WARM), (COLD, WARM))) > 0, ways
    assert ways[ARCHIVE, WARM] == year.restored
    assert ways.total() == year.planned + year.restored == year.store.services.moving.moved
    print(dict(ways))  # noqa: T201


async def check_savings(year: Year, entries: dict[str, list[Entry]]) -> None:
    """The report of savings is what prices, days and reads make of the ledger."""
    report = await year.store.services.saving.read()
    total = report.total()
    moves = [move for mine in entries.values() for move in mine]
    assert report.is_complete
    assert (total.moves, total.copies, total.unknown) == (len(moves), len(moves), year.restored)
    assert total.bytes == sum(move.size for move in moves)
    predicted = realised = cost = 0.0
    for name, mine in entries.items():
        since = year.begun_at
        for move, until in zip(mine, [*(each.moved_at for each in mine[1:]), report.as_of], strict=True):
            stayed, since = days_between(since, move.moved_at), Timestamp(move.moved_at)
            if move.saving is None or move.cost is None:
                assert move.reason == "restored"
                continue
            held = days_between(move.moved_at, until)
            reads = sum(move.moved_at < at <= until for at in year.contents[name].storage_reads)
            source, target = prices(year, move.source), prices(year, move.target)
            assert move.cost == pytest.approx(cost_of(source, target, move.size, stayed), rel=1e-6)
            if year.contents[name].shape == "silent":
                assert move.saving == pytest.approx(storage(source, move.size) - storage(target, move.size))
            predicted += move.saving * held / MONTH_DAYS - move.cost
            a_month = storage(source, move.size) - storage(target, move.size)
            realised += a_month * held / MONTH_DAYS - move.cost
            realised += reads * (read(source, move.size) - read(target, move.size))
            cost += move.cost
    assert total.predicted_usd == pytest.approx(predicted)
    assert total.realised_usd == pytest.approx(realised)
    assert total.cost_usd == pytest.approx(cost)
    assert realised > 0


def prices(year: Year, placement: str) -> ClassPrices:
    found = placement_prices(year.machine.settings, placement)
    assert found is not None
    return found


def storage(prices: ClassPrices, size: int) -> float:
    """USD a month."""
    return prices.value("storage") * size / GB


def read(prices: ClassPrices, size: int) -> float:
    return prices.value("retrieval") * size / GB + (prices.value("get") + prices.value("retrieval_request")) / 1000


def cost_of(source: ClassPrices, target: ClassPrices, size: int, stayed: float) -> float:
    """What a copy costs: writing, reading its source, and the rest of the stay that the source's class bills."""
    rest = max(source.minimum_days - stayed, 0.0) * storage(source, size) / MONTH_DAYS
    beyond = max(target.minimum_days - HORIZON_DAYS, 0) * storage(target, size) / MONTH_DAYS
    return target.transition / 1000 + read(source, size) + rest + beyond


async def check_stored(year: Year) -> None:
    """Before any sweep: what is stored is named by a record, or its deletion waits for the end of its grace."""
    rows = await year.machine.query(
        "SELECT object_key FROM contents WHERE deleted_at IS NULL "
        "UNION ALL SELECT subject FROM outbox WHERE kind = 'delete_object'"
    )
    assert year.machine.listed().keys() == {text(key) for (key,) in rows}


async def check_rest(year: Year) -> None:
    """Nothing is stored but what records name, where their placement says; no work is left; nothing was paid twice."""
    rows = await year.machine.query("SELECT object_key, placement FROM contents WHERE deleted_at IS NULL")
    assert year.machine.listed() == {text(key): placement for key, placement in rows}
    left = " UNION ALL ".join(f"SELECT count(*) FROM {table}" for table in ("intents", "outbox", "moves", "restores"))  # noqa: S608
    assert await year.machine.query(left) == [(0,)] * 4
    assert await year.machine.query("SELECT sum(requests) FROM restore_days") == [(year.restored,)]
    reads = await year.machine.query("SELECT content_id, storage_reads FROM contents WHERE deleted_at IS NULL")
    assert {text(name): count for name, count in reads} == {
        name: len(content.storage_reads) for name, content in year.contents.items()
    }


async def check_contents(year: Year) -> None:
    """Contents read back, archived ones restored: all in a soak, else some that are drawn."""
    everything = list(year.contents.values())
    await year.read(year.dice.sample(everything, min(READ_BACK, len(everything))))
    assert not [finding async for finding in year.store.check(read_bytes=False)]


def days_between(earlier: int, later: int) -> float:
    return (later - earlier) / 1e6 / DAY


def text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


async def each_of(contents: Iterable[Content], act: Callable[[Content], Awaitable[None]]) -> None:
    left: Iterator[Content] = iter(contents)

    async def some() -> None:
        for content in left:
            await act(content)

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
