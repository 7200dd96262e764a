"""Restores: one row per archived object that somebody wants to read, however many ask."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from thermocline.domain.content_id import ContentId
from thermocline.domain.restores import RestoreSpeed, RestoreStatus
from thermocline.domain.units import Bytes, Seconds, Timestamp, Usd


@dataclass(frozen=True, slots=True)
class WantedRestore:
    """A restore that somebody asks for."""

    object_key: str
    content_id: ContentId
    placement: str
    speed: RestoreSpeed
    days: int
    size: Bytes
    cost: Usd
    eta: Timestamp


@dataclass(frozen=True, slots=True)
class ClaimedRestore:
    """A restore that this process sends or looks after; changing it requires `lease_token`."""

    object_key: str
    content_id: ContentId
    placement: str
    speed: RestoreSpeed
    days: int
    sent: bool
    """Whether the store has confirmed the request."""
    requested_at: Timestamp
    eta: Timestamp
    readable_until: Timestamp | None
    attempts: int
    """How often it was claimed since its last progress, this time included."""
    lease_token: str


@dataclass(frozen=True, slots=True)
class Requested:
    """What asking for a restore led to."""

    status: RestoreStatus
    claim: ClaimedRestore | None
    """The caller's own, if its request is the first: it sends it to the store. None if another's is under way."""
    charged: Usd
    """To today's budget, by this request."""


@dataclass(frozen=True, slots=True)
class RestoresState:
    """How much restoring is under way."""

    requested: int
    readable: int
    failing: int
    """Restores whose last attempt failed."""
    spent_today: Usd


class Restores(Protocol):
    """Restores by object key, with claims on the database's clock; money by UTC day."""

    @abstractmethod
    async def request(
        self, wanted: WantedRestore, *, now: Timestamp, lease: Seconds, daily_budget: Usd | None
    ) -> Requested | None:
        """Ask for a restore, in one transaction with its charge to today's budget; None if the record moved on.

        It moved on if it names another object, or has expired. One that is under way (a longer stay too, until it
        was sent), or readable for as long, but for an hour, is returned as it is and costs nothing. Making a
        readable copy stay longer costs nothing either: its bytes were retrieved already. Raises
        `RestoreBudgetError` if the charge would exceed the budget: then nothing was changed.
        """

    @abstractmethod
    async def claim(
        self, *, now: Timestamp, lease: Seconds, limit: int, object_key: str | None = None
    ) -> Sequence[ClaimedRestore]:
        """Lease restores that are to be looked after at `now`; of `object_key` only, due or not, if it is given."""

    @abstractmethod
    async def progress(
        self, claim: ClaimedRestore, *, eta: Timestamp, readable_until: Timestamp | None, check_at: Timestamp
    ) -> None:
        """Note what the store said and give the claim back, to be looked after again at `check_at`.

        The request counts as sent, and attempts are counted anew. This, `postpone` and `drop` have no effect once
        the claim was lost.
        """

    @abstractmethod
    async def postpone(self, claim: ClaimedRestore, *, check_at: Timestamp, reason: str) -> None:
        """Give the claim back after a failure."""

    @abstractmethod
    async def drop(self, claim: ClaimedRestore) -> None:
        """Forget the restore: it is over, or its object is gone."""

    @abstractmethod
    async def find(self, object_key: str, *, now: Timestamp) -> RestoreStatus | None:
        """Return the state of a restore at `now`, or None; one that is over is archived again."""

    @abstractmethod
    async def state(self, *, now: Timestamp) -> RestoresState:
        """Return how much is under way, and what was spent on the day of `now`."""
