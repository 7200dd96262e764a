"""Catalog URLs: `sqlite:///relative/path`, `sqlite:////absolute/path`, `postgresql://user:password@host:5432/name`."""

from pathlib import Path
from typing import Final

from thermocline.domain.errors import ConfigurationError

_SQLITE: Final = "sqlite:///"
_POSTGRES: Final = frozenset({"postgresql", "postgres"})


def is_postgres(url: str) -> bool:
    """Whether a catalog URL names a PostgreSQL database."""
    return url.partition(":")[0] in _POSTGRES


def sqlite_path(url: str) -> Path:
    """Return the file that a catalog URL names. Raises `ConfigurationError`.

    What follows `sqlite:///` is the path as it stands: no escapes, no options.
    """
    scheme, _, _ = url.partition(":")
    if scheme != "sqlite":
        raise ConfigurationError(
            f"there is no catalog for {scheme!r} URLs; write sqlite:///path/catalog.db or postgresql://user@host/database"
        )
    path = url.removeprefix(_SQLITE)
    if path == url or not path or path == ":memory:":
        raise ConfigurationError(f"catalog URL {url!r} names no file; write sqlite:///path/catalog.db")
    return Path(path)
