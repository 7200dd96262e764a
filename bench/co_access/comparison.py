"""Prediction on every trace here, judged and replayed."""

from collections.abc import Callable, Sequence
from pathlib import Path

from bench.co_access.judging import judge
from bench.co_access.replay import replay
from bench.co_access.traces import FOLDER, Read, load
from bench.figures import Limit, Row, Spread, Table
from bench.plan import Plan
from thermocline.wiring.logs import silence_logs

BARS = {"online_retail_374d": (0.19, 0.54)}
"""What a public simple method reaches there: counting all pairs, n / (popularity + 5)."""
SHARES = (0.01, 0.1)


def run(plan: Plan) -> Table:
    return table_of(sorted(FOLDER.glob("*.csv.zst")), plan.tell, quick=plan.quick)


def table_of(paths: Sequence[Path], tell: Callable[[str], None], *, quick: bool = False) -> Table:
    silence_logs()  # that prefetching was switched off is counted
    rows: list[Row] = []
    for path in paths:
        name = path.name.partition(".")[0]
        tell(f"judging {name}")
        reads = load(path)
        rows += _judged(name, reads)
        if not quick:
            for share in SHARES:
                tell(f"replaying {name} at {share:.0%}")
                rows.append(_replayed(name, reads, share))
    return Table(
        name="co_access",
        title="what is read next: predicted, and fetched ahead",
        rows=rows,
        notes=(
            "Judged: learned from the first 80% of sessions, frozen, asked for each content of each later session;",
            "right is what else that session reads; averaged within sessions, then over sessions. Peer: popularity.",
            "Replayed: hit ratio of an LRU cache of a share of all bytes (of contents, where there are no sizes),",
            "after the first fifth; peer: without fetching ahead. Predictor, judge and rule with default settings.",
        ),
    )


def _judged(name: str, reads: list[Read]) -> list[Row]:
    ours, popularity = judge(reads)
    bars = BARS.get(name, (None, None))
    figures = (
        ("precision@5", ours.precision, popularity.precision, ours.precision_later, bars[0]),
        ("hit@5", ours.hit, popularity.hit, ours.hit_later, bars[1]),
    )
    return [
        Row(
            case=f"{name} {what}",
            peer_name="popularity",
            unit="share",
            peer=_single(peer),
            ours=_single(mine),
            compared=_single(mine),
            compared_unit="",
            bar=None if bar is None else Limit(bar),
            details={"later only": later, "sessions": float(ours.sessions)},
        )
        for what, mine, peer, later, bar in figures
    ]


def _replayed(name: str, reads: list[Read], share: float) -> Row:
    capacity = max(int(sum({read.content_id: read.size for read in reads}.values()) * share), 1)
    without, ahead = replay(reads, capacity, ahead=False), replay(reads, capacity, ahead=True)
    judged = max(ahead.fetched, 1)
    return Row(
        case=f"{name} hit ratio at {share:.0%}",
        peer_name="no prefetch",
        unit="share",
        peer=_single(without.hit_ratio),
        ours=_single(ahead.hit_ratio),
        compared=_single(ahead.hit_ratio - without.hit_ratio),
        compared_unit="more",
        details={
            "fetched": float(ahead.fetched),
            "used share": ahead.used / judged,
            "wasted bytes share": ahead.wasted_bytes / max(ahead.fetched_bytes, 1),
            "switched off": float(ahead.switched_off),
        },
    )


def _single(value: float) -> Spread:
    return Spread(value, value, value)
