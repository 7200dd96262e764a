"""What services go by, made from settings: where contents lie, and how restores are asked for."""

from collections.abc import Mapping

from thermocline.domain.cache_types import CacheType
from thermocline.domain.errors import ConfigurationError
from thermocline.domain.restores import RestoreTerms
from thermocline.domain.tiers import StorageTier, TierRules
from thermocline.domain.units import Usd
from thermocline.ports.object_store import ObjectStore, Restorable
from thermocline.services.placements import Placement, Placements, RestoreRules
from thermocline.services.restoring import RestorePolicy
from thermocline.wiring.placing import ObjectsSettings, PlacementSettings
from thermocline.wiring.s3_objects import S3ObjectsSettings
from thermocline.wiring.settings import Settings


def make_placements(settings: Settings, stores: Mapping[str, ObjectStore], installation: str) -> Placements:
    """Return where contents of each tier lie. Raises `ConfigurationError` for restores of a store that has none."""
    return Placements(
        installation,
        {
            name: _placement(name, placement, settings.objects[placement.objects], stores[placement.objects])
            for name, placement in settings.placements.items()
        },
        {
            tier: TierRules(rules.placement, rules.cache_ttl, rules.prefetch)
            for tier, rules in ((tier, settings.tier(tier)) for tier in StorageTier)
        },
    )


def cache_types(settings: Settings) -> dict[str, CacheType]:
    """Return the types of cached values, by name."""
    return {name: CacheType(name, limits.ttl, limits.max_size) for name, limits in settings.cache.types.items()}


def make_restore_policy(settings: Settings) -> RestorePolicy:
    """Return what holds for restores."""
    rules = settings.restore
    return RestorePolicy(
        speed=rules.speed,
        days=rules.days,
        daily_budget=None if rules.daily_budget is None else Usd(rules.daily_budget),
        on_read=rules.on_read,
        move_to=rules.move_to,
        poll_every=rules.poll_every,
    )


def buckets_of(settings: Settings, stores: Mapping[str, ObjectStore]) -> dict[str, tuple[str, ObjectStore]]:
    """Return the object stores that are buckets, by the buckets' names; of two with the same name the first."""
    buckets: dict[str, tuple[str, ObjectStore]] = {}
    for name, store in stores.items():
        objects = settings.objects[name]
        if isinstance(objects, S3ObjectsSettings):
            buckets.setdefault(objects.bucket, (name, store))
    return buckets


def _placement(name: str, placement: PlacementSettings, objects: ObjectsSettings, store: ObjectStore) -> Placement:
    rules = None
    if placement.restore is not None:
        if not isinstance(store, Restorable):
            raise ConfigurationError(
                f"the object store {placement.objects!r} cannot restore; remove [placements.{name}.restore]"
            )
        rules = RestoreRules(
            store,
            {
                speed: RestoreTerms(terms.delay, Usd(terms.usd_per_gb), Usd(terms.usd_per_request))
                for speed, terms in placement.restore.terms().items()
            },
        )
    deletes_adopted = isinstance(objects, S3ObjectsSettings) and objects.delete_adopted
    return Placement(name, placement.objects, store, placement.storage_class, rules, deletes_adopted)
