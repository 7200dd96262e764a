"""First and last page taking turns, plain and filtered."""

import statistics
from pathlib import Path

from bench import processes, servers
from bench.figures import Limit, Row, Spread, Table
from bench.listing import million
from bench.listing.pages import LIMIT, Pages
from bench.plan import Plan

_BAR = Limit(1.2, at_least=False)
_GOAL = Limit(1.05, at_least=False)
_QUERIES: dict[str, dict[str, str]] = {
    "all": {},
    "a common tier": {"tier": million.COMMON_TIER},
    "a rare tier": {"tier": million.RARE_TIER},
    "a prefix": {"prefix": "users/09"},
    "a prefix and a tier": {"prefix": "users/09", "tier": million.COMMON_TIER},
}


def run(plan: Plan) -> Table:
    data = million.prepare(plan)
    with servers.thermocline(data) as server, Pages(server.url) as pages:
        rows = [_row(plan, server, pages, case, query) for case, query in _QUERIES.items()]
    return Table(
        name="listing",
        title=f"pages of {LIMIT} of {million.RECORDS} records over HTTP: the last full page against the first",
        rows=rows,
        notes=(f"{_size(data)} MiB of catalog.",),
    )


def _row(plan: Plan, server: servers.Server, pages: Pages, case: str, query: dict[str, str]) -> Row:
    plan.tell(f"{case}: walking to the last page")
    last, count = pages.last_full_page(query)
    first_ms: list[float] = []
    last_ms: list[float] = []
    repeats = 50 if plan.quick else 200
    for _ in range(repeats // 10):
        pages.read(query, None)
        pages.read(query, last)
    cpu_before = processes.cpu_seconds(server.pids)
    for number in range(plan.rounds):
        plan.tell(f"{case}: round {number + 1} of {plan.rounds}")
        pairs = [(pages.read(query, None).seconds, pages.read(query, last).seconds) for _ in range(repeats)]
        first_ms.append(statistics.median(pair[0] for pair in pairs) * 1e3)
        last_ms.append(statistics.median(pair[1] for pair in pairs) * 1e3)
    cpu = processes.cpu_seconds(server.pids) - cpu_before
    return Row(
        case=case,
        peer_name="its first page",
        unit="ms",
        peer=Spread.of(first_ms),
        ours=Spread.of(last_ms),
        compared=Spread.of_ratios(last_ms, first_ms),
        bar=_BAR,
        goal=_GOAL,
        details={"records": count, "CPU ms/page: server": cpu / (2 * repeats * plan.rounds) * 1e3},
    )


def _size(data: Path) -> int:
    return (data / "catalog.db").stat().st_size >> 20
