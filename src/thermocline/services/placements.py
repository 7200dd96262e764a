"""Placements: named object stores with a storage class, and which tier goes where."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from thermocline.domain.errors import ConfigurationError, InstallationMismatchError, StorageError
from thermocline.domain.restores import RestoreSpeed, RestoreTerms
from thermocline.domain.tiers import StorageTier, TierRules
from thermocline.ports.object_store import STANDARD, ObjectStore, Owned, Restorable


@dataclass(frozen=True, slots=True)
class Placement:
    """Where objects lie."""

    name: str
    store_name: str
    store: ObjectStore
    storage_class: str = STANDARD
    restores: "RestoreRules | None" = None
    """Present if objects of this class must be restored before they can be read."""


@dataclass(frozen=True, slots=True)
class RestoreRules:
    """How objects of an archive class become readable."""

    store: Restorable
    terms: Mapping[RestoreSpeed, RestoreTerms]
    """What each speed that there is takes and costs; at least one."""

    def speed_near(self, wanted: RestoreSpeed) -> RestoreSpeed:
        """Return the wanted speed, or the cheapest there is."""
        return wanted if wanted in self.terms else min(self.terms, key=lambda speed: self.terms[speed].usd_per_gb)


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
