"""Sections of the settings that belong to no single place: each is a frozen model with documented fields."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator

from thermocline.adapters.cache.redis_urls import parse_redis_url
from thermocline.domain.cache_types import TYPE_NAME
from thermocline.domain.restores import MOST_DAYS, RestoreSpeed
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Bytes, Seconds, parse_duration, parse_size
from thermocline.wiring.layers import completed

Size = Annotated[Bytes, BeforeValidator(parse_size)]
Duration = Annotated[Seconds, BeforeValidator(parse_duration)]


class Section(BaseModel):
    """A table of the settings: unknown keys are refused, and nothing changes once it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _check_text(cls, value: Any) -> Any:
        # No path, address or name may have one; the system would refuse it much later, and less clearly.
        if isinstance(value, str | Path) and "\0" in str(value):
            raise ValueError("must not have NUL characters")
        return value


class CatalogSettings(Section):
    """The catalog: which content is where."""

    url: str = ""
    """`sqlite:///path/catalog.db` or `postgresql://user:password@host:5432/name`. Empty: a file in the data folder."""

    busy_timeout: Duration = Seconds(10.0)
    """How long a statement waits for another process's transaction before it is answered 503."""

    connections: int = Field(default=8, ge=2, le=200)
    """How many connections to PostgreSQL each process keeps; half of them only read. SQLite needs none."""


MEMORY_URL = "memory://"
CACHE_TYPES: Final[Mapping[str, Mapping[str, str]]] = {
    "content": {"ttl": "1h", "max_size": "50MiB"},
    "metadata": {"ttl": "24h", "max_size": "1MiB"},
    "user_preferences": {"ttl": "1h", "max_size": "100KiB"},
    "recommendations": {"ttl": "30m", "max_size": "500KiB"},
}
"""The seed's types of cached values, and their limits."""


class CacheTypeSettings(Section):
    """One type of cached values."""

    ttl: Duration
    """Longest life of an entry."""

    max_size: Size
    """Larger values are not cached."""


class CacheSettings(Section):
    """The cache."""

    url: str = "memory://"
    """Where the shared level lies; `memory://` keeps everything in the process. `redis://HOST:PORT`, with TLS
    `rediss://`; `redis+cluster://HOST:PORT,HOST:PORT`, `redis+sentinel://HOST:PORT,HOST:PORT/SERVICE`."""

    password: SecretStr = SecretStr("")
    """Password of Redis, if it is not in `url`."""

    ca_file: Path | None = None
    """Who signs the certificates of Redis; `none`: whom the system trusts."""

    timeout: Duration = Field(default=Seconds(1.0), gt=0)
    """How long one call to Redis may take, all that is tried again included. Then it is left alone until it answers.
    The largest values must come through in half of it."""

    retries: int = Field(default=3, ge=1, le=20)
    """How often a call to Redis is tried again within `timeout`, with growing random pauses."""

    health_check_interval: Duration = Seconds(30.0)
    """A connection to Redis that was idle for so long is tried before it is used."""

    memory: Size = Bytes(256 * 2**20)
    """How many bytes each process caches in memory."""

    l1_max_age: Duration = Field(default=Seconds(10.0), gt=0)
    """How long memory serves a value without asking Redis whether it is current: how stale a read may be in a process
    that was not told of a change. With `memory://` there is nobody to ask."""

    second_pass: Duration = Seconds(30.0)
    """How long after a change its invalidation runs again, beyond the longest fill under way."""

    types: dict[str, CacheTypeSettings] = Field(
        default_factory=lambda: {name: CacheTypeSettings.model_validate(limits) for name, limits in CACHE_TYPES.items()}
    )
    """Types of cached values and their limits. What is not said of a known type stays as it is; others may be added."""

    stale_if_error: Duration = Seconds(3600.0)
    """For how long a value is kept after its lifetime, to be served while catalog or storage fail. `0`: never."""

    negative_ttl: Duration = Field(default=Seconds(1.0), le=2)
    """For how long each process remembers that there is no such content. `0`: never."""

    @property
    def is_shared(self) -> bool:
        """Whether several processes share a cache."""
        return self.url != MEMORY_URL

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        if url != MEMORY_URL:
            parse_redis_url(url)
        return url

    @field_validator("ca_file", mode="before")
    @classmethod
    def _read_none(cls, value: Any) -> Any:
        return None if value == "none" else value

    @field_validator("types")
    @classmethod
    def _check_types(cls, types: dict[str, CacheTypeSettings]) -> dict[str, CacheTypeSettings]:
        for name, limits in types.items():
            if not TYPE_NAME.fullmatch(name):
                raise ValueError(f"a cache type's name has small letters, digits and '_', not {name!r}")
            if limits.ttl <= 0:
                raise ValueError(f"the lifetime of the cache type {name!r} must be positive")
        return types

    @field_validator("types", mode="before")
    @classmethod
    def _complete_types(cls, types: Any) -> Any:
        return completed(types, CACHE_TYPES)


