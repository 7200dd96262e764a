"""Settings: one frozen model. Flags, then environment, then `thermocline.toml`, then defaults.

Unknown keys are refused; secrets never show in a print. Environment variables are named
`THERMOCLINE_SECTION__KEY`, and `THERMOCLINE_SECTION__KEY__FILE` reads the value from a file.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from thermocline.domain.errors import ConfigurationError
from thermocline.domain.keys import is_name
from thermocline.domain.restores import MOST_DAYS, RestoreSpeed
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Bytes, Seconds, parse_duration, parse_size
from thermocline.ports.object_store import STANDARD

ENVIRONMENT_PREFIX = "THERMOCLINE_"
DEFAULT_FILE = Path("thermocline.toml")
NOT_SETTINGS = frozenset({"THERMOCLINE_SOAK", "THERMOCLINE_TRACEBACK"})
"""Variables with our prefix that other parts read: the tests' counts, the command line's error display."""

Size = Annotated[Bytes, BeforeValidator(parse_size)]
Duration = Annotated[Seconds, BeforeValidator(parse_duration)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _check_text(cls, value: Any) -> Any:
        # No path, address or name may have one; the system would refuse it much later, and less clearly.
        if isinstance(value, str | Path) and "\0" in str(value):
            raise ValueError("must not have NUL characters")
        return value


class CatalogSettings(_Section):
    """The catalog: which content is where."""

    url: str = ""
    """`sqlite:///path/catalog.db`. Empty: `catalog.db` in the data folder."""

    busy_timeout: Duration = Seconds(10.0)
    """How long a statement waits for another process's transaction before it is answered 503."""


class CacheTypeSettings(_Section):
    """One type of cached values."""

    ttl: Duration
    """Longest life of an entry."""

    max_size: Size
    """Larger values are not cached."""


class CacheSettings(_Section):
    """The cache."""

    url: Literal["memory://"] = "memory://"
    """Where the shared level lies; `memory://` keeps everything in the process."""

    memory: Size = Bytes(256 * 2**20)
    """How many bytes each process caches in memory."""

    second_pass: Duration = Seconds(30.0)
    """How long after a change its invalidation runs again, beyond the longest fill under way."""

    types: dict[str, CacheTypeSettings] = Field(
        default_factory=lambda: {"content": CacheTypeSettings(ttl=Seconds(3600.0), max_size=Bytes(50 * 2**20))}
    )
    """Types of cached values and their limits. What is not said of a known type stays as it is."""

    @field_validator("types", mode="before")
    @classmethod
    def _complete_types(cls, types: Any) -> Any:
        return _completed(types, {"content": {"ttl": "1h", "max_size": "50MiB"}})


class LocalObjectsSettings(_Section):
    """An object store in a folder."""

    kind: Literal["local"] = "local"
    """`local`: a folder on a disk of this machine."""

    path: Path = Path()
    """The folder. Empty: `objects` in the data folder."""


class RestoreTermsSettings(_Section):
    """What a restore at one speed takes and costs."""

    delay: Duration
    """How long it takes: what the folder store makes its readers wait, of other stores what to expect."""

    usd_per_gb: float = Field(default=0.0, ge=0)
    """What retrieving 10^9 bytes costs, in US dollars."""

    usd_per_request: float = Field(default=0.0, ge=0)
    """What each restore costs besides, in US dollars."""


class PlacementRestoreSettings(_Section):
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


class PlacementSettings(_Section):
    """A named place for objects."""

    objects: str
    """Which `[objects.NAME]` holds them."""

    storage_class: str = "STANDARD"
    """The store's storage class."""

    prices: str = "r2.standard"
    """Which prices of the price book apply."""

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
are those of AWS (S3 Deep Archive; expedited: S3 Glacier), us-east-1, from `design/economics.md`, November 2026."""


class TierSettings(_Section):
    """What a tier means."""

    placement: str
    """Where its content is placed."""

    access_frequency: Duration
    """Content read at least once in this time belongs here (the velocity policy)."""

    cache_ttl: Duration
    """Longest life in a cache; 0: never cached."""

    prefetch: bool = False
    """Whether related content is fetched ahead."""


class RestoreSettings(_Section):
    """Restores of archived content."""

    speed: RestoreSpeed = RestoreSpeed.STANDARD
    """How urgent a restore is that says nothing about it; the cheapest there is where a placement lacks it."""

    days: int = Field(default=7, ge=1, le=MOST_DAYS)
    """How long a restored copy stays readable."""

    daily_budget: float | None = Field(default=10.0, ge=0)
    """US dollars that all restores of one UTC day may cost together; beyond it they are refused. `none`: no limit."""

    on_read: bool = True
    """Whether reading archived content asks for its restore, if the caller may write it."""

    move_to: StorageTier | None = None
    """Where restored content is moved; `none`: it stays archived, and its copy expires."""

    poll_every: Duration = Seconds(60.0)
    """How often a restore is asked for that takes longer than expected."""

    @field_validator("daily_budget", "move_to", mode="before")
    @classmethod
    def _read_none(cls, value: Any) -> Any:
        return None if value == "none" else value


class HttpSettings(_Section):
    """The service."""

    host: str = "127.0.0.1"
    """The address to listen on. Without any access token only loopback addresses are allowed."""

    port: int = Field(default=8080, ge=0, le=65535)
    """The port to listen on; 0 takes a free one."""

    allowed_hosts: tuple[str, ...] = ()
    """Names by which clients may call the service while no token exists, besides loopback names."""

    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may read content; `*` for all."""

    memorise_requests: bool = True
    """Remember what identical heads ask for, so that hot reads are not parsed again; rights are checked each time."""


