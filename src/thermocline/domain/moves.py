"""Moves: changes of a content's tier. A copying move changes its placement too."""

from dataclasses import dataclass
from typing import Final

from thermocline.domain.content_id import ContentId
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Bytes, Timestamp, Usd, format_moment

BY_USER = "asked for"
"""The reason of a move that somebody asked for without giving one."""


GIVEN_UP: Final = Timestamp(2**62)
"""When a plan is due that failed too often: never, until somebody asks again."""


@dataclass(frozen=True, slots=True)
class MoveForecast:
    """What a policy expected of a move when it decided."""

    saving_usd_per_month: Usd
    """By storing and reading it in the new place instead of the old one; what the move costs is not in it."""
    cost_usd: Usd
    """Of the move itself, once."""

    def as_dict(self) -> dict[str, object]:
        """Return the forecast as JSON-ready values."""
        return {"saving_usd_per_month": self.saving_usd_per_month, "cost_usd": self.cost_usd}


@dataclass(frozen=True, slots=True)
class TierChange:
    """A metadata-only move: the tier changes, the object stays. It is made only if the content is as described."""

    content_id: ContentId
    revision: int
    placement: str
    from_tier: StorageTier
    to_tier: StorageTier
    reason: str = BY_USER
    by_policy: bool = False
    """Whether a policy wants it: then a pinned content stays where it is."""
    forecast: MoveForecast | None = None


@dataclass(frozen=True, slots=True)
class TierChanged:
    """A metadata-only move that was committed."""

    content_id: ContentId
    version: int


@dataclass(frozen=True, slots=True)
class PlannedMove:
    """A copying move that shall be made; at most one per content. Latest wish wins, a policy's never over a user's."""

    content_id: ContentId
    tier: StorageTier
    reason: str = BY_USER
    by_policy: bool = False
    forecast: MoveForecast | None = None


@dataclass(frozen=True, slots=True)
class ClaimedMove:
    """A planned move that this process makes; committing it requires `lease_token`."""

    plan: PlannedMove
    attempts: int
    """How often it was claimed since it was planned or last only waited, this time included."""
    lease_token: str
    planned_at: Timestamp
    """When it was first wished for, as it is."""


@dataclass(frozen=True, slots=True)
class MoveStatus:
    """A planned move as people see it."""

    tier: StorageTier
    reason: str
    planned_at: Timestamp
    due_at: Timestamp
    """Not before then; a move out of an archive waits for its restore."""
    attempts: int
    last_error: str | None

    @property
    def is_given_up(self) -> bool:
        """Whether it failed too often, and waits until somebody asks for it again."""
        return self.due_at >= GIVEN_UP

    def as_dict(self) -> dict[str, object]:
        """Return the state as JSON-ready values."""
        return {
            "tier": self.tier.value,
            "reason": self.reason,
            "planned_at": format_moment(self.planned_at),
            "due_at": None if self.is_given_up else format_moment(self.due_at),
            "given_up": self.is_given_up,
            "attempts": self.attempts,
            "last_error": self.last_error,
        }


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One move that was made."""

    content_id: ContentId
    moved_at: Timestamp
    from_tier: StorageTier
    to_tier: StorageTier
    from_placement: str
    to_placement: str
    size: Bytes
    by_policy: bool
    reason: str
    forecast: MoveForecast | None = None
    storage_reads: int | None = None
    """Of the content, up to the move; None in entries from before anybody counted."""

    @property
    def copied(self) -> bool:
        """Whether the bytes were copied to another placement."""
        return self.from_placement != self.to_placement

    def as_dict(self) -> dict[str, object]:
        """Return the entry as JSON-ready values."""
        return {
            "content_id": self.content_id,
            "moved_at": format_moment(self.moved_at),
            "from_tier": self.from_tier.value,
            "to_tier": self.to_tier.value,
            "from_placement": self.from_placement,
            "to_placement": self.to_placement,
            "copied": self.copied,
            "size": self.size,
            "by_policy": self.by_policy,
            "reason": self.reason,
            "forecast": None if self.forecast is None else self.forecast.as_dict(),
            "storage_reads": self.storage_reads,
        }