class RestoreSettings(Section):
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


class HttpSettings(Section):
    """The service."""

    host: str = "127.0.0.1"
    """The address to listen on. Without any access token only loopback addresses are allowed."""

    port: int = Field(default=8080, ge=0, le=65535)
    """The port to listen on; 0 takes a free one."""

    workers: int = Field(default=1, ge=1, le=64)
    """How many processes serve, sharing the port. Limits, budgets and the memory cache are of each process."""

    allowed_hosts: tuple[str, ...] = ()
    """Names by which clients may call the service while no token exists, besides loopback names."""

    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may read content; `*` for all."""

    redirect_from: Size | None = None
    """Content of at least this size is not sent but redirected to (307), by a URL of its bucket that lives for
    `[limits] presign_max`. Such bytes are not verified by us. `none`: everything is sent from here."""

    memorise_requests: bool = True
    """Remember what identical heads ask for, so that hot reads are not parsed again; rights are checked each time."""

    @field_validator("redirect_from", mode="before")
    @classmethod
    def _read_none(cls, value: Any) -> Any:
        return None if value == "none" else value


class LimitsSettings(Section):
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

    moves_at_once: int = Field(default=4, ge=1, le=256)
    """How many planned copies each worker makes at once; each holds memory for up to three parts of an upload."""

    moves_per_second: float | None = Field(default=None, gt=0)
    """How many copies each worker begins into one object store in a second. `none`: as many as it can."""

    move_attempts: int = Field(default=50, ge=1)
    """After so many failures in a row a planned copy is given up, and shown until somebody asks for it again."""

    sweep_max_share: float = Field(default=0.01, gt=0, le=1)
    """A sweep that would take a larger share of a store's objects stops and asks."""

    sweep_share_size: int = Field(default=100_000, ge=1)
    """How many contents a share of a bucket's sweep, or of a policy's pass, has at least; workers do the shares side by
    side."""

    header_time: Duration = Seconds(10.0)
    """How long a client may take to send a request's headers."""

    stall_time: Duration = Seconds(30.0)
    """How long a client may neither send its body nor read its answer."""

    keep_alive: Duration = Seconds(75.0)
    """How long an idle connection stays open."""

    drain_time: Duration = Seconds(30.0)
    """How long shutdown waits for running requests."""

    @field_validator("moves_per_second", mode="before")
    @classmethod
    def _read_none(cls, value: Any) -> Any:
        return None if value == "none" else value


class TrackingSettings(Section):
    """Access tracking: reads of each content, counted in memory, then kept in the catalog."""

    flush_every: Duration = Field(default=Seconds(5.0), gt=0)
    """How often each process adds its counts to the catalog; a crash loses what was counted since."""

    capacity: int = Field(default=100_000, ge=1)
    """With so many contents counted, counts are added at once; reads beyond twice as many are dropped."""

    days: int = Field(default=400, ge=1)
    """For how many days reads per day are kept; totals and rates stay."""


class PredictionSettings(Section):
    """Learning what is read together, and fetching ahead what a user will read next. Both need a user context."""

    enabled: bool = True
    """Whether reads with a user context are learned from, and lead to prefetching where a tier has `prefetch`."""

    memory: Size = Field(default=Bytes(32 * 2**20), ge=2**20)
    """How many bytes each process spends on what it learned."""

    half_life: Duration = Field(default=Seconds(180 * 86400.0), ge=3600)
    """After how long an observation counts half."""

    session_idle: Duration = Field(default=Seconds(1800.0), gt=0)
    """After how long without a read a user's session has ended."""

    save_every: Duration = Field(default=Seconds(300.0), ge=1)
    """How often processes share and save what they learned; a crash loses what came since."""

    wait_weight: float = Field(default=5.0, ge=1, le=1000)
    """How many reads in the background one spared wait of a user is worth: content is fetched ahead if its probability
    exceeds 1/`wait_weight`, more if it is large."""

    concurrency: int = Field(default=4, ge=1, le=64)
    """For how many reads at a time related content is fetched."""

    bytes_per_minute: Size = Bytes(64 * 2**20)
    """How much each process fetches ahead in a minute at most; 0: nothing."""

    window: Duration = Field(default=Seconds(600.0), gt=0)
    """What is not read so long after it was fetched ahead was wasted."""

    paid_retrieval: bool = False
    """Whether content in a storage class other than STANDARD may be fetched ahead: reading it may cost extra."""


class ScrubSettings(Section):
    """Reading everything again, to find damage before a reader does."""

    rate: Size = Bytes(8 * 2**20)
    """How many bytes a second are read and verified, over all processes; 0: never."""

    every: Duration = Seconds(30 * 86400.0)
    """How long after the beginning of one pass over everything the next begins."""


class LogSettings(Section):
    """Logging."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe events that are logged."""

    format: Literal["auto", "console", "json"] = "auto"
    """`auto`: for people on a terminal, JSON lines otherwise."""