class LimitsSettings(_Section):
    """Bounds: past them callers wait, then are told to come back."""

    memory: Size = Bytes(512 * 2**20)
    """Bytes of content in flight in one process, over all requests."""

    max_wait: Duration = Seconds(10.0)
    """How long a request waits for its turn before 503."""

    max_waiting: int = Field(default=1000, ge=0)
    """How many requests may wait."""

    max_connections: int = Field(default=10_000, ge=1)
    """Open client connections of one process."""

    max_content_size: Size = Bytes(5 * 2**40)
    """Largest content."""

    max_buffered: Size = Bytes(256 * 2**20)
    """Largest content that `retrieve_content` reads into memory."""

    stream_max: Duration = Seconds(3600.0)
    """Longest time that one download may take."""

    presign_max: Duration = Seconds(3600.0)
    """Longest life of a presigned URL."""

    object_grace: Duration = Seconds(2 * 3600.0)
    """How long a replaced or deleted object stays in its store."""

    tombstone_grace: Duration = Seconds(7 * 86400.0)
    """How long the catalog remembers a deleted content."""

    upload_lease: Duration = Seconds(120.0)
    """How long an upload may be silent before it is cleaned up."""

    longest_request: Duration = Seconds(60.0)
    """Longest time that one request to a store may take."""

    sweep_max_share: float = Field(default=0.01, gt=0, le=1)
    """A sweep that would take a larger share of a store's objects stops and asks."""

    header_time: Duration = Seconds(10.0)
    """How long a client may take to send a request's headers."""

    stall_time: Duration = Seconds(30.0)
    """How long a client may neither send its body nor read its answer."""

    keep_alive: Duration = Seconds(75.0)
    """How long an idle connection stays open."""

    drain_time: Duration = Seconds(30.0)
    """How long shutdown waits for running requests."""


class TrackingSettings(_Section):
    """Access tracking: reads of each content, counted in memory, then kept in the catalog."""

    flush_every: Duration = Field(default=Seconds(5.0), gt=0)
    """How often each process adds its counts to the catalog; a crash loses what was counted since."""

    capacity: int = Field(default=100_000, ge=1)
    """With so many contents counted, counts are added at once; reads beyond twice as many are dropped."""

    days: int = Field(default=400, ge=1)
    """For how many days reads per day are kept; totals and rates stay."""


class ScrubSettings(_Section):
    """Reading everything again, to find damage before a reader does."""

    rate: Size = Bytes(8 * 2**20)
    """How many bytes a second are read and verified, over all processes; 0: never."""

    every: Duration = Seconds(30 * 86400.0)
    """How long after the beginning of one pass over everything the next begins."""


class LogSettings(_Section):
    """Logging."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe events that are logged."""

    format: Literal["auto", "console", "json"] = "auto"
    """`auto`: for people on a terminal, JSON lines otherwise."""


