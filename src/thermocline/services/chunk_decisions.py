"""Decisions on chunks of the catalog: what shall be done with which content. Heavy to import; made when needed."""

from collections.abc import Collection, Sequence
from typing import Any, Final

import numpy as np
import pyarrow.compute
from numpy.typing import NDArray

from thermocline.domain.content_id import ContentId
from thermocline.domain.moves import MoveForecast, PlannedMove, TierChange
from thermocline.domain.units import Bytes, Timestamp, Usd
from thermocline.economics.contents import TIERS, Contents
from thermocline.economics.deciding import Decided, DecisionRules, Refusal, decide
from thermocline.economics.figures import DAYS_PER_MONTH
from thermocline.economics.latency import MS_PER_SECOND, read_latencies
from thermocline.economics.policies.policy import Reason
from thermocline.economics.price_books import unverified
from thermocline.economics.tier_rule import HORIZON_DAYS
from thermocline.ports.columns import ColumnChunk
from thermocline.services.content_columns import contents_of, end_of, just_before, revisions_of
from thermocline.services.copy_planning import CopyWish
from thermocline.services.optimization_reports import MOST_EXAMPLES, OptimizationReport, Transition

TIER_RULE: Final = "velocity"
"""The name of the rule for tiers that share a placement, in reasons."""


class Decider:
    """Decides by one set of rules."""

    def __init__(self, rules: DecisionRules, *, policy: str, note: str | None = None) -> None:
        self.rules = rules
        self.policy = policy
        self.note = note
        """Why it is not the policy that was asked for."""
        self._placements = [place.name for place in rules.places]

    def new_report(self, *, dry_run: bool) -> OptimizationReport:
        """Return an empty report."""
        priced = [self.rules.places[place].prices for place in self.rules.open_places]
        shaky = unverified([prices for prices in priced if prices is not None]) if len(priced) > 1 else []
        return OptimizationReport(
            self.policy,
            dry_run,
            self.rules.horizon_days,
            self.note,
            unverified=tuple(f"{each.class_name} {each.figure} {each.value:g} ({each.source})" for each in shaky),
            unpriced=tuple(place.name for place in self.rules.places if place.prices is None),
        )

    def bounds_of(self, prefix: str) -> tuple[str, str | None]:
        """Return between which ids those with the prefix lie."""
        return just_before(prefix), end_of(prefix)

    def contents_of(self, chunk: ColumnChunk) -> tuple[Any, Contents]:
        """Return ids and contents of a chunk."""
        return contents_of(chunk, self._placements)

    def decide(self, chunk: ColumnChunk, now: Timestamp, *, prefix: str = "") -> "ChunkDecisions":
        """Return what shall become of the contents of a chunk whose ids have the prefix."""
        ids, contents = self.contents_of(chunk)
        revisions = revisions_of(chunk)
        if prefix:
            (mine,) = np.nonzero(pyarrow.compute.starts_with(ids, prefix).to_numpy(zero_copy_only=False))
            ids, contents, revisions = ids.take(mine), contents.rows(mine), revisions[mine]
        return ChunkDecisions(self, ids, revisions, contents, decide(contents, self.rules, now), now)


