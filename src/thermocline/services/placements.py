"""Placements: named object stores with a storage class, which tier goes where, and what may be deleted there."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from thermocline.domain.adopted_objects import ObjectStamp
from thermocline.domain.errors import ConfigurationError, InstallationMismatchError, StorageError, UnavailableError
from thermocline.domain.keys import ObjectKey
from thermocline.domain.restores import RestoreSpeed, RestoreTerms
from thermocline.domain.tiers import StorageTier, TierRules
from thermocline.ports.object_store import STANDARD, ObjectHead, ObjectStore, Owned, Restorable

log = structlog.get_logger(__name__)

LOOKS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Placement:
    """Where objects lie."""

    name: str
    store_name: str
    store: ObjectStore
    storage_class: str = STANDARD
    restores: "RestoreRules | None" = None
    """Present if objects of this class must be restored before they can be read."""
    deletes_adopted: bool = False
    """Whether objects that contents adopted here are deleted with their last content."""


@dataclass(frozen=True, slots=True)
class RestoreRules:
    """How objects of an archive class become readable."""

    store: Restorable
    terms: Mapping[RestoreSpeed, RestoreTerms]
    """What each speed that there is takes and costs; at least one."""

    def speed_near(self, wanted: RestoreSpeed) -> RestoreSpeed:
        """Return the wanted speed, or the cheapest there is."""
        return wanted if wanted in self.terms else min(self.terms, key=lambda speed: self.terms[speed].usd_per_gb)


def stamp_of(head: ObjectHead) -> ObjectStamp:
    """Return by what an object that somebody else made is known again."""
    return ObjectStamp.seen(head.size, head.modified_at, head.etag)


class Placements:
    """All placements of an installation, and the rules of its tiers."""

    def __init__(
        self, installation: str, placements: Mapping[str, Placement], tiers: Mapping[StorageTier, TierRules]
    ) -> None:
        self.installation = installation
        self._placements = dict(placements)
        self._tiers = dict(tiers)

    def rules(self, tier: StorageTier) -> TierRules:
        """Return what the tier means here."""
        return self._tiers[tier]

    def of_tier(self, tier: StorageTier) -> Placement:
        """Return where content of this tier is placed."""
        return self._placements[self._tiers[tier].placement]

    def named(self, name: str) -> Placement:
        """Return a placement by name. Raises `ConfigurationError` if the settings lack it."""
        try:
            return self._placements[name]
        except KeyError as exc:
            raise ConfigurationError(
                f"content lies in the placement {name!r}, which the settings do not define; "
                f"add [placements.{name}] again until nothing lies there"
            ) from exc

    def key_prefix(self, name: str) -> str:
        """Return what the keys of all objects in a placement begin with."""
        return f"{self.installation}/{name}/"

    def is_ours(self, object_key: str) -> bool:
        """Whether this installation made the key; others are of adopted objects, or of strangers."""
        return object_key.startswith(f"{self.installation}/")

    async def delete(self, placement: Placement, object_keys: Sequence[str]) -> Mapping[str, StorageError]:
        """Delete objects and unfinished uploads as their store does; return those that failed and why.

        What this installation did not make stays: to its content it is gone.
        """
        doomed = [key for key in object_keys if self.is_ours(key)]
        return await placement.store.delete(doomed) if doomed else {}

    async def delete_adopted(
        self, placement: Placement, stamps: Mapping[str, Sequence[ObjectStamp]], *, may_delete: Callable[[], bool]
    ) -> Mapping[str, StorageError | None]:
        """Delete objects that contents adopted, each if it still is as one of them had adopted it.

        Returns None for each that is deleted, and why for each that could not be. What was replaced meanwhile stays,
        and so does what any installation made. The caller knows that this placement deletes such objects; while
        `may_delete` nobody can adopt them again.
        """
        asked = [key for key in stamps if ObjectKey.parse(key) is None and not self.is_ours(key)]
        looks = asyncio.Semaphore(LOOKS_AT_ONCE)

        async def look(key: str) -> "ObjectHead | StorageError | None":
            async with looks:
                try:
                    return await placement.store.head(key)
                except StorageError as exc:
                    return exc

        heads = dict(zip(asked, await asyncio.gather(*map(look, asked)), strict=True))
        answers: dict[str, StorageError | None] = {
            key: head for key, head in heads.items() if isinstance(head, StorageError)
        }
        doomed = []
        for key, each in stamps.items():
            head = heads.get(key)
            if isinstance(head, ObjectHead) and any(stamp.is_kept_by(stamp_of(head)) for stamp in each):
                doomed.append(key)
            elif key not in answers and not (key in heads and head is None):
                log.warning("adopted_object_kept", object_key=key, placement=placement.name)
        if doomed and not may_delete():
            late = UnavailableError(f"the store of placement {placement.name!r} took too long; nothing was deleted")
            return answers | dict.fromkeys(doomed, late)
        failures = await placement.store.delete(doomed) if doomed else {}
        return answers | {key: failures.get(key) for key in doomed}

    def all(self) -> tuple[Placement, ...]:
        """Return every placement."""
        return tuple(self._placements.values())

    async def claim_stores(self) -> None:
        """Make every store ours, or raise `InstallationMismatchError` and touch nothing of the other's."""
        stores = {placement.store_name: placement.store for placement in self._placements.values()}
        for name, store in stores.items():
            # Before any is claimed: a catalog that lost its stores must not take one of them and leave the others.
            if isinstance(store, Owned) and (owner := await store.owner()) is not None:
                self._check_owner(name, owner)
        for name, store in stores.items():
            self._check_owner(name, await store.claim(self.installation))

    def _check_owner(self, name: str, owner: str) -> None:
        if owner != self.installation:
            raise InstallationMismatchError(
                f"the object store {name!r} belongs to installation {owner!r}, this catalog to "
                f"{self.installation!r}; nothing was changed; if the catalog of {owner!r} was lost, put a backup in "
                "its place with 'thermocline backup --restore FILE', or make it anew from the stores with "
                f"'thermocline fsck --rebuild-catalog'; otherwise point [catalog] url or [objects.{name}] at the "
                "other's counterpart, or give this installation a store of its own"
            )
