"""Metadata-only moves in batches, through the catalog's port, against the bare SQL update of the same rows.

Both sides have the same table with the same rows and indexes, on the same file system, with write-ahead log and
synchronous=FULL, and commit once per batch. The peer only updates; ours also compares what the caller saw, writes a
ledger entry and an announcement for each content, and answers which moves were made.
"""

import asyncio
import os
import random
import shutil
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bench import processes
from bench.figures import Limit, Row, Spread, Table
from bench.plan import Plan
from thermocline.adapters.catalog.sql import SqlCatalog
from thermocline.domain.content import StoredHeaders, Visibility
from thermocline.domain.content_id import ContentId
from thermocline.domain.moves import TierChange
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Bytes, Seconds, Timestamp
from thermocline.ports.records import Write

_RECORDS = 100_000
_BATCH = 1000
_PLACEMENT = "standard"
_TEMPLATE = ContentId("template")
_NOW = Timestamp(1_767_225_600_000_000)
_BAR = Limit(0.5)
_GOAL = Limit(1.0)
_BUSY_PERCENT = 20.0
_BARE = (
    "UPDATE contents SET tier = ?, tier_since = ?, version = version + 1 "
    "WHERE content_id = ? AND revision = ? AND tier = ?"
)

_Contents = Sequence[tuple[ContentId, int]]
"""Ids and revisions."""
_Side = Callable[[StorageTier, StorageTier], float]
"""Moves the contents from one tier to another; returns how many seconds that took."""


@dataclass(frozen=True)
class _Turn:
    per_second: float
    cpu_us: float
    others_percent: float


def run(plan: Plan) -> Table:
    catalog = plan.scratch / "catalog.db"
    with asyncio.Runner() as runner:
        plan.tell("making the records")
        runner.run(_store_template(_url(catalog)))
        contents = _multiply(catalog)
        moved = (4 if plan.quick else 20) * _BATCH
        in_order = sorted(contents)[:moved]
        at_random = random.Random(0).sample(contents, moved)
        rows = [
            _row(plan, runner, case, some, catalog)
            for case, some in (("in order of their ids", in_order), ("at random", at_random))
        ]
    return Table(
        name="tier_moves",
        title=f"metadata-only moves, {_BATCH} a batch, of {_RECORDS} contents: the catalog's port against bare SQL",
        rows=rows,
        notes=("Peer: UPDATE by executemany on the same table (WAL, FULL), no ledger, no announcement, no answer.",),
    )


def _row(plan: Plan, runner: asyncio.Runner, case: str, contents: _Contents, catalog: Path) -> Row:
    copy = catalog.with_name("copy.db")
    our_turns: list[_Turn] = []
    peer_turns: list[_Turn] = []
    for number in range(plan.rounds):
        plan.tell(f"{case}: round {number + 1} of {plan.rounds}")
        sides: tuple[tuple[list[_Turn], _Side], ...] = (
            (peer_turns, lambda *way: _update(copy, contents, *way)),
            (our_turns, lambda *way: runner.run(_change(_url(copy), contents, *way))),
        )
        for turns, side in sides if number % 2 else reversed(sides):
            shutil.copyfile(catalog, copy)
            turns.append(_measured(side, len(contents)))
    return Row(
        case=case,
        peer_name="bare UPDATE",
        unit="moves/s",
        peer=Spread.of([turn.per_second for turn in peer_turns]),
        ours=Spread.of([turn.per_second for turn in our_turns]),
        compared=Spread.of_ratios([turn.per_second for turn in our_turns], [turn.per_second for turn in peer_turns]),
        bar=_BAR,
        goal=_GOAL,
        details={
            "CPU us/move: peer": statistics.median(turn.cpu_us for turn in peer_turns),
            "ours": statistics.median(turn.cpu_us for turn in our_turns),
            "other programs %": statistics.median(turn.others_percent for turn in our_turns),
        },
        is_doubtful=statistics.median(turn.others_percent for turn in (*our_turns, *peer_turns)) > _BUSY_PERCENT,
    )


