"""Adopting what a restored backup does not know: the newest unknown object of each content.

1. *Looking*: every placement is listed. Of each finished object that nothing names, the attributes are read, and the
   newest of each content is noted in the catalog (`found_objects`). From then on it is named.
2. *Adopting*: each noted object is compared with what the catalog knows. It is adopted if the content is unknown, if
   it is newer than the record or the deletion, or if the record's own object is gone. Then it is read once, its
   digests are made and compared with the one it carries. **Commit point**: one transaction switches the record, if the
   content still stands as it did.
A crash anywhere leaves noted objects; the next run lists again and goes on with them. Nothing is deleted: what is
left, and what was replaced, is the sweep's business once somebody has confirmed the recovery.

Only a recovering catalog adopts. In the normal state the catalog is right and an unknown newer object is garbage that
was never acknowledged: adopting it would show bytes that no client was promised. After a recovery, too, an upload that
died between its object and its commit cannot be told from an acknowledged one; so what replaced a record is reported.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TypeVar

import structlog

from thermocline.domain.adoption import (
    Fate,
    Judgement,
    Outcome,
    adopted_record,
    depends_on_the_live_object,
    judge,
    outcome_of,
)
from thermocline.domain.content import ObjectAttributes, Record
from thermocline.domain.digests import ContentDigest
from thermocline.domain.errors import (
    ObjectArchivedError,
    ObjectMissingError,
    UnavailableError,
    UnsafePathError,
)
from thermocline.domain.keys import ObjectKey
from thermocline.domain.recovery import Candidate, FoundObject, rank_of
from thermocline.domain.units import Bytes, later
from thermocline.domain.work import Cursor
from thermocline.ports.clock import Clock
from thermocline.ports.cursors import Cursors
from thermocline.ports.object_store import ObjectInfo
from thermocline.ports.recovery import Adoption, Recovery
from thermocline.ports.sweeps import Sweeps
from thermocline.services.placements import Placement, Placements
from thermocline.services.recovering import ADOPTION
from thermocline.services.transferring import EVICT_DELAY
from thermocline.services.verifying import OFFLOAD_BYTES

log = structlog.get_logger(__name__)
T = TypeVar("T")

CONCURRENCY = 8
PAGE = 200
_NEXT = "\x01"
"""No content id has control characters: an id followed by this comes before every id that is greater."""
ATTEMPTS = 5
"""How often a content that keeps changing meanwhile is judged anew."""


@dataclass(slots=True)
class AdoptionProgress:
    """How far it has come."""

    listed: int = 0
    found: int = 0
    """Unknown objects."""
    judged: int = 0
    read_bytes: Bytes = Bytes(0)
    fates: dict[Fate, int] = field(default_factory=lambda: dict.fromkeys(Fate, 0))


class AdoptingService:
    """Looks through the stores and adopts; may be interrupted anywhere and run again."""

    def __init__(
        self, recovery: Recovery, cursors: Cursors, sweeps: Sweeps, placements: Placements, clock: Clock
    ) -> None:
        self._recovery = recovery
        self._cursors = cursors
        self._sweeps = sweeps
        self._placements = placements
        self._clock = clock

    async def adopt(
        self, *, dry_run: bool = False, progress: Callable[[AdoptionProgress], None] = lambda _: None
    ) -> AsyncGenerator[Outcome]:
        """Look and adopt; yield what became of each object that is the newest unknown one of its content.

        With `dry_run` objects are noted and judged, but neither read nor adopted. In the normal state only what a
        recovery noted and could not read is judged again. Must be closed if it is not read to its end. Raises what
        a store raises: then another run goes on.
        """
        state = AdoptionProgress()
        begun_at = self._clock.now()
        recovering = await self._recovery.is_recovering()
        if recovering and not dry_run:
            await self._cursors.save(ADOPTION, Cursor("", begun_at))
        outcomes = self._run(state, look=recovering, dry_run=dry_run, progress=progress)
        async with aclosing(outcomes):
            async for outcome in outcomes:
                state.fates[outcome.fate] += 1
                if outcome.fate.needs_a_look:
                    log.warning(
                        "object_not_adopted",
                        fate=outcome.fate.value,
                        object_key=outcome.object_key,
                        detail=outcome.detail,
                    )
                yield outcome
        if recovering and not dry_run:
            findings = sum(count for fate, count in state.fates.items() if fate.needs_a_look)
            ended = Cursor("", begun_at, self._clock.now(), done=state.fates[Fate.ADOPTED], findings=findings)
            await self._cursors.save(ADOPTION, ended)
        progress(state)

    async def _run(
        self, state: AdoptionProgress, *, look: bool, dry_run: bool, progress: Callable[[AdoptionProgress], None]
    ) -> AsyncGenerator[Outcome]:
        for placement in self._placements.all() if look else ():
            async for page in placement.store.list_pages(f"{self._placements.installation}/{placement.name}/"):
                state.listed += len(page)
                for outcome in await self._look(placement, page, state):
                    yield outcome
                progress(state)
        position = ""
        while candidates := await self._recovery.candidates(start=position, limit=PAGE):
            for start in range(0, len(candidates), CONCURRENCY):
                some = candidates[start : start + CONCURRENCY]
                for settled in await _all(self._settle(one, state, dry_run=dry_run) for one in some):
                    if settled is not None:
                        yield settled
                state.judged += len(some)
                progress(state)
            position = candidates[-1].found.content_id + _NEXT

    # --- looking -----------------------------------------------------------------------------------------------------

    async def _look(self, placement: Placement, page: Sequence[ObjectInfo], state: AdoptionProgress) -> list[Outcome]:
        """Note the newest unknown objects of a page; return those that nobody can place."""
        keys = {info.key: info for info in page if info.finished and ObjectKey.parse(info.key)}
        unknown = await self._sweeps.unnamed(list(keys)) if keys else ()
        state.found += len(unknown)
        looked: list[FoundObject | Outcome | None] = []
        for start in range(0, len(unknown), CONCURRENCY):
            looked += await _all(self._look_at(placement, key) for key in unknown[start : start + CONCURRENCY])
        await self._recovery.note_found([one for one in looked if isinstance(one, FoundObject)])
        return [one for one in looked if isinstance(one, Outcome)]

    async def _look_at(self, placement: Placement, key: str) -> FoundObject | Outcome | None:
        parts = ObjectKey.parse(key)
        if parts is None:
            return None
        try:
            head = await placement.store.head(key)
        except UnsafePathError as exc:
            return Outcome(Fate.CONTRADICTED, parts.content_id, key, str(exc))
        if head is None:
            return None  # gone since it was listed
        attributes = ObjectAttributes.parse(head.attributes)
        rank = None if attributes is None else rank_of(attributes, parts.token)
        names = None if attributes is None else (attributes.content_id, attributes.token)
        if rank is None or names != (parts.content_id, parts.token):
            return Outcome(Fate.FOREIGN, parts.content_id, key, "its attributes do not say what it is")
        return FoundObject(
            content_id=parts.content_id,
            object_key=key,
            placement=placement.name,
            token=parts.token,
            rank=rank,
            size=head.size,
            finished_at=head.modified_at,
            attributes=head.attributes,
        )

    # --- adopting ----------------------------------------------------------------------------------------------------

    async def _settle(self, candidate: Candidate, state: AdoptionProgress, *, dry_run: bool) -> Outcome | None:
        """Adopt a candidate or not; None if it is not there any more."""
        for _ in range(ATTEMPTS):
            judgement = await self._judge(candidate)
            if judgement.fate is Fate.ADOPTED and not dry_run:
                outcome = await self._adopt(candidate, judgement, state)
                if outcome is not None:
                    return outcome
                again = await self._again(candidate)
                if again is None:
                    return None
                candidate = again
                continue
            if not dry_run:
                await self._recovery.forget_found([candidate.found])
            return outcome_of(candidate, judgement)
        return outcome_of(candidate, Judgement(Fate.UNCLEAR, "its content keeps changing; run the repair again"))

    async def _again(self, candidate: Candidate) -> Candidate | None:
        content_id = candidate.found.content_id
        rows = await self._recovery.candidates(start=content_id, limit=1)
        return next((row for row in rows if row.found.content_id == content_id), None)

    async def _judge(self, candidate: Candidate) -> Judgement:
        record = depends_on_the_live_object(candidate)
        return judge(candidate, live_object_is_gone=record is not None and await self._is_gone(record))

    async def _is_gone(self, record: Record) -> bool:
        return await self._placements.named(record.placement).store.head(record.object_key) is None

    async def _adopt(self, candidate: Candidate, judgement: Judgement, state: AdoptionProgress) -> Outcome | None:
        """Read, verify and commit; None if the content or the found object changed meanwhile."""
        found = candidate.found
        attributes = ObjectAttributes.parse(found.attributes)
        if attributes is None:
            await self._recovery.forget_found([found])
            return outcome_of(candidate, Judgement(Fate.FOREIGN, "its attributes do not say what it is"))
        try:
            digest = await self._read(found)
        except ObjectMissingError:
            await self._recovery.forget_found([found])
            return outcome_of(candidate, Judgement(Fate.LEFT, "it was deleted meanwhile"))
        except (EOFError, UnsafePathError) as exc:
            await self._recovery.forget_found([found])
            return outcome_of(candidate, _contradicted(found, str(exc)))
        except UnavailableError as exc:
            # Raises too if the store as a whole does not answer. One object that cannot be read must not keep all
            # others from being adopted.
            await self._placements.named(found.placement).store.head(found.object_key)
            return outcome_of(candidate, Judgement(Fate.UNREADABLE, str(exc)))
        except ObjectArchivedError:
            digest = None
        if digest is None and attributes.sha256 is None:
            detail = "it is archived; have its store restore this object, then run the repair again"
            return outcome_of(candidate, Judgement(Fate.ARCHIVED, detail))
        whole = attributes.sha256 if digest is None else digest.whole()
        if whole is None or attributes.sha256 not in {None, whole}:
            await self._recovery.forget_found([found])
            return outcome_of(candidate, _contradicted(found, "its bytes do not have the SHA-256 that it names"))
        state.read_bytes = Bytes(state.read_bytes + (0 if digest is None else digest.size))
        judgement = replace(judgement, unproven=judgement.unproven or attributes.sha256 is None)
        chunk_digests = None if digest is None else digest.chunks()
        record = adopted_record(candidate, attributes, whole, chunk_digests, unproven=judgement.unproven)
        now = self._clock.now()
        adoption = Adoption(candidate, record)
        committed = await self._recovery.commit_adoption(adoption, now=now, evict_at=later(now, EVICT_DELAY))
        return None if committed is None else outcome_of(candidate, judgement)

    async def _read(self, found: FoundObject) -> ContentDigest:
        digest = ContentDigest()
        store = self._placements.named(found.placement).store
        async with aclosing(store.stream(found.object_key, 0, found.size)) as blocks:
            async for block in blocks:
                if len(block) < OFFLOAD_BYTES:
                    digest.update(block)
                else:
                    await asyncio.to_thread(digest.update, block)
        return digest


async def _all(work: Iterable[Awaitable[T]]) -> list[T]:
    """Return all results; when one fails, not before the others have ended."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


def _contradicted(found: FoundObject, detail: str) -> Judgement:
    if found.rival_at:
        detail += "; its content has older unknown objects: take this one out of the store and run the repair again"
    return Judgement(Fate.CONTRADICTED, detail)
