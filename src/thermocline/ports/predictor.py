"""What is likely to be read next, learned from what was read together."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

from thermocline.domain.predictions import Prediction
from thermocline.domain.units import Timestamp


class Predictor(Protocol):
    """Learns which contents are read in the same sessions. Memory is bounded; no method waits for anything.

    Not for several threads at once, but for this: `note` and `predict` may be called while one other method runs.

    `session` is a name for who reads, the same for the same reader; the predictor keeps it no longer than the session
    lasts, and never in what `save` returns. Contents are known by their ids alone.
    """

    @abstractmethod
    def note(self, content_id: str, session: str, at: Timestamp) -> None:
        """Take in one read. Cheap: what it teaches is learned later. Times may step back."""

    @abstractmethod
    def learn(self, at: Timestamp, *, most: int, everything: bool = False) -> int:
        """Learn from up to `most` stretches of sessions that have ended by now; return from how many.

        `everything`: also from those that go on. Repeat until it returns 0.
        """

    @abstractmethod
    def predict(self, content_id: str, *, limit: int) -> Sequence[Prediction]:
        """Return what is read in the same session as this content, most probable first; nothing of what is unknown."""

    @abstractmethod
    def forget(self, content_id: str) -> int:
        """Drop all that is known of a content, also as a neighbour of others; return in how many places it stood."""

    @abstractmethod
    def save(self) -> bytes:
        """Return what was learned, versioned, in bounded size: where it does not fit, what is read least goes first."""

    @abstractmethod
    def load(self, state: bytes, *, afresh: bool = False) -> bool:
        """Replace what was learned by what `save` returned once, here or elsewhere, and keep what came since `confirm`.

        That is learned anew on top of it, so what several processes learned adds up. `afresh` first drops all that is
        known here, sessions that go on too. A damaged or foreign state is refused, and adds nothing: then False.
        """

    @abstractmethod
    def confirm(self) -> None:
        """Take note that what `save` returned is kept by somebody: `load` need not add it again."""
