"""Flushes taking turns with the peer's, and reads that are counted with reads that are not."""

import asyncio
import random
import shutil
import time
from pathlib import Path

from bench.figures import Limit, Row, Spread, Table
from bench.plan import Plan
from bench.tracker import contents
from bench.tracker.bare import BareUpsert
from bench.tracker.reads import seconds_per_read
from thermocline.adapters.catalog.sql import SqlCatalog
from thermocline.adapters.clock import SystemClock
from thermocline.domain.units import Seconds
from thermocline.services.tracking import AccessFlush, AccessTracker, ReadKind

_FLUSH_BAR = Limit(0.8)
_READ_BAR = Limit(1.0, at_least=False)
_FLUSHED = 5000
_FLUSHES_OF_A_ROUND = 4
_NOT_BY_ITSELF = Seconds(3600.0)
_PEER = (
    "The peer is sqlite3 on a copy of the same catalog (write-ahead log, synchronous=FULL, the same page cache): "
    "in one transaction it adds to the summary columns of each content by executemany(UPDATE), and to its day by "
    "executemany(INSERT ... ON CONFLICT DO UPDATE), sorted by id. It does not look whether the contents are still "
    "there, nor hand anything between threads."
)


def run(plan: Plan) -> Table:
    return Table(
        name="tracker",
        title=f"flushes of {_FLUSHED} of {contents.COUNT} contents, and reads from memory with and without counting",
        rows=[asyncio.run(_flush_row(plan)), asyncio.run(_read_row(plan))],
        notes=(_PEER, "A flush begins with the counts in memory and ends when they are durable."),
    )


async def _flush_row(plan: Plan) -> Row:
    plan.tell(f"making {contents.COUNT} contents")
    ours, theirs = plan.scratch / "ours.db", plan.scratch / "theirs.db"
    ids = await contents.fill(ours)
    shutil.copy(ours, theirs)
    dice = random.Random(0)
    rates: list[float] = []
    peer_rates: list[float] = []
    async with await SqlCatalog.open(f"sqlite:///{ours}") as catalog:
        clock = SystemClock()
        flush = AccessFlush(AccessTracker(_FLUSHED), catalog.accesses, clock, every=_NOT_BY_ITSELF, days=400)
        with BareUpsert(theirs) as peer:
            for number in range(plan.rounds + 1):
                plan.tell(f"flushes: round {number} of {plan.rounds}")
                chosen = [dice.sample(ids, _FLUSHED) for _ in range(_FLUSHES_OF_A_ROUND)]
                turns = [0.0, 0.0]
                for batch in chosen:
                    turns[1] += peer.add([(content_id, 2, 1, 0) for content_id in batch])
                    turns[0] += await _flush(flush, batch)
                if number:  # the first round warms up
                    rates.append(_FLUSHED * len(chosen) / turns[0])
                    peer_rates.append(_FLUSHED * len(chosen) / turns[1])
    _check_same(ours, theirs)
    return Row(
        case=f"flush of {_FLUSHED}",
        peer_name="sqlite3, executemany",
        unit="contents/s",
        peer=Spread.of(peer_rates),
        ours=Spread.of(rates),
        compared=Spread.of_ratios(rates, peer_rates),
        bar=_FLUSH_BAR,
        details={
            "ms/flush: peer": _FLUSHED / Spread.of(peer_rates).median * 1e3,
            "ours": _FLUSHED / Spread.of(rates).median * 1e3,
        },
    )


async def _flush(flush: AccessFlush, content_ids: list[str]) -> float:
    for content_id in content_ids:
        for kind in (ReadKind.MEMORY, ReadKind.MEMORY, ReadKind.STORAGE):
            flush.tracker.note(content_id, kind)
    began = time.perf_counter()
    if not await flush.flush():
        raise RuntimeError(f"a flush failed: {flush.last_error}")
    return time.perf_counter() - began


def _check_same(ours: Path, theirs: Path) -> None:
    if contents.sums(ours) != contents.sums(theirs):
        raise RuntimeError("ours and the peer did not add the same")


async def _read_row(plan: Plan) -> Row:
    counted: list[float] = []
    bare: list[float] = []
    async for number, with_counting, without in seconds_per_read(plan):
        plan.tell(f"reads: round {number} of {plan.rounds}")
        counted.append(with_counting * 1e6)
        bare.append(without * 1e6)
    return Row(
        case="counting a read",
        peer_name="not counted",
        unit="us/read",
        peer=Spread.of(bare),
        ours=Spread.of(counted),
        compared=Spread.of([mine - other for mine, other in zip(counted, bare, strict=True)]),
        compared_unit="us more",
        bar=_READ_BAR,
    )
