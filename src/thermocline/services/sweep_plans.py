"""The state of a sweep that several workers share: one plan for a placement, one row for each of its shares.

All of it is in cursors. Each row carries the token of its sweep, so what a worker that slept writes into the next one
counts for nothing there; what it writes into its own is a state that the share was in, and some work is repeated.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from thermocline.domain.units import Timestamp
from thermocline.domain.work import Cursor

ALWAYS_ALLOWED = 10
"""A share of a nearly empty store is less than one object: this many orphans never stop a sweep."""


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What a sweep of one placement found."""

    placement: str
    listed: int
    unnamed: int
    """Objects older than the grace that nothing names and that are not yet in quarantine."""
    quarantined: int
    refused: str | None
    """Why nothing was quarantined, or nothing more, and what to do."""


def refusal(listed: int, unnamed: int, max_share: float) -> str | None:
    """Return why a sweep of a whole placement may not take what nothing names there; None: it may."""
    allowed = max(ALWAYS_ALLOWED, int(listed * max_share))
    if unnamed <= allowed:
        return None
    return (
        f"{unnamed} of {listed} objects are named by nothing, more than the {allowed} that a sweep may take "
        "unasked; if the catalog is not an old backup, run 'thermocline fsck --sweep --confirm'"
    )


class Phase(StrEnum):
    """What is done with each share."""

    LOOKING = "looking"
    """It is listed, and what nothing names is counted."""
    TAKING = "taking"
    """The whole was judged: what nothing names is listed again, asked for again, and put into quarantine."""


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """A sweep of one placement."""

    token: str
    begun_at: Timestamp
    oldest_kept: Timestamp
    """What is not older, by the store's time, is left alone."""
    confirmed: bool
    """Whether somebody allowed it to take any share."""
    bounds: tuple[str, ...]
    """The keys at which one share ends and the next begins."""
    phase: Phase = Phase.LOOKING
    ended_at: Timestamp | None = None
    listed: int = 0
    unnamed: int = 0
    quarantined: int = 0
    refused: str | None = None

    @property
    def shares(self) -> int:
        """How many there are."""
        return len(self.bounds) + 1

    def range_of(self, number: int) -> tuple[str, str | None]:
        """Return the keys between which a share lies: above the first, up to the second."""
        after = self.bounds[number - 1] if number else ""
        return after, self.bounds[number] if number < len(self.bounds) else None

    def report(self, placement: str) -> SweepReport:
        """Return what it found."""
        return SweepReport(placement, self.listed, self.unnamed, self.quarantined, self.refused)

    def as_cursor(self) -> Cursor:
        """Return what is kept."""
        told = {
            "token": self.token,
            "oldest_kept": self.oldest_kept,
            "confirmed": self.confirmed,
            "bounds": self.bounds,
            "phase": self.phase,
            "refused": self.refused,
        }
        return Cursor(json.dumps(told), self.begun_at, self.ended_at, self.listed, self.unnamed, self.quarantined)

    @classmethod
    def of(cls, cursor: Cursor) -> "SweepPlan":
        """Return what a cursor keeps."""
        told = json.loads(cursor.position)
        return cls(
            token=told["token"],
            begun_at=cursor.begun_at,
            oldest_kept=Timestamp(told["oldest_kept"]),
            confirmed=told["confirmed"],
            bounds=tuple(told["bounds"]),
            phase=Phase(told["phase"]),
            ended_at=cursor.ended_at,
            listed=cursor.done,
            unnamed=cursor.skipped,
            quarantined=cursor.findings,
            refused=told["refused"],
        )


@dataclass(frozen=True, slots=True)
class SweepShare:
    """How far one share of a sweep has come."""

    token: str
    number: int
    begun_at: Timestamp
    phase: Phase = Phase.LOOKING
    after: str = ""
    """The last key that is done with, in this phase; empty: none."""
    ended_at: Timestamp | None = None
    """When this phase of it ended."""
    listed: int = 0
    unnamed: int = 0
    quarantined: int = 0

    def is_done(self, phase: Phase) -> bool:
        """Whether nothing of this phase is left. Where nothing was found, nothing is to be taken."""
        looked = self.phase is Phase.TAKING or self.ended_at is not None
        if phase is Phase.LOOKING:
            return looked
        return looked and (self.unnamed == 0 or (self.phase is Phase.TAKING and self.ended_at is not None))

    @property
    def most(self) -> int:
        """What it may put into quarantine unasked: what was counted and judged, and a few."""
        return self.unnamed + ALWAYS_ALLOWED

    def as_cursor(self) -> Cursor:
        """Return what is kept."""
        told = json.dumps([self.token, self.phase, self.after])
        return Cursor(told, self.begun_at, self.ended_at, self.listed, self.unnamed, self.quarantined)

    @classmethod
    def of(cls, cursor: Cursor | None, plan: SweepPlan, number: int) -> "SweepShare":
        """Return what a cursor keeps; one of another sweep, or none: nothing was done yet."""
        token, phase, after = json.loads(cursor.position) if cursor else ("", Phase.LOOKING, "")
        if cursor is None or token != plan.token:
            return cls(plan.token, number, plan.begun_at)
        return cls(
            token=token,
            number=number,
            begun_at=cursor.begun_at,
            phase=Phase(phase),
            after=after,
            ended_at=cursor.ended_at,
            listed=cursor.done,
            unnamed=cursor.skipped,
            quarantined=cursor.findings,
        )


def judged(plan: SweepPlan, shares: Mapping[int, SweepShare], *, max_share: float, now: Timestamp) -> SweepPlan:
    """Return what follows once every share is through with the phase: the next phase, or the end.

    The limit is one on all shares together: of a few objects, a single one would be a large part.
    """
    listed = sum(share.listed for share in shares.values())
    unnamed = sum(share.unnamed for share in shares.values())
    quarantined = sum(share.quarantined for share in shares.values())
    refused = None
    if plan.phase is Phase.LOOKING and not plan.confirmed:
        refused = refusal(listed, unnamed, max_share)
    goes_on = plan.phase is Phase.LOOKING and unnamed > 0 and refused is None
    return SweepPlan(
        token=plan.token,
        begun_at=plan.begun_at,
        oldest_kept=plan.oldest_kept,
        confirmed=plan.confirmed,
        bounds=plan.bounds,
        phase=Phase.TAKING if goes_on else plan.phase,
        ended_at=None if goes_on else now,
        listed=listed,
        unnamed=unnamed,
        quarantined=quarantined,
        refused=refused,
    )
