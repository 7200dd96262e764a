"""Releasing adopted objects: what becomes of an object that somebody else made once its content has ended.

Where the store keeps them the note of the adoption is dropped, and that is all. Where it is told to delete them:

1. Bar the object, in one transaction: only if a content has adopted it and no record names it any more. From here on
   no adoption of it can be committed. 2. Look at it: one that was replaced since it was adopted is not ours to delete.
3. Delete it. 4. Drop the notes and the bar, in one transaction.

A crash or a failure before 4 leaves the bar, which is a condemned intent: the intent cleaner drops it once the longest
request has passed, and it deletes nothing that this installation did not make. The outbox row is still there, and asks
again. What no note tells of stays: objects that are adopted by an older version are noted before the first deletion.
"""

from collections.abc import Mapping, Sequence

from thermocline.domain.errors import StorageError, UnavailableError
from thermocline.domain.units import Seconds
from thermocline.domain.work import Cursor
from thermocline.ports.adopted_objects import AdoptedObjects
from thermocline.ports.clock import Clock
from thermocline.ports.cursors import Cursors
from thermocline.services.placements import Placement, Placements

NOTING = "noting-adopted"
"""The cursor that says that every content of this catalog has been looked at. Backups do not keep it."""
NOTED_AT_ONCE = 10_000
LEASE = Seconds(300.0)
AT_ONCE = 100


class ReleasingService:
    """Lets adopted objects go; several processes may do so at once."""

    def __init__(self, adopted: AdoptedObjects, cursors: Cursors, placements: Placements, clock: Clock) -> None:
        self._adopted = adopted
        self._cursors = cursors
        self._placements = placements
        self._clock = clock
        self._has_all_notes = False

    async def release(self, placement: Placement, object_keys: Sequence[str]) -> Mapping[str, StorageError | None]:
        """Do with each object what its store says, unless a record names it.

        Returns None for each that is deleted, and why for each that must be tried again. Raises what the catalog does.
        """
        if not placement.deletes_adopted:
            await self._adopted.forget(object_keys)
            return {}
        await self._note_all()
        answers: dict[str, StorageError | None] = {}
        for start in range(0, len(object_keys), AT_ONCE):
            answers |= await self._delete(placement, object_keys[start : start + AT_ONCE])
        return answers

    async def _delete(self, placement: Placement, object_keys: Sequence[str]) -> Mapping[str, StorageError | None]:
        sure_until = self._clock.monotonic() + LEASE * 2 / 3
        barred = await self._adopted.bar(object_keys, placement.name, lease=LEASE)
        answers: dict[str, StorageError | None] = {
            key: UnavailableError(f"the adopted object {key!r} is just adopted again, or still being deleted")
            for key in barred.busy
        }
        if barred.stamps:
            answers |= await self._placements.delete_adopted(
                placement, barred.stamps, may_delete=lambda: self._clock.monotonic() < sure_until
            )
        done = [key for key in object_keys if answers.get(key) is None]
        await self._adopted.forget(done, token=barred.token)
        return answers

    async def _note_all(self) -> None:
        """Note what was adopted before adoptions were noted: an object with another, unknown content must stay."""
        if self._has_all_notes:
            return
        cursor = await self._cursors.load(NOTING)
        if cursor is None or cursor.ended_at is None:
            begun_at = self._clock.now() if cursor is None else cursor.begun_at
            after = "" if cursor is None else cursor.position
            while (last := await self._adopted.note_unnoted(after=after, limit=NOTED_AT_ONCE)) is not None:
                after = last
                await self._cursors.save(NOTING, Cursor(after, begun_at))
            await self._cursors.save(NOTING, Cursor("", begun_at, self._clock.now()))
        self._has_all_notes = True
