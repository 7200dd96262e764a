"""What Redis and its client tell as errors, as ours. One table; the first class that fits counts."""

import ssl
from typing import Final

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    OutOfMemoryError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from thermocline.adapters.cache.redis_wire import WireLostError
from thermocline.domain.errors import ConfigurationError, OutOfSpaceError, StorageError, UnavailableError
from thermocline.domain.units import Seconds

RETRY_AFTER: Final = Seconds(1.0)

# What asking again does not change.
_FINAL: Final = (OutOfMemoryError, AuthenticationError, AuthorizationError, NoPermissionError)
_DENIED: Final = (AuthenticationError, AuthorizationError, NoPermissionError)
_NO_CLUSTER: Final = "cluster support disabled"


def is_final(exc: Exception) -> bool:
    """Whether the same command would fail the same way a moment later."""
    return isinstance(exc, _FINAL) or is_wrong_type(exc)


def is_wrong_type(exc: Exception) -> bool:
    """Whether the key holds something that is no string, so nothing of ours."""
    return isinstance(exc, ResponseError) and str(exc).startswith("WRONGTYPE")


def as_ours(exc: Exception) -> StorageError:
    """Return what tells callers of the port the same."""
    if isinstance(exc, OutOfMemoryError):
        return OutOfSpaceError("Redis is full and may not evict (maxmemory-policy noeviction)", retry_after=RETRY_AFTER)
    if isinstance(exc, _DENIED):
        return UnavailableError(f"Redis refuses our user or password: {_first_line(exc)}", retry_after=RETRY_AFTER)
    exc = exc.__cause__ if isinstance(exc, WireLostError) and isinstance(exc.__cause__, Exception) else exc
    if isinstance(exc, TimeoutError | RedisTimeoutError):
        return UnavailableError("Redis did not answer in time", retry_after=RETRY_AFTER)
    return UnavailableError(f"Redis does not answer: {type(exc).__name__}: {_first_line(exc)}", retry_after=RETRY_AFTER)


def as_wrong_setting(exc: BaseException, where: str) -> ConfigurationError | None:
    """Return what to change in the settings if they are why it failed; None if Redis may just be down.

    `exc` is what connecting raised, with its causes.
    """
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, _DENIED):
            return ConfigurationError(
                f"Redis at {where} refuses us ({_first_line(cause)}); set user and password in [cache] url, "
                "or the password in [cache] password"
            )
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ConfigurationError(
                f"the certificate of Redis at {where} is not trusted ({cause.verify_message}); "
                "name its authority in [cache] ca_file"
            )
        if isinstance(cause, ssl.SSLError):
            return ConfigurationError(
                f"Redis at {where} does not speak TLS; write redis instead of rediss in [cache] url"
            )
        if isinstance(cause, ResponseError) and _NO_CLUSTER in str(cause).lower():
            return ConfigurationError(
                f"Redis at {where} is not in cluster mode; write redis:// instead of redis+cluster:// in [cache] url"
            )
        cause = cause.__cause__ or cause.__context__
    return None


def _first_line(exc: BaseException) -> str:
    return (str(exc).splitlines() or [type(exc).__name__])[0]
