"""GET and HEAD of content: from memory if it is there, else buffered or streamed from storage, always verified.

What is answered is decided by `read_plan` alone, from the state of the content that the bytes belong to: if a
read races a change, it is planned again for the newer state. No status line leaves before the first bytes were
verified; damage that shows later cuts the connection, since the announced length is then not reached.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass

from thermocline.domain.access import Scope
from thermocline.domain.content import Record
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import (
    BusyError,
    ContentNotFoundError,
    ContentTooLargeError,
    InvalidRangeError,
    PreconditionFailedError,
    UnavailableError,
)
from thermocline.domain.units import Seconds
from thermocline.interfaces.http.conditionals import ReadConditions
from thermocline.interfaces.http.content_fields import age_fields, description_fields, freshness_fields
from thermocline.interfaces.http.counters import HttpCounters
from thermocline.interfaces.http.exchange import AnswerCutError, Exchange
from thermocline.interfaces.http.facts import ContentFacts, Source, facts_of_entry, facts_of_record
from thermocline.interfaces.http.multipart import MultipartFrame, content_range
from thermocline.interfaces.http.payload_grants import PayloadGrants
from thermocline.interfaces.http.problems import Fields
from thermocline.interfaces.http.read_plan import (
    NOT_MODIFIED,
    PARTIAL,
    PRECONDITION_FAILED,
    ReadPlan,
    ReadRequest,
    plan_read,
)
from thermocline.interfaces.http.user_context import user_context
from thermocline.ports.clock import Clock
from thermocline.services.caching import ContentCache
from thermocline.services.direct_downloads import DirectDownloads
from thermocline.services.loaded import loaded_from
from thermocline.services.open_contents import OpenContent
from thermocline.services.reading import ReadingService
from thermocline.services.tracking import ReadKind
from thermocline.wiring.services import Services

PIECE_BYTES = 256 * 1024
"""Buffered content is handed to the server in pieces of this size, so that it buffers no more per slow client."""
ATTEMPTS = 5
REDIRECT = 307
BOUNDARY_BYTES = 12


@dataclass(frozen=True, slots=True)
class _Parts:
    reading: ReadingService
    cache: ContentCache
    clock: Clock
    grants: PayloadGrants
    direct: DirectDownloads
    stream_max: Seconds


_SOURCES = {
    ReadKind.MEMORY: Source.MEMORY,
    ReadKind.REDIS: Source.REDIS,
    ReadKind.STORAGE: Source.STORAGE,
    ReadKind.EDGE: Source.STORAGE,
}


class ReadRoute:
    """Answers reads of one store."""

    def __init__(self, services: Services, counters: HttpCounters) -> None:
        clock = services.adapters.clock
        self._parts = _Parts(
            reading=services.reading,
            cache=services.cache,
            clock=clock,
            grants=PayloadGrants(services.memory),
            direct=services.direct_downloads,
            stream_max=services.settings.limits.stream_max,
        )
        self._prefetching = services.prefetching
        self._clock = clock
        self._counters = counters

    async def answer(self, exchange: Exchange, content_id: ContentId, revision: int | None = None) -> None:
        """Answer a GET or HEAD of the content, or of exactly this revision of it.

        Raises what `domain.errors` has for reads, before anything was sent; `AnswerCutError` after.
        """
        head = exchange.head
        context = user_context(exchange)
        request = ReadRequest(
            is_head=exchange.is_head,
            conditions=ReadConditions(
                if_match=head.get(b"if-match"),
                if_none_match=head.get(b"if-none-match"),
                if_modified_since=head.get(b"if-modified-since"),
                if_unmodified_since=head.get(b"if-unmodified-since"),
                if_range=head.get(b"if-range"),
            ),
            range=head.get(b"range"),
        )
        one = _OneRead(self._parts, exchange, content_id, revision, request)
        began = self._clock.monotonic()
        self._parts.reading.check_absence(content_id, by_stranger=one.is_stranger)
        if not await one.from_memory() and not await one.from_shared_cache():
            try:
                await one.from_storage()
            except UnavailableError:
                if exchange.status is not None or not await one.from_what_is_stale():
                    raise
        if one.facts is not None and exchange.status in {200, PARTIAL, NOT_MODIFIED}:
            source = one.facts.source
            self._counters.reads[source, one.facts.tier].count += 1
            self._counters.durations[source].add(self._clock.monotonic() - began)
            if context is not None and self._prefetching is not None and not request.is_head:
                realm = exchange.caller.token_id or ""
                self._prefetching.after_read(content_id, one.facts.tier, context, realm=realm)


class _OneRead:
    """One read under way; `facts` is the state of the content that is being answered with."""

    def __init__(
        self, parts: _Parts, exchange: Exchange, content_id: ContentId, revision: int | None, request: ReadRequest
    ) -> None:
        self._parts = parts
        self._reading = parts.reading
        self._exchange = exchange
        self._content_id = content_id
        self._revision = revision
        self._request = request
        self.is_stranger = not exchange.caller.may(Scope.READ, content_id)
        """Whether the caller may only see what is public."""
        self.facts: ContentFacts | None = None

    async def from_memory(self) -> bool:
        """Answer from memory if it holds the content and the caller may read it; whether it was answered."""
        value = self._parts.cache.held.meet(self._content_id)
        if value is None:
            return False
        entry = value.entry
        facts = facts_of_entry(self._content_id, entry, Source.MEMORY)
        if not self._is_for_caller(facts):
            return False  # the slow way: "no right" must not be answered faster than "not there"
        if not self._request.is_head:
            value.hits += 1
        await self._send_buffered(facts, entry.payload)
        return True

    async def from_shared_cache(self) -> bool:
        """Answer from the cache that processes share, likewise; a HEAD counts as no read and asks the catalog."""
        if self._parts.cache.shared is None or self._request.is_head:
            return False
        found = await self._parts.cache.find(self._content_id)
        if found is None:
            return False
        loaded = loaded_from(found)
        facts = facts_of_entry(self._content_id, loaded.entry, _SOURCES[loaded.kind])
        is_over = facts.expires_at is not None and self._parts.clock.now() >= facts.expires_at
        if is_over or not self._is_for_caller(facts):
            return False
        self._parts.reading.note(self._content_id, loaded)
        await self._send_buffered(facts, loaded.entry.payload)
        return True

    async def from_what_is_stale(self) -> bool:
        """Answer with what is cached and no longer fresh, because catalog or storage do not answer; likewise."""
        loaded = await self._parts.cache.stale(self._content_id)
        if loaded is None:
            return False
        facts = facts_of_entry(self._content_id, loaded.entry, _SOURCES[loaded.kind])
        if not self._is_for_caller(facts):
            return False
        if not self._request.is_head:
            self._parts.reading.note(self._content_id, loaded)
        await self._send_buffered(facts, loaded.entry.payload)
        return True

    async def from_storage(self) -> None:
        """Answer from the catalog and the object store."""
        record = await self._reading.find(self._content_id, by_stranger=self.is_stranger)
        for _ in range(ATTEMPTS):
            facts = facts_of_record(record)
            self._check(facts)
            plan = plan_read(self._request, facts)
            if self._request.is_head or not plan.has_content:
                await self._send_head_only(plan, facts)
                return
            if (url := await self._parts.direct.url_for(record)) is not None:
                await self._exchange.answer(REDIRECT, [(b"location", url.encode()), (b"cache-control", b"no-store")])
                return
            newer = await (
                self._retrieve(record) if self._reading.is_buffered(record) else self._stream(plan, facts, record)
            )
            if newer is None:
                return
            record = newer
        raise BusyError("the content changes faster than it can be read; try again")

    async def _retrieve(self, record: Record) -> Record | None:
        """Send the content from a buffer and return None, or return the record that made that impossible."""
        try:
            loaded = await self._reading.load(self._content_id, may_restore=self._may_restore(), known=record)
        except ContentTooLargeError:
            return await self._reading.stat(self._content_id)  # replaced by a larger one meanwhile
        source = Source.REDIS if loaded.kind is ReadKind.REDIS else Source.STORAGE
        facts = facts_of_entry(self._content_id, loaded.entry, source)
        self._check(facts)
        await self._send_buffered(facts, loaded.entry.payload)
        return None

    async def _stream(self, plan: ReadPlan, facts: ContentFacts, record: Record) -> Record | None:
        """Send the content as it is read and return None, or return the newer record that was met first."""
        start, end = plan.ranges[0] if plan.ranges else (0, facts.size)
        try:
            async with AsyncExitStack() as opened:
                content = await opened.enter_async_context(
                    self._reading.open(self._content_id, start, end, may_restore=self._may_restore())
                )
                if content.record.version != record.version:
                    return content.record
                frame = await self._begin(plan, facts)
                await self._send_pieces(self._stored_pieces(frame, content, opened, facts), watch=True)
        except InvalidRangeError:
            if self._exchange.status is not None:
                raise
            return await self._reading.stat(self._content_id)  # replaced by a shorter one meanwhile
        return None

    def _may_restore(self) -> bool:
        # A restore costs money: whoever may only read must not be able to spend it.
        return self._exchange.caller.may(Scope.WRITE, self._content_id)

    def _is_for_caller(self, facts: ContentFacts) -> bool:
        readable = facts.is_public or not self.is_stranger
        return readable and self._revision in {None, facts.revision}

    def _check(self, facts: ContentFacts) -> None:
        if not self._is_for_caller(facts):
            raise ContentNotFoundError(self._content_id)

    async def _send_buffered(self, facts: ContentFacts, payload: bytes) -> None:
        plan = plan_read(self._request, facts)
        if self._request.is_head or not plan.has_content:
            await self._send_head_only(plan, facts)
            return
        async with self._parts.grants.hold(payload):
            frame = await self._begin(plan, facts)
            await self._send_pieces(_buffered_pieces(frame, payload, plan), watch=False)

    async def _send_head_only(self, plan: ReadPlan, facts: ContentFacts) -> None:
        if plan.status == PRECONDITION_FAILED:
            raise PreconditionFailedError(self._content_id, current_etag=facts.etag)
        if not plan.has_content and plan.status != NOT_MODIFIED:
            raise InvalidRangeError(
                f"no byte of the content ({facts.size} bytes) lies in the range asked for", size=facts.size
            )
        await self._begin(plan, facts)
        await self._exchange.finish()

    async def _begin(self, plan: ReadPlan, facts: ContentFacts) -> MultipartFrame | None:
        """Send the status line and headers; return the frame of a multipart body."""
        self.facts = facts
        now = self._parts.clock.now()
        fields = [*freshness_fields(facts, now=now, immutable=self._revision is not None), *age_fields(facts, now)]
        frame = None
        if plan.has_content:
            frame, length_fields = _frame(plan, facts)
            fields += [*length_fields, *description_fields(facts)]
        await self._exchange.start(plan.status, fields)
        return frame

    async def _stored_pieces(
        self, frame: MultipartFrame | None, first: OpenContent, opened: AsyncExitStack, facts: ContentFacts
    ) -> AsyncGenerator[bytes]:
        if frame is not None:
            yield frame.head(0)
        async for chunk in first:
            yield bytes(chunk)
        if frame is None:
            return
        await opened.aclose()  # holding memory for one range while waiting for the next could block everybody
        for index, (start, end) in enumerate(frame.ranges[1:], start=1):
            async with self._reading.open(self._content_id, start, end) as content:
                if content.record.revision != facts.revision:
                    raise AnswerCutError("the content was replaced between two ranges of one answer")
                yield frame.head(index)
                async for chunk in content:
                    yield bytes(chunk)
        yield frame.tail()

    async def _send_pieces(self, pieces: AsyncGenerator[bytes], *, watch: bool) -> None:
        """Send the body; end early, without an error, if the client has left."""
        exchange = self._exchange
        gone = _watch(exchange) if watch else None
        try:
            async with asyncio.timeout(self._parts.stream_max), aclosing(pieces):
                async for piece in pieces:
                    if gone is not None and gone.done():
                        return
                    await exchange.send_piece(piece)
                await exchange.finish()
        except TimeoutError as exc:
            raise AnswerCutError("the download took longer than [limits] stream_max") from exc
        finally:
            if gone is not None:
                gone.cancel()


def _watch(exchange: Exchange) -> asyncio.Task[None]:
    """Return a task that ends when the client has left: some servers take the body and say nothing."""
    gone = asyncio.get_running_loop().create_task(exchange.until_gone())
    gone.add_done_callback(lambda done: None if done.cancelled() else done.exception())
    return gone


def _frame(plan: ReadPlan, facts: ContentFacts) -> tuple[MultipartFrame | None, Fields]:
    """Return the frame of a multipart body, and the fields that say how long which part of the content follows."""
    content_type = facts.headers.content_type
    if len(plan.ranges) > 1:
        frame = MultipartFrame(secrets.token_hex(BOUNDARY_BYTES), content_type, facts.size, plan.ranges)
        return frame, [(b"content-type", frame.media_type), (b"content-length", b"%d" % frame.length)]
    fields: Fields = [(b"content-type", content_type.encode())]
    if not plan.ranges:
        return None, [*fields, (b"content-length", b"%d" % facts.size)]
    start, end = plan.ranges[0]
    return None, [
        *fields,
        (b"content-length", b"%d" % (end - start)),
        (b"content-range", content_range(start, end, facts.size).encode()),
    ]


async def _buffered_pieces(frame: MultipartFrame | None, payload: bytes, plan: ReadPlan) -> AsyncGenerator[bytes]:
    for index, (start, end) in enumerate(plan.ranges or ((0, len(payload)),)):
        if frame is not None:
            yield frame.head(index)
        for position in range(start, end, PIECE_BYTES):
            yield payload[position : min(position + PIECE_BYTES, end)]
    if frame is not None:
        yield frame.tail()
