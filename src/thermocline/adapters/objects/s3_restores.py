"""Restores by RestoreObject, and what HEAD says of them.

The store's word is the only one: nothing is kept here. Asking again for what is readable would give it a new end,
which may be earlier; so it is asked for only if the new end is later, one request of a process at a time. Of two
processes that do so at the same moment the later one wins, which the store cannot prevent; callers have one row, so
one request, for each object.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Any, Final

from thermocline.adapters.objects.archive_classes import ArchiveClasses
from thermocline.adapters.objects.s3_clients import Refused, S3Clients
from thermocline.adapters.objects.s3_dialects import TIERS
from thermocline.adapters.objects.s3_keys import stored_key
from thermocline.adapters.objects.s3_listing import whole_second
from thermocline.domain.errors import ObjectMissingError, StorageError
from thermocline.domain.restores import RestoreSpeed, RestoreStage, StoreRestore, check_days
from thermocline.domain.units import Seconds, Timestamp, later
from thermocline.ports.object_store import STANDARD

_DAY: Final = 86400.0
_ONGOING: Final = re.compile(r'ongoing-request="(true|false)"')
_EXPIRY: Final = re.compile(r'expiry-date="([^"]{1,64})"')
_IN_PROGRESS: Final = frozenset({"RestoreAlreadyInProgress"})
_GONE: Final = frozenset({"404"})


class S3Restores:
    """Restores of one bucket's objects."""

    def __init__(self, clients: S3Clients, archives: ArchiveClasses) -> None:
        self._clients = clients
        self._archives = archives
        self._extending: dict[str, tuple[asyncio.Lock, int]] = {}

    async def request(self, key: str, *, speed: RestoreSpeed, days: int) -> None:
        """Ask for the object, or for more time with it; what is under way stays as it is."""
        stored_key(key)
        check_days(days)
        async with self._alone(key):
            head = await self._head(key)
            storage_class = head.get("StorageClass") or STANDARD
            if not self._is_archive(storage_class):
                raise ValueError(f"object {key!r} needs no restore; its class is {storage_class}")
            self._archives.delay(storage_class, speed)
            state = state_of(head)
            wanted = later(_now(head), Seconds(days * _DAY))
            if state.stage is RestoreStage.REQUESTED:
                return
            if state.readable_until is not None and state.readable_until >= wanted:
                return
            request: dict[str, Any] = {"Days": days, "GlacierJobParameters": {"Tier": TIERS[speed]}}
            try:
                await self._clients.call(
                    f"restoring {key!r}", key, "restore_object",
                    hears=_IN_PROGRESS, Key=stored_key(key), RestoreRequest=request,
                )  # fmt: skip
            except Refused:
                return  # somebody else was faster

    async def state(self, key: str) -> StoreRestore:
        """Return how far the restore is."""
        head = await self._head(key)
        if not self._is_archive(head.get("StorageClass") or STANDARD):
            return StoreRestore(RestoreStage.READABLE)
        return state_of(head)

    def is_archived(self, head: Mapping[str, Any]) -> bool:
        """Whether the object that HEAD tells of cannot be read now."""
        archive = self._is_archive(head.get("StorageClass") or STANDARD)
        return archive and state_of(head).stage is not RestoreStage.READABLE

    def _is_archive(self, storage_class: str) -> bool:
        return storage_class in self._archives or storage_class in self._clients.dialect.archive_classes

    async def _head(self, key: str) -> Mapping[str, Any]:
        head = await self._clients.head(f"looking at {key!r}", key)
        if head is None:
            raise ObjectMissingError(key)
        return head

    @asynccontextmanager
    async def _alone(self, key: str) -> AsyncIterator[None]:
        lock, users = self._extending.get(key, (asyncio.Lock(), 0))
        self._extending[key] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            _, users = self._extending[key]
            if users == 1:
                del self._extending[key]
            else:
                self._extending[key] = lock, users - 1


def state_of(head: Mapping[str, Any]) -> StoreRestore:
    """Return what the header `x-amz-restore` says. Raises `StorageError` if it says nothing that we know."""
    told = head.get("Restore")
    if not told:
        return StoreRestore(RestoreStage.ARCHIVED)
    ongoing, expiry = _ONGOING.search(told), _EXPIRY.search(told)
    if ongoing is not None and ongoing[1] == "true":
        return StoreRestore(RestoreStage.REQUESTED)
    if ongoing is None or expiry is None:
        raise StorageError(f"the store tells of a restore in words that are not known: {told[:80]!r}")
    until = whole_second(parsedate_to_datetime(expiry[1]))
    return StoreRestore(RestoreStage.READABLE, until) if until > _now(head) else StoreRestore(RestoreStage.ARCHIVED)


def _now(head: Mapping[str, Any]) -> Timestamp:
    """Return the store's own time."""
    return whole_second(parsedate_to_datetime(head["ResponseMetadata"]["HTTPHeaders"]["date"]))
