"""Settings: one frozen model. Flags, then environment, then `thermocline.toml`, then defaults.

Unknown keys are refused; secrets never show in a print. Environment variables are named
`THERMOCLINE_SECTION__KEY`, and `THERMOCLINE_SECTION__KEY__FILE` reads the value from a file.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from thermocline.domain.errors import ConfigurationError
from thermocline.domain.keys import is_name
from thermocline.domain.restores import RestoreSpeed
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Seconds
from thermocline.wiring.layers import ENVIRONMENT_PREFIX, completed, explain, merge, read_environment, read_file
from thermocline.wiring.placing import (
    DEFAULT_OBJECTS,
    DEFAULT_PLACEMENTS,
    DEFAULT_TIERS,
    ClassTerms,
    LocalObjectsSettings,
    ObjectsSettings,
    PlacementSettings,
    TierSettings,
    check_restore,
)
from thermocline.wiring.policy import ClassPricesSettings, OwnPricesSettings, PolicySettings, check_prices
from thermocline.wiring.s3_objects import S3ObjectsSettings
from thermocline.wiring.sections import (
    CacheSettings,
    CatalogSettings,
    HttpSettings,
    LimitsSettings,
    LogSettings,
    PredictionSettings,
    RestoreSettings,
    ScrubSettings,
    Section,
    TrackingSettings,
)

DEFAULT_FILE = Path("thermocline.toml")
NOT_SETTINGS = frozenset({"THERMOCLINE_SOAK", "THERMOCLINE_TOKEN", "THERMOCLINE_TRACEBACK"})
"""Variables with our prefix that other parts read: the tests' counts, the command line's token and error display."""


class Settings(Section):
    """Everything that can be set. With no settings at all Thermocline runs on one machine, in a folder."""

    data: Path = Path("data")
    """The data folder: catalog and objects, unless they are elsewhere."""

    catalog: CatalogSettings = CatalogSettings()
    cache: CacheSettings = CacheSettings()
    objects: dict[str, ObjectsSettings] = Field(default_factory=lambda: dict(DEFAULT_OBJECTS))
    placements: dict[str, PlacementSettings] = Field(default_factory=lambda: dict(DEFAULT_PLACEMENTS))
    tiers: dict[StorageTier, TierSettings] = Field(default_factory=dict)
    prices: dict[str, OwnPricesSettings] = Field(default_factory=dict)
    policy: PolicySettings = PolicySettings()
    restore: RestoreSettings = RestoreSettings()
    http: HttpSettings = HttpSettings()
    limits: LimitsSettings = LimitsSettings()
    tracking: TrackingSettings = TrackingSettings()
    scrub: ScrubSettings = ScrubSettings()
    prediction: PredictionSettings = PredictionSettings()
    log: LogSettings = LogSettings()

    @field_validator("tiers", mode="before")
    @classmethod
    def _complete_tiers(cls, tiers: Any) -> Any:
        return completed(tiers, {tier.value: rules.model_dump() for tier, rules in DEFAULT_TIERS.items()})

    @field_validator("prices", mode="before")
    @classmethod
    def _read_prices(cls, prices: Any) -> Any:
        if not isinstance(prices, Mapping):
            return prices
        return {name: ClassPricesSettings.model_validate(figures) for name, figures in prices.items()}

    @field_validator("prices")
    @classmethod
    def _check_prices(cls, prices: dict[str, OwnPricesSettings]) -> dict[str, OwnPricesSettings]:
        if prices:
            check_prices(prices)
        return prices

    @model_validator(mode="after")
    def _check(self) -> "Settings":
        for name in self.placements:
            if not is_name(name):
                raise ValueError(f"a placement's name must be 1 to 32 of a-z, 0-9 and inner hyphens, not {name!r}")
        classes: ClassTerms = {}
        for name, placement in self.placements.items():
            check_restore(name, placement, classes)
            if placement.objects not in self.objects:
                wanted = placement.objects
                raise ValueError(f"[placements.{name}] objects = {wanted!r} is not defined; add [objects.{wanted}]")
            store = self.objects[placement.objects]
            if isinstance(store, S3ObjectsSettings):
                store.check_class(name, placement.storage_class, restores=placement.restore is not None)
        for tier in self.tiers:
            if self.tier(tier).placement not in self.placements:
                wanted = self.tier(tier).placement
                raise ValueError(f"[tiers.{tier}] placement = {wanted!r} is not defined; add [placements.{wanted}]")
        if not self.tiers and "standard" not in self.placements:
            raise ValueError(
                "naming placements replaces the default ones, and without a [tiers] section one must be named "
                "'standard'; add [placements.standard]"
            )
        for name, store in self.objects.items():
            if isinstance(store, S3ObjectsSettings) and store.request_timeout >= self.limits.longest_request:
                raise ValueError(
                    f"[objects.{name}] request_timeout must be shorter than [limits] longest_request: "
                    "otherwise what an abandoned upload still sends could come after its cleaning"
                )
        longest = max(self.limits.stream_max, self.limits.presign_max)
        if self.limits.object_grace < longest + CLOCK_MARGIN:
            raise ValueError(
                f"[limits] object_grace must exceed stream_max and presign_max by {CLOCK_MARGIN:.0f} s: "
                "otherwise an object could vanish while it is read"
            )
        return self

    def catalog_url(self) -> str:
        """Return the catalog's URL."""
        return self.catalog.url or f"sqlite:///{self.data.absolute() / 'catalog.db'}"

    def local_objects(self) -> list[str]:
        """Return the names of the object stores in folders."""
        return [name for name, store in self.objects.items() if isinstance(store, LocalObjectsSettings)]

    def objects_path(self, name: str) -> Path:
        """Return the folder of a local object store."""
        store = self.objects[name]
        if isinstance(store, LocalObjectsSettings) and store.path != Path():
            return store.path
        return self.data / ("objects" if name == "main" else f"objects-{name}")

    def archive_classes(self, name: str) -> dict[str, dict[RestoreSpeed, Seconds]]:
        """Return the classes of an object store that must be restored, and how long each speed takes."""
        return {
            placement.storage_class: {speed: terms.delay for speed, terms in placement.restore.terms().items()}
            for placement in self.placements.values()
            if placement.objects == name and placement.restore is not None
        }

    def tier(self, tier: StorageTier) -> TierSettings:
        """Return what a tier means, with the seed's thresholds where nothing is set."""
        rules = self.tiers.get(tier) or DEFAULT_TIERS[tier]
        # Whoever names placements of their own, and no archive among them, has one place for everything.
        if rules == DEFAULT_TIERS[tier] and rules.placement not in self.placements:
            return rules.model_copy(update={"placement": "standard"})
        return rules

    @classmethod
    def load(cls, config: Path | None = None, *, flags: Mapping[str, Any] | None = None) -> "Settings":
        """Return the settings in force. Raises `ConfigurationError` that names each wrong key.

        `config` must exist if given; otherwise `THERMOCLINE_CONFIG` or `thermocline.toml` is read if it is there.
        `flags` are nested like the file and win over everything.
        """
        environment = {
            key: value
            for key, value in os.environ.items()
            if key.startswith(ENVIRONMENT_PREFIX) and key not in NOT_SETTINGS
        }
        named = environment.pop(ENVIRONMENT_PREFIX + "CONFIG", None)
        path = config or (Path(named) if named else None)
        merged = read_file(path or DEFAULT_FILE, must_exist=path is not None)
        for layer in (read_environment(environment), flags or {}):
            merged = merge(merged, layer)
        try:
            return cls.model_validate(merged)
        except ValidationError as exc:
            raise ConfigurationError(explain(exc)) from exc


CLOCK_MARGIN = Seconds(60.0)
"""How far clocks of different machines may differ."""
