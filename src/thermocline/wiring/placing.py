"""Where contents lie: object stores, placements and tiers, and what they are embedded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag

from thermocline.domain.restores import RestoreSpeed
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Seconds
from thermocline.ports.object_store import STANDARD
from thermocline.wiring.s3_objects import S3ObjectsSettings
from thermocline.wiring.sections import Duration, Section


class LocalObjectsSettings(Section):
    """An object store in a folder."""

    kind: Literal["local"] = "local"
    """`local`: a folder on a disk of this machine."""

    path: Path = Path()
    """The folder. Empty: `objects` in the data folder."""


def _kind(given: Any) -> str:
    kind = given.get("kind", "local") if isinstance(given, Mapping) else getattr(given, "kind", "local")
    return kind if isinstance(kind, str) else ""


ObjectsSettings: TypeAlias = Annotated[
    Annotated[LocalObjectsSettings, Tag("local")] | Annotated[S3ObjectsSettings, Tag("s3")],
    Discriminator(
        _kind,
        custom_error_type="kind",
        custom_error_message="kind must be 'local' (a folder) or 's3' (a bucket)",
    ),
]
"""An object store: `kind` says which; a folder if it is left out."""

DEFAULT_OBJECTS: Mapping[str, ObjectsSettings] = {"main": LocalObjectsSettings()}


class RestoreTermsSettings(Section):
    """What a restore at one speed takes and costs."""

    delay: Duration
    """How long it takes: what the folder store makes its readers wait, of other stores what to expect."""

    usd_per_gb: float = Field(default=0.0, ge=0)
    """What retrieving 10^9 bytes costs, in US dollars."""

    usd_per_request: float = Field(default=0.0, ge=0)
    """What each restore costs besides, in US dollars."""


class PlacementRestoreSettings(Section):
    """How objects of an archive class are restored. A speed that is left out does not exist there."""

    bulk: RestoreTermsSettings | None = None
    """The cheapest."""

    standard: RestoreTermsSettings | None = None
    """The usual one."""

    expedited: RestoreTermsSettings | None = None
    """The fastest."""

    def terms(self) -> dict[RestoreSpeed, RestoreTermsSettings]:
        """Return what each speed that there is takes and costs."""
        each = ((speed, getattr(self, speed.value)) for speed in RestoreSpeed)
        return {speed: terms for speed, terms in each if terms is not None}


class PlacementSettings(Section):
    """A named place for objects."""

    objects: str
    """Which `[objects.NAME]` holds them."""

    storage_class: str = "STANDARD"
    """The store's storage class."""

    prices: str = "r2.standard"
    """Which class of the price books, or of `[prices]`, says what it costs; `none`: nothing. Without known prices no
    policy copies from or to here."""

    restore: PlacementRestoreSettings | None = None
    """Given if the storage class must be restored before its objects can be read."""


DEFAULT_PLACEMENTS = {
    "standard": PlacementSettings(objects="main"),
    "archive": PlacementSettings(
        objects="main",
        storage_class="ARCHIVE",
        prices="s3.deep_archive",
        restore=PlacementRestoreSettings(
            bulk=RestoreTermsSettings(delay=Seconds(15.0), usd_per_gb=0.0025, usd_per_request=0.000025),
            standard=RestoreTermsSettings(delay=Seconds(5.0), usd_per_gb=0.02, usd_per_request=0.0001),
            expedited=RestoreTermsSettings(delay=Seconds(1.0), usd_per_gb=0.03, usd_per_request=0.01),
        ),
    ),
}
"""Embedded: one folder, whose archive asks for a restore as a real one does, in seconds instead of hours. The prices
are those of AWS (S3 Deep Archive; expedited: S3 Glacier), us-east-1, November 2026."""


class TierSettings(Section):
    """What a tier means."""

    placement: str
    """Where its content is placed."""

    access_frequency: Duration
    """Content read at least once in this time belongs here (the velocity policy)."""

    cache_ttl: Duration
    """Longest life in a cache; 0: never cached."""

    prefetch: bool = False
    """Whether related content is fetched ahead."""


_DAY = 86400.0
DEFAULT_TIERS = {
    StorageTier.HOT: TierSettings(
        placement="standard", access_frequency=Seconds(7 * _DAY), cache_ttl=Seconds(_DAY), prefetch=True
    ),
    StorageTier.WARM: TierSettings(placement="standard", access_frequency=Seconds(30 * _DAY), cache_ttl=Seconds(3600)),
    StorageTier.COLD: TierSettings(placement="standard", access_frequency=Seconds(365 * _DAY), cache_ttl=Seconds(0)),
    StorageTier.ARCHIVE: TierSettings(placement="archive", access_frequency=Seconds(365 * _DAY), cache_ttl=Seconds(0)),
}
"""The seed's thresholds; embedded, the archive lies in the same folder, in a class of its own."""


ClassTerms: TypeAlias = dict[tuple[str, str], tuple[str, PlacementRestoreSettings | None]]
"""By object store and storage class: the placement that was seen first, and its terms."""


def check_restore(
    name: str,
    placement: PlacementSettings,
    classes: ClassTerms,
) -> None:
    """Raise `ValueError` unless the placement's restore terms fit its class; `classes` are those seen before."""
    if placement.restore is not None:
        if placement.storage_class == STANDARD:
            raise ValueError(f"[placements.{name}] the storage class {STANDARD} needs no restore; remove [restore]")
        if not placement.restore.terms():
            raise ValueError(
                f"[placements.{name}.restore] names no speed; give at least one of {', '.join(RestoreSpeed)}"
            )
    same = (placement.objects, placement.storage_class)
    other, terms = classes.setdefault(same, (name, placement.restore))
    if terms != placement.restore:
        raise ValueError(
            f"[placements.{name}] and [placements.{other}] are the same class of the same store; "
            "give both the same [restore]"
        )