def _measured(side: _Side, contents: int) -> _Turn:
    """Move all contents there and back."""
    # What was written before must not slow this.
    os.sync()
    machine, cpu = processes.MachineTime.now(), time.process_time()
    seconds = side(StorageTier.WARM, StorageTier.COLD) + side(StorageTier.COLD, StorageTier.WARM)
    cpu = time.process_time() - cpu
    machine = processes.MachineTime.now() - machine
    moves = 2 * contents
    return _Turn(moves / seconds, cpu / moves * 1e6, 100 * max(machine.busy - cpu, 0) / machine.total)


def _update(path: Path, contents: _Contents, from_tier: StorageTier, to_tier: StorageTier) -> float:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "cache_size = -16384"):
            connection.execute(f"PRAGMA {pragma}")
        began = time.perf_counter()
        for batch in _batches(contents):
            connection.execute("BEGIN IMMEDIATE")
            changed = connection.executemany(
                _BARE, [(to_tier.value, _NOW, content_id, revision, from_tier.value) for content_id, revision in batch]
            ).rowcount
            connection.execute("COMMIT")
            _check(changed, batch)
        return time.perf_counter() - began


async def _change(url: str, contents: _Contents, from_tier: StorageTier, to_tier: StorageTier) -> float:
    async with await SqlCatalog.open(url) as catalog:
        began = time.perf_counter()
        for batch in _batches(contents):
            changes = [
                TierChange(content_id, revision, _PLACEMENT, from_tier, to_tier, "rarely read", by_policy=True)
                for content_id, revision in batch
            ]
            made = await catalog.moves.change_tiers(changes, now=_NOW, evict_at=_NOW)
            _check(len(made), batch)
        return time.perf_counter() - began


def _batches(contents: _Contents) -> Iterator[_Contents]:
    for start in range(0, len(contents), _BATCH):
        yield contents[start : start + _BATCH]


def _check(changed: int, batch: _Contents) -> None:
    if changed != len(batch):
        raise RuntimeError(f"{changed} of {len(batch)} contents were changed")


def _url(path: Path) -> str:
    return f"sqlite:///{path.absolute()}"


async def _store_template(url: str) -> None:
    """Make a catalog and store one content in it."""
    async with await SqlCatalog.open(url) as catalog:
        write = Write(
            content_id=_TEMPLATE,
            placement=_PLACEMENT,
            object_key=f"home/{_PLACEMENT}/{_TEMPLATE}/{'0' * 26}",
            digest=bytes(32),
            chunk_digests=bytes(16),
            size=Bytes(1000),
            headers=StoredHeaders("image/jpeg"),
            metadata={"album": "pets"},
            tier=StorageTier.WARM,
            visibility=Visibility.PRIVATE,
            expires_at=None,
        )
        await catalog.intents.declare(write.object_key, write.placement, lease=Seconds(60.0))
        await catalog.records.commit_write(write, now=_NOW, delete_at=_NOW, evict_at=_NOW)


def _multiply(path: Path) -> _Contents:
    """Copy the row of the template under other ids, whatever columns it has."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        template = dict(connection.execute("SELECT * FROM contents").fetchone())
        names, places = ", ".join(f'"{name}"' for name in template), ", ".join("?" * len(template))
        # In random order, as contents come in, so that no index is packed by chance.
        numbers = random.Random(0).sample(range(_RECORDS), _RECORDS)
        contents = [
            (ContentId(f"users/{number % 1000:04}/photo-{number:07}.jpg"), template["revision"] + number)
            for number in numbers
        ]
        connection.execute("BEGIN")
        connection.executemany(
            f"INSERT INTO contents ({names}) VALUES ({places})",  # noqa: S608 - names from the schema
            (
                tuple((template | _identity(template, content_id, revision)).values())
                for content_id, revision in contents
            ),
        )
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return contents


def _identity(template: Mapping[str, object], content_id: ContentId, revision: int) -> dict[str, object]:
    object_key = str(template["object_key"]).replace(_TEMPLATE, content_id)
    return {"content_id": content_id, "revision": revision, "version": revision, "object_key": object_key}
