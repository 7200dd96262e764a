"""Where Redis is, read from a URL. Imports no client: settings are checked with it at every start."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final
from urllib.parse import unquote

DEFAULT_PORT: Final = 6379
DEFAULT_SENTINEL_PORT: Final = 26379
_HIGHEST_PORT: Final = 65_535


class RedisKind(StrEnum):
    """How the servers belong together."""

    SINGLE = "redis"
    CLUSTER = "redis+cluster"
    SENTINEL = "redis+sentinel"


@dataclass(frozen=True, slots=True)
class RedisLocation:
    """One server, a cluster, or a service that Sentinels watch."""

    kind: RedisKind
    hosts: tuple[tuple[str, int], ...]
    """Of a cluster: some of its nodes. Of a watched service: the Sentinels."""
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0
    service: str | None = None
    """What the Sentinels call it."""

    def with_password(self, password: str) -> "RedisLocation":
        """Return the same location with a password that was kept apart; an empty one changes nothing."""
        return replace(self, password=password) if password else self

    def __str__(self) -> str:
        """Write the URL without user and password: fit for messages."""
        scheme = self.kind.value.replace("redis", "rediss", 1) if self.tls else self.kind.value
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        path = f"/{self.service}" if self.service else ""
        return f"{scheme}://{hosts}{path}" + (f"/{self.database}" if self.database else "")


_SCHEMES: Final = {
    kind.value.replace("redis", scheme, 1): (kind, scheme == "rediss")
    for kind in RedisKind
    for scheme in ("redis", "rediss")
}
SCHEMES: Final = tuple(f"{scheme}://" for scheme in sorted(_SCHEMES))


def parse_redis_url(url: str) -> RedisLocation:
    """Return what the URL names. Raises `ValueError`, whose message never repeats it: it may hold a secret."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise ValueError(f"must begin with memory:// or one of {', '.join(SCHEMES)}")
    kind, tls = _SCHEMES[scheme]
    if any(char in rest for char in "?#"):
        raise ValueError("has a part behind '?' or '#', which it must not; use the settings of [cache]")
    authority, _, path = rest.partition("/")
    credentials, at, hosts = authority.rpartition("@")
    username, colon, password = credentials.partition(":")
    default = DEFAULT_SENTINEL_PORT if kind is RedisKind.SENTINEL else DEFAULT_PORT
    service, database = _parse_path(kind, path)
    location = RedisLocation(
        kind=kind,
        hosts=tuple(_parse_host(host, default) for host in hosts.split(",")),
        tls=tls,
        username=unquote(username) or None if at else None,
        password=unquote(password) if colon else None,
        database=database,
        service=service,
    )
    if kind is RedisKind.SINGLE and len(location.hosts) > 1:
        raise ValueError("names several servers; write redis+cluster:// for a cluster, redis+sentinel:// for Sentinels")
    return location


def _parse_host(text: str, default: int) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(default)
    host = host.removeprefix("[").removesuffix("]")
    if (
        not host
        or host.strip() != host
        or not port.isascii()
        or not port.isdigit()
        or not 0 < int(port) <= _HIGHEST_PORT
    ):
        raise ValueError("must name a host, or host:port, after '://'; several with commas between them")
    return host, int(port)


def _parse_path(kind: RedisKind, path: str) -> tuple[str | None, int]:
    segments = [unquote(segment) for segment in path.split("/") if segment]
    service = None
    if kind is RedisKind.SENTINEL:
        if not segments:
            raise ValueError(
                "must end with the name of the service that the Sentinels watch: redis+sentinel://host/name"
            )
        service = segments.pop(0)
    if not segments:
        return service, 0
    if kind is RedisKind.CLUSTER or len(segments) > 1 or not segments[0].isascii() or not segments[0].isdigit():
        raise ValueError("ends with something that is not the number of a database (a cluster has none)")
    return service, int(segments[0])
