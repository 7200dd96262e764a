"""`bench.hot_get` as one of the suite: the same figures in the suite's table."""

from bench.figures import Limit, Row, Spread, Table
from bench.hot_get import compare
from bench.hot_get.peers import ROSTER, SIZES
from bench.plan import Plan

_BARS = {1024: Limit(0.7), 64 * 1024: Limit(0.6), 1024 * 1024: Limit(0.8)}
_GOAL = Limit(1.0)
_PEER = "nginx"


def run(plan: Plan) -> Table:
    plan.tell(f"{plan.rounds} rounds of {len(ROSTER)} servers at {len(SIZES)} sizes")
    found = compare(
        ROSTER,
        is_yardstick=lambda name: name.startswith(_PEER),
        rounds=plan.rounds,
        seconds=plan.seconds,
        sizes=SIZES,
    )
    rows: list[Row] = []
    for size in SIZES:
        of_size = [row for row in found if row.size_bytes == size]
        best = max((row for row in of_size if row.peer.startswith(_PEER)), key=lambda row: row.requests_per_second)
        rows += [
            Row(
                case=f"{size // 1024} KiB, {row.peer}",
                peer_name=best.peer,
                unit="req/s",
                peer=_point(best.requests_per_second),
                ours=_point(row.requests_per_second),
                compared=Spread(row.ratio, row.ratio_low, row.ratio_high),
                bar=_BARS[size],
                goal=_GOAL,
                details={
                    "CPU us/request: peer": best.cpu_microseconds_per_request,
                    "server": row.cpu_microseconds_per_request,
                },
            )
            for row in of_size
            if not row.peer.startswith(_PEER)
        ]
    return Table(name="hot_get", title="GET of one hot content from memory, against nginx serving a file", rows=rows)


def _point(value: float) -> Spread:
    return Spread(value, value, value)
