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
from enum import StrEnum
from typing import TypeVar

import structlog

from thermocline.domain.content import ObjectAttributes, Record, StoredHeaders, Visibility
from thermocline.domain.content_id import ContentId
from thermocline.domain.digests import ContentDigest
from thermocline.domain.errors import (
    InvalidMetadataError,
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


class Fate(StrEnum):
    """What became of an unknown object."""

    ADOPTED = "adopted"
    """It is the live object of its content now."""
    LEFT = "left"
    """It is older than what the catalog has; the sweep will remove it."""
    UNCLEAR = "unclear"
    """It may be newer than what the catalog has, or the content is on hold; nothing was changed."""
    CONTRADICTED = "contradicted"
    """Its bytes are not those that it says it has."""
    ARCHIVED = "archived"
    """It cannot be read before its store restores it, and does not say what its bytes are; it waits for a later run."""
    UNREADABLE = "unreadable"
    """Its store answers, but could not read it; it waits for a later run."""
    FOREIGN = "foreign"
    """It does not say what it is."""

    @property
    def needs_a_look(self) -> bool:
        """Whether somebody should look at it before the recovery is confirmed."""
        return self not in {Fate.ADOPTED, Fate.LEFT}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one unknown object, and why."""

    fate: Fate
    content_id: ContentId
    object_key: str
    detail: str
    replaced: str | None = None
    """The object key that the record named before."""
    unproven: bool = False
    """Whether the bytes, or that they are the newest, could not be proven."""


@dataclass(slots=True)
class AdoptionProgress:
    """How far it has come."""

    listed: int = 0
    found: int = 0
    """Unknown objects."""
    judged: int = 0
    read_bytes: Bytes = Bytes(0)
    fates: dict[Fate, int] = field(default_factory=lambda: dict.fromkeys(Fate, 0))


@dataclass(frozen=True, slots=True)
class _Judgement:
    fate: Fate
    detail: str
    unproven: bool = False


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
        if recovering:
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
        if (
            attributes is None
            or rank is None
            or (attributes.content_id, attributes.token)
            != (
                parts.content_id,
                parts.token,
            )
        ):
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
            return _outcome(candidate, judgement)
        return _outcome(candidate, _Judgement(Fate.UNCLEAR, "its content keeps changing; run the repair again"))

    async def _again(self, candidate: Candidate) -> Candidate | None:
        content_id = candidate.found.content_id
        rows = await self._recovery.candidates(start=content_id, limit=1)
        return next((row for row in rows if row.found.content_id == content_id), None)

    async def _judge(self, candidate: Candidate) -> _Judgement:
        found, standing = candidate.found, candidate.standing
        if standing is None:
            return _Judgement(Fate.ADOPTED, "the catalog did not know the content", found.is_contested)
        record = standing.record
        is_newer = found.rank > standing.revision
        if record is not None and (record.held or not is_newer) and await self._is_gone(record):
            same = _is_copy_of(found, record)
            return _Judgement(Fate.ADOPTED, "the record's object was gone", not same and not is_newer)
        if record is not None and record.held and is_newer:
            return _Judgement(Fate.UNCLEAR, "it is newer than the record, which is on hold")
        if is_newer:
            known = "record" if record is not None else "deletion"
            return _Judgement(Fate.ADOPTED, f"it is newer than the catalog's {known}", found.is_contested)
        if found.rank < standing.revision < found.finished_at:
            return _Judgement(
                Fate.UNCLEAR, "its upload began before the catalog's last change of the content and ended after it"
            )
        return _Judgement(Fate.LEFT, "the catalog has the same or newer bytes")

    async def _is_gone(self, record: Record) -> bool:
        return await self._placements.named(record.placement).store.head(record.object_key) is None

    async def _adopt(self, candidate: Candidate, judgement: _Judgement, state: AdoptionProgress) -> Outcome | None:
        """Read, verify and commit; None if the content or the found object changed meanwhile."""
        found = candidate.found
        attributes = ObjectAttributes.parse(found.attributes)
        if attributes is None:
            await self._recovery.forget_found([found])
            return _outcome(candidate, _Judgement(Fate.FOREIGN, "its attributes do not say what it is"))
        try:
            digest = await self._read(found)
        except ObjectMissingError:
            await self._recovery.forget_found([found])
            return _outcome(candidate, _Judgement(Fate.LEFT, "it was deleted meanwhile"))
        except (EOFError, UnsafePathError) as exc:
            await self._recovery.forget_found([found])
            return _outcome(candidate, _contradicted(found, str(exc)))
        except UnavailableError as exc:
            if await self._placements.named(found.placement).store.head(found.object_key) is None:
                return None
            # The store answers: one object that cannot be read must not keep all others from being adopted.
            return _outcome(candidate, _Judgement(Fate.UNREADABLE, str(exc)))
        except ObjectArchivedError:
            digest = None
        if digest is None and attributes.sha256 is None:
            detail = "it is archived; have its store restore this object, then run the repair again"
            return _outcome(candidate, _Judgement(Fate.ARCHIVED, detail))
        whole = attributes.sha256 if digest is None else digest.whole()
        if whole is None or attributes.sha256 not in {None, whole}:
            await self._recovery.forget_found([found])
            return _outcome(candidate, _contradicted(found, "its bytes do not have the SHA-256 that it names"))
        state.read_bytes = Bytes(state.read_bytes + (0 if digest is None else digest.size))
        judgement = replace(judgement, unproven=judgement.unproven or attributes.sha256 is None)
        chunk_digests = None if digest is None else digest.chunks()
        record = _record_of(candidate, attributes, whole, chunk_digests, judgement)
        now = self._clock.now()
        adoption = Adoption(candidate, record)
        committed = await self._recovery.commit_adoption(adoption, now=now, evict_at=later(now, EVICT_DELAY))
        return None if committed is None else _outcome(candidate, judgement)

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


def _contradicted(found: FoundObject, detail: str) -> _Judgement:
    if found.rival_at:
        detail += "; its content has older unknown objects: take this one out of the store and run the repair again"
    return _Judgement(Fate.CONTRADICTED, detail)


def _is_copy_of(found: FoundObject, record: Record) -> bool:
    """Whether a move made this object of the record's own bytes."""
    return found.rank == record.revision and found.attributes.get("sha256") == record.digest.hex()


def _record_of(
    candidate: Candidate,
    attributes: ObjectAttributes,
    digest: bytes,
    chunk_digests: bytes | None,
    judgement: _Judgement,
) -> Record:
    """Return what the content's record shall be. What the object does not tell is the most careful value."""
    found, standing = candidate.found, candidate.standing
    old = None if standing is None else standing.record
    if old is not None and _is_copy_of(found, old):
        return replace(
            old,
            placement=found.placement,
            object_key=found.object_key,
            chunk_digests=old.chunk_digests if chunk_digests is None else chunk_digests,
            tier=attributes.tier,
            tier_since=attributes.transitioned_at or old.tier_since,
        )
    begun_at = attributes.created_at
    return Record(
        content_id=found.content_id,
        revision=found.rank + 1,
        version=0,
        placement=found.placement,
        object_key=found.object_key,
        digest=digest,
        chunk_digests=chunk_digests or b"",
        size=found.size,
        headers=_headers_of(attributes),
        metadata={},
        tier=attributes.tier,
        tier_since=attributes.transitioned_at or begun_at,
        visibility=Visibility.PRIVATE,
        created_at=begun_at if old is None else old.created_at,
        modified_at=begun_at,
        expires_at=None,
        held=old is not None and old.held,
        pinned=old is not None and old.pinned,
        unproven=judgement.unproven,
    )


def _headers_of(attributes: ObjectAttributes) -> StoredHeaders:
    try:
        return StoredHeaders(attributes.content_type)
    except InvalidMetadataError:
        return StoredHeaders()


def _outcome(candidate: Candidate, judgement: _Judgement) -> Outcome:
    found, standing = candidate.found, candidate.standing
    record = None if standing is None else standing.record
    adopted = judgement.fate is Fate.ADOPTED
    return Outcome(
        judgement.fate,
        found.content_id,
        found.object_key,
        judgement.detail,
        replaced=record.object_key if adopted and record is not None else None,
        unproven=adopted and judgement.unproven,
    )