class Settings(_Section):
    """Everything that can be set. With no settings at all Thermocline runs on one machine, in a folder."""

    data: Path = Path("data")
    """The data folder: catalog and objects, unless they are elsewhere."""

    catalog: CatalogSettings = CatalogSettings()
    cache: CacheSettings = CacheSettings()
    objects: dict[str, LocalObjectsSettings] = Field(default_factory=lambda: {"main": LocalObjectsSettings()})
    placements: dict[str, PlacementSettings] = Field(default_factory=lambda: dict(DEFAULT_PLACEMENTS))
    tiers: dict[StorageTier, TierSettings] = Field(default_factory=dict)
    restore: RestoreSettings = RestoreSettings()
    http: HttpSettings = HttpSettings()
    limits: LimitsSettings = LimitsSettings()
    tracking: TrackingSettings = TrackingSettings()
    scrub: ScrubSettings = ScrubSettings()
    log: LogSettings = LogSettings()

    @field_validator("tiers", mode="before")
    @classmethod
    def _complete_tiers(cls, tiers: Any) -> Any:
        return _completed(tiers, {tier.value: rules.model_dump() for tier, rules in DEFAULT_TIERS.items()})

    @model_validator(mode="after")
    def _check(self) -> "Settings":
        for name in self.placements:
            if not is_name(name):
                raise ValueError(f"a placement's name must be 1 to 32 of a-z, 0-9 and inner hyphens, not {name!r}")
        classes: dict[tuple[str, str], tuple[str, PlacementRestoreSettings | None]] = {}
        for name, placement in self.placements.items():
            _check_restore(name, placement, classes)
            if placement.objects not in self.objects:
                wanted = placement.objects
                raise ValueError(f"[placements.{name}] objects = {wanted!r} is not defined; add [objects.{wanted}]")
        for tier in self.tiers:
            if self.tier(tier).placement not in self.placements:
                wanted = self.tier(tier).placement
                raise ValueError(f"[tiers.{tier}] placement = {wanted!r} is not defined; add [placements.{wanted}]")
        if not self.tiers and "standard" not in self.placements:
            raise ValueError("without a [tiers] section a placement must be named 'standard'")
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

    def objects_path(self, name: str) -> Path:
        """Return the folder of a local object store."""
        configured = self.objects[name].path
        if configured != Path():
            return configured
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
        merged = _read_file(path or DEFAULT_FILE, must_exist=path is not None)
        for layer in (_read_environment(environment), flags or {}):
            merged = _merge(merged, layer)
        try:
            return cls.model_validate(merged)
        except ValidationError as exc:
            raise ConfigurationError(_explain(exc)) from exc


CLOCK_MARGIN = Seconds(60.0)
"""How far clocks of different machines may differ."""

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


def _check_restore(
    name: str,
    placement: PlacementSettings,
    classes: dict[tuple[str, str], tuple[str, PlacementRestoreSettings | None]],
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


def _completed(given: Any, defaults: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return named tables completed by their defaults; what is no table is left for the model to refuse."""
    if not isinstance(given, Mapping):
        return given
    named = {str(name): table for name, table in given.items()}
    completed = {
        name: {**defaults.get(name, {}), **table} if isinstance(table, Mapping) else table
        for name, table in named.items()
    }
    return {**defaults, **completed}


def _read_file(path: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError as exc:
        if must_exist:
            raise ConfigurationError(f"there is no settings file {str(path)!r}") from exc
        return {}
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"the settings file {str(path)!r} cannot be read: {exc}") from exc
    except tomllib.TOMLDecodeError as exc:
        raise ConfigurationError(f"{path}: not valid TOML: {exc}") from exc


def _read_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    layer: dict[str, Any] = {}
    for key, value in sorted(environment.items()):
        names = key.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        text = value
        if names[-1] == "file":
            names.pop()
            try:
                text = Path(value).read_text().rstrip("\n")
            except OSError as exc:
                raise ConfigurationError(f"{key}: the file {value!r} cannot be read: {exc.strerror}") from exc
            except UnicodeDecodeError as exc:
                raise ConfigurationError(f"{key}: the file {value!r} is not UTF-8 text") from exc
        section = layer
        for name in names[:-1]:
            section = section.setdefault(name, {})
            if not isinstance(section, dict):
                raise ConfigurationError(f"{key}: {name!r} is set as a single value by another variable; remove one")
        if not names or isinstance(section.get(names[-1]), dict):
            raise ConfigurationError(f"{key} does not name one setting; write THERMOCLINE_SECTION__KEY")
        section[names[-1]] = _parse_value(text)
    return layer


def _parse_value(text: str) -> Any:
    """Return lists and tables written as TOML (`["a", "b"]`); everything else stays text, which the model converts."""
    if text[:1] in {"[", "{"}:
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            return text
    return text


def _merge(base: Mapping[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in layer.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _explain(exc: ValidationError) -> str:
    lines = []
    for error in exc.errors(include_url=False, include_input=False):
        where = ".".join(str(part) for part in error["loc"]) or "settings"
        message = error["msg"].removeprefix("Value error, ")
        if error["type"] == "extra_forbidden":
            message = "there is no such setting; 'thermocline config' prints all of them"
        lines.append(f"{where}: {message}")
    return "; ".join(lines)
