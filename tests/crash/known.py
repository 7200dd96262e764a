"""What the histories are made of, and what their model knows of a content."""

import hashlib
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from thermocline.testing.faults import FaultMode

IDS = st.sampled_from(["a", "a/b", "A", "ü"])
BODIES = st.one_of(
    st.sampled_from([b"", b"x", b"y" * 64, b"z" * 65, b"w" * 200]), st.binary(max_size=300), st.just(b"same" * 20)
)
LATER = st.sampled_from([None, None, None, 30.0, 4000.0])
FAULTS = st.one_of(
    # Few operations make many calls: a call that is never made is no fault.
    st.tuples(st.sampled_from([1, 1, 2, 2, 3, 3, 4, 5, 6, 8, 10, 13]), st.sampled_from(list(FaultMode))),
    st.none(),
)
Fault = tuple[int, FaultMode] | None
TIERS = st.sampled_from(["hot", "hot", "warm", "cold", "archive"])
LATE = {FaultMode.DIED_LATE, FaultMode.CANCELLED_LATE}


@dataclass(frozen=True)
class Known:
    """What the model knows of a content."""

    body: bytes
    expires_at: int | None = None
    held: bool = False
    pinned: bool = False
    album: str | None = None
    tiers: frozenset[str] = frozenset({"hot"})
    """Where it may be: the tier that it was written to, and those that somebody asked for since."""
    wish: str | None = "hot"
    """Where it is in the end, if nothing stands in the way; None: an unclear outcome left that open."""

    def asked_for(self, tier: str) -> "Known":
        """Return what is known once a move was asked for."""
        return replace(self, tiers=self.tiers | {tier}, wish=tier)

    def perhaps(self, other: "Known") -> "Known":
        """Return what is known if it is either this or that; they differ only in where it is."""
        return replace(self, tiers=self.tiers | other.tiers, wish=self.wish if self.wish == other.wish else None)

    def shows(self) -> tuple[object, ...]:
        """Return what everybody can see of it."""
        return (hashlib.sha256(self.body).digest(), self.expires_at, self.held, self.pinned, self.album)