class ChunkDecisions:
    """What shall become of the contents of one chunk. Rows count in the chunk."""

    def __init__(
        self,
        decider: Decider,
        ids: Any,
        revisions: NDArray[np.int64],
        contents: Contents,
        decided: Decided,
        now: Timestamp,
    ) -> None:
        self.contents = contents
        self.decided = decided
        self._decider = decider
        self._ids = ids
        self._revisions = revisions
        self._now = now

    def content_id(self, row: int) -> ContentId:
        """Return the id of a row."""
        return ContentId(self._ids[row].as_py())

    def copy_rows(self, most: int | None = None) -> list[int]:
        """Return what is to be copied, what saves most first; at most so many."""
        (rows,) = np.nonzero(self.decided.copies)
        best = rows[np.argsort(-self.decided.payment.net[rows], kind="stable")]
        return [int(row) for row in best[:most]]

    def in_place_rows(self, most: int | None = None, *, without_copies: Collection[int] | None = None) -> list[int]:
        """Return what changes its tier where it is, at most so many.

        Where a copy was to be made, only if it was not: `without_copies` are those that were. None: all were.
        """
        changes = self.decided.in_place != self.contents.tiers
        made = self.decided.copies.copy()
        if without_copies is not None:
            made[:] = False
            made[list(without_copies)] = True
        (rows,) = np.nonzero(changes & ~made)
        return [int(row) for row in rows[:most]]

    def copy_wishes(self, rows: Sequence[int]) -> list[CopyWish]:
        """Return the copies of these rows as wishes."""
        return [
            CopyWish(
                PlannedMove(
                    self.content_id(row), TIERS[self.decided.tiers[row]], self._reason(row), True, self._forecast(row)
                ),
                Bytes(int(self.contents.sizes[row])),
                Usd(float(self.decided.payment.cost[row])),
            )
            for row in rows
        ]

    def tier_changes(self, rows: Sequence[int]) -> list[TierChange]:
        """Return the changes in place of these rows."""
        places = self._decider.rules.places
        return [
            TierChange(
                self.content_id(row),
                int(self._revisions[row]),
                places[self.contents.places[row]].name,
                TIERS[self.contents.tiers[row]],
                TIERS[self.decided.in_place[row]],
                self._in_place_reason(row),
                True,
            )
            for row in rows
        ]

    def count_into(self, report: OptimizationReport) -> None:
        """Add what was examined and refused."""
        report.examined += len(self.contents)
        counts = np.bincount(self.decided.refusals, minlength=len(Refusal))
        for refusal in Refusal:
            if refusal is not Refusal.NONE and counts[refusal]:
                report.refused[refusal.name.lower()] += int(counts[refusal])
        report.reads_a_day += float(self.contents.rate(HORIZON_DAYS, self._now).sum())

    def count_transitions(self, report: OptimizationReport, copies: Sequence[int], in_place: Sequence[int]) -> None:
        """Add transitions: those that copy, and those that do not."""
        copied, changed = np.array(copies, np.int64), np.array(in_place, np.int64)
        payment = self.decided.payment
        report.copies += len(copied)
        report.in_place += len(changed)
        report.copied_bytes += int(self.contents.sizes[copied].sum())
        report.saving_usd_per_month += float(payment.saving_per_day[copied].sum()) * DAYS_PER_MONTH
        report.cost_usd += float(payment.cost[copied].sum())
        for rows, targets, reasons, rule in (
            (copied, self.decided.tiers, self.decided.reasons, self._decider.policy),
            (changed, self.decided.in_place, self.decided.in_place_reasons, TIER_RULE),
        ):
            self._count_by(report, rows, targets, reasons, rule)
        report.waited_ms += self._waited(copied, self.decided.tiers, self.decided.wished)
        report.waited_ms += self._waited(changed, self.decided.in_place, self.contents.places)
        room = max(MOST_EXAMPLES - len(report.examples), 0)
        report.examples += [self._transition(row, is_copy=True) for row in copies[:room]]
        room = max(MOST_EXAMPLES - len(report.examples), 0)
        report.examples += [self._transition(row, is_copy=False) for row in in_place[:room]]

    def _count_by(
        self,
        report: OptimizationReport,
        rows: NDArray[np.int64],
        targets: NDArray[np.int8],
        reasons: NDArray[np.int8],
        rule: str,
    ) -> None:
        pairs = self.contents.tiers[rows].astype(np.int64) * len(TIERS) + targets[rows]
        for pair, count in enumerate(np.bincount(pairs, minlength=len(TIERS) ** 2)):
            if count:
                source, target = divmod(pair, len(TIERS))
                report.by_tiers[TIERS[source].value, TIERS[target].value] += int(count)
        for reason, count in enumerate(np.bincount(reasons[rows], minlength=len(Reason))):
            if count:
                report.by_reason[_reason_text(rule, reason)] += int(count)

    def _waited(self, rows: NDArray[np.int64], tiers: NDArray[np.int8], places: NDArray[np.int8]) -> float:
        """Return by how much reads wait longer, times reads a day, summed over the rows."""
        if not len(rows):
            return 0.0
        moved = self.contents.rows(rows)
        waits = np.array(
            [0.0 if place.prices is None else place.prices.first_byte for place in self._decider.rules.places]
        )
        cached = self._decider.rules.is_cached
        before, after = (
            read_latencies(moved, tier, waits[place] * MS_PER_SECOND, is_cached=cached)
            for tier, place in ((moved.tiers, moved.places), (tiers[rows], places[rows]))
        )
        return float(((after - before) * moved.rate(HORIZON_DAYS, self._now)).sum())

    def _transition(self, row: int, *, is_copy: bool) -> Transition:
        places, payment = self._decider.rules.places, self.decided.payment
        target = self.decided.tiers[row] if is_copy else self.decided.in_place[row]
        place = self.decided.wished[row] if is_copy else self.contents.places[row]
        return Transition(
            self.content_id(row),
            TIERS[self.contents.tiers[row]].value,
            TIERS[target].value,
            places[self.contents.places[row]].name,
            places[place].name,
            Bytes(int(self.contents.sizes[row])),
            self._reason(row) if is_copy else self._in_place_reason(row),
            Usd(float(payment.saving_per_day[row]) * DAYS_PER_MONTH if is_copy else 0.0),
            Usd(float(payment.cost[row]) if is_copy else 0.0),
        )

    def _forecast(self, row: int) -> MoveForecast:
        payment = self.decided.payment
        return MoveForecast(Usd(float(payment.saving_per_day[row]) * DAYS_PER_MONTH), Usd(float(payment.cost[row])))

    def _reason(self, row: int) -> str:
        return _reason_text(self._decider.policy, int(self.decided.reasons[row]))

    def _in_place_reason(self, row: int) -> str:
        return _reason_text(TIER_RULE, int(self.decided.in_place_reasons[row]))


def _reason_text(rule: str, reason: int) -> str:
    """Return what the ledger says: `idle: silent`."""
    return f"{rule}: {Reason(reason).name.lower()}"
