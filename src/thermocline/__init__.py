"""Thermocline: tiered storage, cache and delivery for content platforms.

Names are loaded when they are first used, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thermocline.cache import StoreCache
    from thermocline.domain.content import Receipt, Record, Visibility
    from thermocline.domain.errors import (
        BusyError,
        CatalogVersionError,
        CommitUnknownError,
        ConfigurationError,
        ContentArchivedError,
        ContentHeldError,
        ContentNotFoundError,
        ContentTooLargeError,
        DigestMismatchError,
        FileChangedError,
        FileTreeError,
        InstallationMismatchError,
        IntegrityError,
        IntentLostError,
        InvalidContentIdError,
        InvalidInputError,
        InvalidMetadataError,
        InvalidRangeError,
        MoveLostError,
        ObjectArchivedError,
        ObjectMissingError,
        OutOfSpaceError,
        PreconditionFailedError,
        RestoreBudgetError,
        StorageError,
        TruncatedBodyError,
        UnavailableError,
        UnsafePathError,
    )
    from thermocline.domain.glob import escape_glob
    from thermocline.domain.tiers import StorageTier
    from thermocline.interfaces.http.app import create_app, get_store
    from thermocline.orchestrator import StorageOrchestrator
    from thermocline.synchronous import SyncStorageOrchestrator, SyncStoreCache
    from thermocline.wiring.settings import Settings

__all__ = [
    "BusyError",
    "CatalogVersionError",
    "CommitUnknownError",
    "ConfigurationError",
    "ContentArchivedError",
    "ContentHeldError",
    "ContentNotFoundError",
    "ContentTooLargeError",
    "DigestMismatchError",
    "FileChangedError",
    "FileTreeError",
    "InstallationMismatchError",
    "IntegrityError",
    "IntentLostError",
    "InvalidContentIdError",
    "InvalidInputError",
    "InvalidMetadataError",
    "InvalidRangeError",
    "MoveLostError",
    "ObjectArchivedError",
    "ObjectMissingError",
    "OutOfSpaceError",
    "PreconditionFailedError",
    "Receipt",
    "Record",
    "RestoreBudgetError",
    "Settings",
    "StorageError",
    "StorageOrchestrator",
    "StorageTier",
    "StoreCache",
    "SyncStorageOrchestrator",
    "SyncStoreCache",
    "TruncatedBodyError",
    "UnavailableError",
    "UnsafePathError",
    "Visibility",
    "create_app",
    "escape_glob",
    "get_store",
]

_HOMES = {
    "Receipt": "thermocline.domain.content",
    "Record": "thermocline.domain.content",
    "Visibility": "thermocline.domain.content",
    "StorageTier": "thermocline.domain.tiers",
    "Settings": "thermocline.wiring.settings",
    "StoreCache": "thermocline.cache",
    "SyncStoreCache": "thermocline.synchronous",
    "escape_glob": "thermocline.domain.glob",
    "StorageOrchestrator": "thermocline.orchestrator",
    "SyncStorageOrchestrator": "thermocline.synchronous",
    "create_app": "thermocline.interfaces.http.app",
    "get_store": "thermocline.interfaces.http.app",
}


def __getattr__(name: str) -> Any:
    """Return a public name from its home, and remember it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES.get(name, "thermocline.domain.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
