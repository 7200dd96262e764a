"""The face of Thermocline: a thin bundle of services, with no logic of its own."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from os import PathLike, fspath
from typing import Any, Self

from thermocline.cache import StoreCache
from thermocline.domain.conditions import parse_condition
from thermocline.domain.content import (
    DEFAULT_CONTENT_TYPE,
    Changes,
    Receipt,
    Record,
    StoredHeaders,
    Visibility,
    parse_visibility,
)
from thermocline.domain.content_id import parse_content_id, parse_prefix
from thermocline.domain.restores import RestoreSpeed, RestoreStatus, parse_speed
from thermocline.domain.tiers import StorageTier, parse_tier
from thermocline.domain.units import Bytes, Seconds, Timestamp, later
from thermocline.services.checking import Finding
from thermocline.services.clearing import ClearReport
from thermocline.services.deleting import Erasure
from thermocline.services.direct_uploads import UploadSession
from thermocline.services.explanations import Explanation
from thermocline.services.exporting import ExportOptions
from thermocline.services.importing import DEFAULT_JOBS, ImportOptions, folder_prefix
from thermocline.services.listing import Page
from thermocline.services.moving import TierOutcome
from thermocline.services.open_contents import OpenContent
from thermocline.services.optimization_reports import OptimizationReport
from thermocline.services.transferring import Body, WriteRequest
from thermocline.services.tree_reports import TreeProgress, TreeReport
from thermocline.wiring.build import open_services
from thermocline.wiring.services import Services
from thermocline.wiring.settings import Settings

DEFAULT_TIER = StorageTier.HOT


class StorageOrchestrator:
    """Stores, serves and deletes contents; what was acknowledged is never lost.

    Safe for concurrent use by tasks of one event loop. Every method raises `InvalidContentIdError` for an id that
    breaks the rules of `domain.content_id`, and `UnavailableError` if a dependency does not answer.
    """

    def __init__(self, services: Services) -> None:
        self.services = services
        """The parts, for interfaces and for those who need more than the face."""
        self.cache = StoreCache(services)
        """The caches: values by type, evictions, statistics."""
        self._held = services.cache.held.values
        self._meet = services.cache.held.meet
        self._monotonic = services.adapters.clock.monotonic

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings | None = None, *, work: bool = False) -> AsyncIterator[Self]:
        """Open a store for the length of the block; `work` also runs the background work (as `serve` does).

        Raises `ConfigurationError` if it cannot start like this; the message says what to change.
        """
        async with open_services(settings or Settings.load(), work=work) as services:
            yield cls(services)

    async def store_content(
        self,
        content_id: str,
        content_data: Body,
        metadata: Mapping[str, Any] | None = None,
        initial_tier: StorageTier | str | None = DEFAULT_TIER,
        *,
        content_type: str = DEFAULT_CONTENT_TYPE,
        cache_control: str | None = None,
        content_disposition: str | None = None,
        visibility: Visibility | str = Visibility.PRIVATE,
        expires_in: float | None = None,
        if_match: str | None = None,
        if_none_match: str | None = None,
        size: int | None = None,
        sha256: bytes | None = None,
    ) -> Receipt:
        """Store the content, all or nothing; the receipt means that it is durable.

        `content_data` is bytes or an asynchronous iterator of bytes of any length. `size` and `sha256` (32 bytes),
        if given, are verified. `expires_in` is in seconds. `if_match` and `if_none_match` are written as in HTTP
        (`"*"` or quoted entity tags). `initial_tier=None` asks the ingest rules.
        Raises `PreconditionFailedError`, `ContentHeldError`, `DigestMismatchError`, `TruncatedBodyError`,
        `ContentTooLargeError`, `InvalidMetadataError`.
        """
        request = WriteRequest(
            content_id=parse_content_id(content_id),
            tier=DEFAULT_TIER if initial_tier is None else parse_tier(initial_tier),
            headers=StoredHeaders(content_type, cache_control, content_disposition),
            metadata=metadata,
            visibility=parse_visibility(visibility),
            expires_at=self._moment_in(expires_in),
            condition=parse_condition(if_match, if_none_match),
            expected_size=None if size is None else Bytes(size),
            expected_sha256=sha256,
        )
        return await self.services.writing.store(request, content_data)

    async def begin_upload(
        self,
        content_id: str,
        size: int,
        metadata: Mapping[str, Any] | None = None,
        initial_tier: StorageTier | str | None = DEFAULT_TIER,
        *,
        content_type: str = DEFAULT_CONTENT_TYPE,
        cache_control: str | None = None,
        content_disposition: str | None = None,
        visibility: Visibility | str = Visibility.PRIVATE,
        expires_in: float | None = None,
        sha256: bytes | None = None,
    ) -> UploadSession:
        """Begin an upload of `size` bytes whose parts go straight to the object store, by the URLs of the session.

        What is not completed when the session ends is removed. `expires_in` counts from the completion on. Raises
        `InvalidInputError` if the tier's store gives out no URLs or there is more to remember than 4 KiB, and what
        `store_content` raises for its parameters.
        """
        request = WriteRequest(
            content_id=parse_content_id(content_id),
            tier=DEFAULT_TIER if initial_tier is None else parse_tier(initial_tier),
            headers=StoredHeaders(content_type, cache_control, content_disposition),
            metadata=metadata,
            visibility=parse_visibility(visibility),
            expires_at=self._moment_in(expires_in),
            expected_sha256=sha256,
        )
        return await self.services.direct_uploads.begin(request, size)

    async def complete_upload(
        self, token: str, *, if_match: str | None = None, if_none_match: str | None = None
    ) -> Receipt:
        """Make the parts that were sent the content; the receipt means that it is durable. Repeating it succeeds.

        Raises `TruncatedBodyError` while parts are missing, `DigestMismatchError`, `PreconditionFailedError`,
        `ContentHeldError`, `IntentLostError` if the session is over.
        """
        return await self.services.direct_uploads.complete(token, condition=parse_condition(if_match, if_none_match))

    async def retrieve_content(
        self,
        content_id: str,
        user_context: Mapping[str, Any] | None = None,
        *,
        wait: float = 0.0,
    ) -> bytes:
        """Return the whole content, verified.

        `user_context` names who reads (`session_id` or `user_id`): what is read together is learned from it, and what
        is likely to be read next is fetched ahead, in the background. It is kept as a hash, as long as a session lasts.
        Archived content is being restored from the first call on; `wait` is for how many seconds to wait until it
        is readable. Raises `ContentArchivedError` (its `eta` says when to come back), `ContentNotFoundError`,
        `IntegrityError`, `ContentTooLargeError` (then use `open_content`).
        """
        # A hit goes on here, without a call of ours (`ports.held`): calls are what a read from memory costs.
        try:
            value = self._held[content_id]
        except (KeyError, TypeError):
            pass  # not in memory, or not even hashable: refused below
        else:
            if self._monotonic() < value.quiet_until or self._meet(content_id) is not None:
                value.hits += 1
                if user_context is not None:
                    self._fetch_ahead(content_id, value.entry.tier, user_context)
                return value.payload
        parsed = parse_content_id(content_id)
        entry = (await self.services.reading.load(parsed, may_restore=True, wait=Seconds(wait))).entry
        if user_context is not None:
            self._fetch_ahead(content_id, entry.tier, user_context)
        return entry.payload

    def open_content(
        self, content_id: str, *, start: int = 0, end: int | None = None
    ) -> AbstractAsyncContextManager[OpenContent]:
        """Open the bytes `[start, end)` for reading in verified pieces; bounded memory whatever the size.

        Bounds work as in slices: half-open, cut to the content, negative ones count from its end.
        Raises `ContentNotFoundError`, `IntegrityError`, `InvalidRangeError`, `ContentArchivedError` (its restore is
        then on its way).
        """
        return self.services.reading.open(parse_content_id(content_id), start, end, may_restore=True)

    async def stat(self, content_id: str) -> Record:
        """Return the current record, with how it was read, its restore and its planned move.

        Reads show a few seconds after they happened. Raises `ContentNotFoundError`.
        """
        return await self.services.describing.describe(parse_content_id(content_id))

    def list_content(self, prefix: str = "", *, tier: StorageTier | str | None = None) -> AsyncIterator[Record]:
        """Yield the records whose id starts with `prefix`, in order of their UTF-8 bytes."""
        return self.services.listing.all(prefix=prefix, tier=None if tier is None else parse_tier(tier))

    async def list_page(
        self, prefix: str = "", *, tier: StorageTier | str | None = None, limit: int = 100, cursor: str | None = None
    ) -> Page:
        """Return one page of `list_content` and the cursor of the next; the last of a million costs as the first."""
        return await self.services.listing.page(
            prefix=prefix, tier=None if tier is None else parse_tier(tier), limit=limit, cursor=cursor
        )

    async def delete_content(self, content_id: str, *, if_match: str | None = None) -> bool:
        """Delete the content; whether there was one. Idempotent.

        Raises `ContentHeldError`, `PreconditionFailedError`.
        """
        return await self.services.deleting.delete(
            parse_content_id(content_id), condition=parse_condition(if_match, None)
        )

    async def erase_content(self, content_id: str) -> Erasure:
        """Delete the content, its stored bytes and every trace of it, without grace; report what was removed.

        The report is true if there was such a content. Raises `ContentHeldError`.
        """
        return await self.services.deleting.erase(parse_content_id(content_id))

    async def update_metadata(
        self,
        content_id: str,
        metadata: Mapping[str, Any] | None = None,
        *,
        visibility: Visibility | str | None = None,
        expires_in: float | None = None,
        never_expires: bool = False,
        held: bool | None = None,
        pinned: bool | None = None,
        if_match: str | None = None,
    ) -> Record:
        """Change what is known of the content, not its bytes; return the record as committed.

        `metadata` is a JSON merge patch: None removes a key. What is None otherwise stays as it is. On hold it can
        be neither overwritten, deleted, expired nor moved; pinned, no policy moves it.
        Raises `ContentNotFoundError`, `ContentHeldError`, `PreconditionFailedError`, `InvalidMetadataError`.
        """
        changes = Changes(
            metadata=metadata,
            visibility=None if visibility is None else parse_visibility(visibility),
            expires_at=self._moment_in(expires_in),
            never_expires=never_expires,
            held=held,
            pinned=pinned,
        )
        return await self.services.changing.change(
            parse_content_id(content_id), changes, condition=parse_condition(if_match, None)
        )

    async def set_tier(
        self, content_id: str, tier: StorageTier | str, *, wait: bool = True, if_match: str | None = None
    ) -> TierOutcome:
        """Move the content to a tier; durably planned at least, and made unless `planned` says so.

        Without a copy it is made at once. A copy is made within the call, or with `wait=False` by a worker; content
        that leaves an archive is restored first and moved by a worker then. If making it failed, `error` says why.
        Raises `ContentNotFoundError`, `ContentHeldError`, `PreconditionFailedError`, `MoveLostError` (new bytes or
        another move came first).
        """
        parsed = parse_content_id(content_id)
        moving = self.services.moving
        outcome = await moving.set_tier(parsed, parse_tier(tier), condition=parse_condition(if_match, None))
        return await moving.finish(outcome) if wait and outcome.planned else outcome

    async def optimize_storage_tiers(
        self,
        *,
        dry_run: bool = False,
        prefix: str = "",
        limit: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> OptimizationReport:
        """Move every content whose id starts with `prefix` to where the policy of the settings wants it, if that pays.

        What needs no copy is changed within the call; copies are planned durably, within the day's limits, for a
        worker to make. With `dry_run` nothing changes, and the limits are left out of account. It ends after `limit`
        transitions. `progress` hears of how many contents were decided on. Safe to repeat: the next call finds what
        is left. The report has the seed's `transitions`, `cost_savings` (US dollars a month) and `performance_impact`
        (milliseconds), and tells what was refused and why.
        """
        return await self.services.optimizing.run(
            dry_run=dry_run,
            prefix=parse_prefix(prefix),
            limit=limit,
            progress=progress if progress is not None else lambda _: None,
        )

    async def explain_tier(self, content_id: str) -> Explanation:
        """Return why the content has its tier, what would change that, and what it costs here and elsewhere.

        Raises `ContentNotFoundError`.
        """
        return await self.services.explaining.explain(parse_content_id(content_id))

    async def restore_content(
        self, content_id: str, *, speed: RestoreSpeed | str | None = None, days: int | None = None, wait: float = 0.0
    ) -> RestoreStatus:
        """Make archived content readable for `days` days, or return how far that is; asking again costs nothing.

        `speed` is `bulk`, `standard` or `expedited`; both have defaults in the settings. `wait` is for how many
        seconds to wait until it is readable. Content that is not archived is readable already.
        Raises `ContentNotFoundError`, `RestoreBudgetError`, `InvalidInputError`.
        """
        record = await self.services.reading.stat(parse_content_id(content_id))
        restoring = self.services.restoring
        chosen = None if speed is None else parse_speed(speed)
        status = await restoring.request(record, speed=chosen, days=days)
        return await restoring.wait(record, within=Seconds(wait), speed=chosen, days=days) if wait > 0 else status

    async def import_tree(
        self,
        path: str | PathLike[str],
        prefix: str = "",
        *,
        initial_tier: StorageTier | str | None = DEFAULT_TIER,
        visibility: Visibility | str = Visibility.PRIVATE,
        exclude: Sequence[str] = (),
        jobs: int = DEFAULT_JOBS,
        checksum: bool = False,
        verify: bool = False,
        dry_run: bool = False,
        in_place: bool = False,
        progress: Callable[[TreeProgress], None] | None = None,
        count_ahead: bool = True,
    ) -> TreeReport:
        """Store every file below the folder `path` under its relative path, below `prefix`; safe to repeat.

        `path` may also be `s3://BUCKET/PREFIX`, where the bucket is one of the settings' object stores: its objects
        are copied, or with `in_place` adopted where they lie, read once, never moved, and deleted with their
        contents only where `delete_adopted` says so.

        What is there already, by size and time of the file (`checksum`: by digest), is not sent again, so the same
        call goes on after an interruption. Symbolic links are told, not followed. `verify` reads both sides again.
        The report tells what became of every kind of file; `is_complete` is False if any is missing. `progress` hears
        of each file, and with `count_ahead` soon of how many there are.
        Raises `InvalidInputError`, `FileTreeError` if there is no such folder.
        """
        options = ImportOptions(
            prefix=folder_prefix(prefix),
            tier=DEFAULT_TIER if initial_tier is None else parse_tier(initial_tier),
            visibility=parse_visibility(visibility),
            exclude=exclude,
            jobs=jobs,
            checksum=checksum,
            verify=verify,
            dry_run=dry_run,
            in_place=in_place,
            count_ahead=count_ahead,
        )
        return await self.services.importing.run(fspath(path), options, progress)

    async def export_tree(
        self,
        path: str | PathLike[str],
        prefix: str = "",
        *,
        replace: bool = False,
        jobs: int = DEFAULT_JOBS,
        verify: bool = False,
        dry_run: bool = False,
        progress: Callable[[TreeProgress], None] | None = None,
        count_ahead: bool = True,
    ) -> TreeReport:
        """Write every content below `prefix` as a file below the folder `path`, with its time; safe to repeat.

        Files that are there already, by size and time, are not written again; others of that name only with
        `replace`. Each file appears whole or not at all. `verify` reads every file again. `progress` hears of each
        file, and with `count_ahead` soon of how many there are.
        Raises `InvalidInputError`, `FileTreeError` if the folder cannot be used.
        """
        options = ExportOptions(
            prefix=folder_prefix(prefix),
            jobs=jobs,
            replace=replace,
            verify=verify,
            dry_run=dry_run,
            count_ahead=count_ahead,
        )
        return await self.services.exporting.run(fspath(path), options, progress)

    async def delete_prefix(
        self,
        prefix: str,
        *,
        erase: bool = False,
        dry_run: bool = False,
        progress: Callable[[Record], None] | None = None,
    ) -> ClearReport:
        """Delete every content whose id starts with `prefix`; the report tells how much, and what was kept and why.

        `erase` also deletes the stored bytes without grace. Held contents are kept. `progress` hears of each content.
        """
        return await self.services.clearing.run(parse_prefix(prefix), erase=erase, dry_run=dry_run, progress=progress)

    def check(self, *, read_bytes: bool = True) -> AsyncIterator[Finding]:
        """Yield what is wrong (`fsck`); with `read_bytes` every object is read and verified. Changes nothing."""
        return self.services.checking.check(read_bytes=read_bytes)

    def _fetch_ahead(self, content_id: str, tier: str, user_context: Mapping[str, Any]) -> None:
        if self.services.prefetching is not None:
            self.services.prefetching.after_read(content_id, tier, user_context)

    def _moment_in(self, delay: float | None) -> Timestamp | None:
        return None if delay is None else later(self.services.adapters.clock.now(), Seconds(delay))
