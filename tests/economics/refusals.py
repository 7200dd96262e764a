"""What refusing moves costs or saves: policies as they are, and with what production refuses, on a trace.

`python -m tests.economics.refusals TRACE s3.standard,s3.standard_ia,s3.glacier_ir` prints the table of decision 35.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from thermocline.adapters.traces.reading import read_trace
from thermocline.domain.heat import DAY_MICROS
from thermocline.domain.units import Timestamp
from thermocline.economics.bills import bill
from thermocline.economics.columns import Columns
from thermocline.economics.contents import NO_EXPIRY, Contents
from thermocline.economics.histories import History
from thermocline.economics.optimum import optimum
from thermocline.economics.paying import payment
from thermocline.economics.policies.policy import Decisions, Policy, Setting
from thermocline.economics.price_books import chosen, shipped
from thermocline.economics.replays import replay
from thermocline.economics.rules import RULES
from thermocline.economics.sheets import cost_sheet
from thermocline.economics.sizes import LogNormalSizes

SIZES = "lognormal:4MB:1.8:1"
HORIZON_DAYS, MINIMUM_STAY_DAYS = 90.0, 7
POLICIES = ("idle", "intelligent", "age", "velocity")


class Refusing(Policy):
    """A policy whose moves are refused as `economics.deciding` does."""

    def __init__(self, policy: Policy, setting: Setting, *, up_waits: bool = False, down_waits: bool = False) -> None:
        """`up_waits`: nothing comes back within the stay. `down_waits`: what did goes down only after that stay."""
        self._policy = policy
        self._sheet = setting.sheet
        self._origin = 10_000
        self._up_waits = up_waits
        self._down_waits = down_waits
        self._waits_until = np.full(len(setting.sheet.storage[0][0]), -(10**6))

    def decide(self, day: int, columns: Columns) -> Decisions:
        """Return the policy's decisions, but for what does not pay, or has not been there for long enough."""
        decided = self._policy.decide(day, columns)
        cached = np.ones(len(self._sheet.classes), np.bool_)
        paid = payment(
            self._contents(columns),
            self._sheet,
            decided.places,
            cached=cached,
            now=Timestamp((day + self._origin) * DAY_MICROS),
            horizon_days=HORIZON_DAYS,
        )
        per_gb = np.array([prices.value("storage") for prices in self._sheet.classes])
        goes_up = per_gb[decided.places] > per_gb[columns.places]
        stay = np.maximum(np.array(self._sheet.minimum_days)[columns.places], MINIMUM_STAY_DAYS)
        has_stayed = day - columns.since >= stay
        allowed = (paid.net > 0) & (has_stayed | (goes_up & (not self._up_waits)))
        if self._down_waits:
            allowed &= goes_up | (day >= self._waits_until)
            until = columns.since + np.array(self._sheet.minimum_days)[columns.places]
            self._waits_until = np.where(allowed & goes_up, until, self._waits_until)
        return Decisions(np.where(allowed, decided.places, columns.places).astype(np.int8), decided.reasons)

    def _contents(self, columns: Columns) -> Contents:
        count = len(columns.sizes)
        since, created, read = (
            (days.astype(np.int64) + self._origin) * DAY_MICROS
            for days in (columns.since, columns.first_day, columns.last_read)
        )
        no = np.zeros(count, np.bool_)
        return Contents(
            sizes=columns.sizes,
            tiers=np.zeros(count, np.int8),
            places=columns.places,
            tier_since=since,
            placed_since=since,
            created_at=created,
            written_at=created,
            expires_at=np.full(count, NO_EXPIRY),
            held=no,
            pinned=no,
            last_read_at=read,
            reads=columns.reads,
            rates=columns.rates,
            storage_reads=columns.reads,
            storage_days=columns.read_days.astype(np.int64),
            last_storage_day=columns.last_read.astype(np.int64) + self._origin,
            recent_storage_days=np.ones(count, np.int64),
            storage_visits=columns.visits.astype(np.int64),
            storage_rates=columns.rates,
        )


def ratios(history: History, classes: Sequence[str], name: str) -> list[float]:
    """Return a policy's cost to the optimum in the second half: as it is, refusing, and if up or down waits, too."""
    sheet, start = cost_sheet(chosen(shipped(), classes), history.sizes), history.split_day(0.5)
    setting = Setting(sheet.classes, sheet, history.before(start), start)
    least = optimum(history, sheet, start).total
    policies = (
        RULES[name](setting),
        Refusing(RULES[name](setting), setting),
        Refusing(RULES[name](setting), setting, up_waits=True),
        Refusing(RULES[name](setting), setting, down_waits=True),
    )
    return [bill(history, replay(history, policy, start).moves, sheet, start).total / least for policy in policies]


def main(path: Path, classes: Sequence[str]) -> None:
    trace = read_trace(path)
    history = trace.history.with_sizes(LogNormalSizes.parse(SIZES).draw(trace.object_ids))
    for name in POLICIES:
        told = " | ".join(f"{ratio:.4f}" for ratio in ratios(history, classes, name))
        sys.stdout.write(f"| `{name}` | {told} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2].split(","))
