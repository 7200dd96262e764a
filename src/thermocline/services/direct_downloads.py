"""Direct downloads: a URL of the object store in place of the bytes.

The URL is good for this object only, which is never overwritten, and for less time than the grace for which a replaced
or deleted object stays: who began with it comes to the end. Nobody verifies what it gives out, and it lives on for that
time when the content turns private; so it is for those who set it, from the size on that they set.
"""

from thermocline.domain.content import Record
from thermocline.domain.units import Bytes, Seconds, elapsed
from thermocline.ports.clock import Clock
from thermocline.ports.presigns import Presigns
from thermocline.services.placements import Placements
from thermocline.services.tracking import AccessTracker, ReadKind

SHORTEST_LIFE = Seconds(1.0)


class DirectDownloads:
    """URLs for contents of at least `smallest` bytes; none without it."""

    def __init__(
        self, placements: Placements, tracker: AccessTracker, clock: Clock, *, lives: Seconds, smallest: Bytes | None
    ) -> None:
        self._placements = placements
        self._tracker = tracker
        self._clock = clock
        self._lives = lives
        self._smallest = smallest

    async def url_for(self, record: Record) -> str | None:
        """Return a URL that answers with the content's bytes, counted as a read; None if it is to be sent from here.

        It lives no longer than the content. Content whose class needs a restore is sent from here, which asks for it.
        """
        if self._smallest is None or record.size < self._smallest:
            return None
        placement = self._placements.named(record.placement)
        store: object = placement.store
        if placement.restores is not None or not isinstance(store, Presigns):
            return None
        lives = self._lives
        if record.expires_at is not None:
            lives = min(lives, elapsed(self._clock.now(), record.expires_at))
        if lives < SHORTEST_LIFE:
            return None
        url = await store.download_url(record.object_key, lives=lives, content_type=record.headers.content_type)
        self._tracker.note(record.content_id, ReadKind.STORAGE)
        return url
