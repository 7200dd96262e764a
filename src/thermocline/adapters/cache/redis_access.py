"""Where Redis is and how it is talked to; what a command looks like on the wire."""

from dataclasses import dataclass
from pathlib import Path

from thermocline.adapters.cache.redis_urls import RedisLocation
from thermocline.domain.errors import ConfigurationError
from thermocline.domain.units import Seconds

Part = bytes | str | int
"""Of a command."""


@dataclass(frozen=True, slots=True)
class RedisAccess:
    """Where Redis is, and how it is talked to."""

    location: RedisLocation
    timeout: Seconds = Seconds(1.0)
    """How long one call may take, everything tried again included."""
    retries: int = 3
    health_check_interval: Seconds = Seconds(30.0)
    ca_file: Path | None = None

    @property
    def socket_timeout(self) -> Seconds:
        """How long one exchange may take: so that there is time for a second."""
        return Seconds(self.timeout / 2)

    def checked_ca_file(self) -> str | None:
        """Return the file of authorities, if one is named. Raises `ConfigurationError` if it is not there."""
        if self.ca_file is None:
            return None
        if not self.ca_file.is_file():
            raise ConfigurationError(f"[cache] ca_file: there is no file {str(self.ca_file)!r}")
        return str(self.ca_file)


def pack(*command: Part) -> bytes:
    """Return a command as Redis takes it."""
    pieces = [b"*%d\r\n" % len(command)]
    for part in command:
        raw = part if isinstance(part, bytes) else str(part).encode()
        pieces.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
    return b"".join(pieces)


def pack_get(name: bytes) -> bytes:
    """Return `GET name` as Redis takes it: the command that is sent most."""
    return b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(name), name)
