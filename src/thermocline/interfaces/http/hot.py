"""Reads of content in memory, answered on the wire: the same answers as `read_route`, without its way there.

The header block is rendered once per state of a content and copy in memory; per request there are only the lookup,
the caller's right, `Age` and the counting. Whatever is unusual takes the slow way.
"""

from typing import Final

from thermocline.domain.access import Scope
from thermocline.domain.content import Visibility
from thermocline.domain.content_id import parse_content_id
from thermocline.domain.errors import InvalidInputError
from thermocline.domain.units import MICROS_PER_SECOND
from thermocline.interfaces.http.app import ServiceRoutes
from thermocline.interfaces.http.content_fields import description_fields, freshness_fields
from thermocline.interfaces.http.counters import HttpCounters, Tally
from thermocline.interfaces.http.facts import ContentFacts, Source, facts_of_entry
from thermocline.interfaces.http.problems import Fields
from thermocline.interfaces.http.request_head import token_in
from thermocline.interfaces.http.request_ids import FIELD, RequestIds
from thermocline.interfaces.http.targets import decode_path
from thermocline.interfaces.http.wire.hot_reads import HotAnswer, HotRead, HotReads
from thermocline.ports.cache import CacheEntry
from thermocline.services.authorizing import OWNER, Caller

MAX_TARGETS: Final = 32_768
"""Request targets remembered; when full, all are forgotten. With those below: mostly some 20 MiB."""
MAX_TARGET_BYTES: Final = 256
"""Longer targets are parsed each time."""
MAX_BLOCKS: Final = 4096
"""Header blocks kept; when full, all are rendered again. They hold no payloads: mostly 2 KiB, at most 10 KiB each."""

_PREFIX: Final = b"/v1/content/"


class _Block:
    """The rendered headers of one copy in memory, as answers 200 and 304, from the end of the request's id on.

    `Age` and the date are put in per second.
    """

    __slots__ = (
        "_age", "_end", "_not_modified", "_ok", "cached_at", "etag", "not_modified", "ok", "reads", "version",
    )  # fmt: skip

    def __init__(self, entry: CacheEntry, facts: ContentFacts, ok: bytes, not_modified: bytes, reads: Tally) -> None:
        self.version = entry.version
        self.cached_at = entry.cached_at
        self.etag = facts.etag.encode()
        self.reads = reads
        self._ok = ok
        self._not_modified = not_modified
        self._age: int | None = None
        self._end = b""
        self.ok = b""
        self.not_modified = b""

    def be_of(self, age: int, end: bytes) -> None:
        """Make `ok` and `not_modified` complete for this age and date."""
        if age != self._age or end is not self._end:
            self._age, self._end = age, end
            line = b"age: %d\r\n" % max(age, 0)  # clocks may step back
            # The request's id comes before it.
            self.ok = b"\r\n" + self._ok + line + end
            self.not_modified = b"\r\n" + self._not_modified + line + end


class HotContentReads(HotReads):
    """Answers reads of content in memory to callers who may read it; asks memory only."""

    def __init__(self, routes: ServiceRoutes, counters: HttpCounters) -> None:
        services = routes.store.services
        held = services.cache.held
        self.find = held.values.get
        self.meet = held.meet
        self.known = services.authorizing.known
        self.now = services.adapters.clock.now
        self.monotonic = services.adapters.clock.monotonic
        ids = RequestIds()
        self.next_number = ids.next_number
        self.ok = b"HTTP/1.1 200 OK\r\n%b: %b" % (FIELD, ids.prefix)
        self.not_modified = b"HTTP/1.1 304 Not Modified\r\n%b: %b" % (FIELD, ids.prefix)
        self.answered_ok = counters.requests["content", 200]
        self.answered_not_modified = counters.requests["content", 304]
        self._is_own_host = routes.gate.is_own_host
        # Answers to requests with an Origin are the slow way's.
        self._cors = routes.cors.fields(None)
        self._counters = counters
        self._targets: dict[bytes, str | None] = {}
        self._blocks: dict[str, _Block] = {}

    def read_of(
        self,
        method: bytes,
        target: bytes,
        host: bytes,
        authorization: bytes | None,
        if_none_match: bytes | None,
    ) -> HotRead | None:
        """Return the read that such a request is, or None if its target is no plain path of a content."""
        try:
            content_id = self._targets[target]
        except KeyError:
            content_id = self._learn(target)
        if content_id is None:
            return None
        return _ContentRead(
            self,
            content_id,
            token=None if authorization is None else token_in(authorization.decode("latin-1")),
            is_own_host=self._is_own_host(host.decode("latin-1")),
            if_none_match=if_none_match,
            wants_body=method == b"GET",
        )

    def block_of(self, content_id: str, entry: CacheEntry) -> _Block:
        """Return the header block of this copy."""
        block = self._blocks.get(content_id)
        if block is None or block.version != entry.version or block.cached_at != entry.cached_at:
            block = self._render(content_id, entry)
        return block

    def _learn(self, target: bytes) -> str | None:
        """Return the content that `target` names, if it is a plain path of one; remember either."""
        content_id: str | None = None
        if target.startswith(_PREFIX) and b"?" not in target and b"#" not in target:
            try:
                content_id = parse_content_id(decode_path(target)[len(_PREFIX) :])
            except InvalidInputError:
                content_id = None
        if len(target) <= MAX_TARGET_BYTES:
            if len(self._targets) >= MAX_TARGETS:
                self._targets.clear()
            self._targets[target] = content_id
        return content_id

    def _render(self, content_id: str, entry: CacheEntry) -> _Block:
        facts = facts_of_entry(content_id, entry, Source.MEMORY)
        fresh = freshness_fields(facts, now=self.now(), immutable=False)
        length: Fields = [
            (b"content-type", facts.headers.content_type.encode()),
            (b"content-length", b"%d" % facts.size),
        ]
        block = _Block(
            entry,
            facts,
            ok=_lines([*fresh, *length, *description_fields(facts), *self._cors]),
            not_modified=_lines([*fresh, *self._cors]),
            reads=self._counters.reads[Source.MEMORY, facts.tier],
        )
        if len(self._blocks) >= MAX_BLOCKS:
            self._blocks.clear()
        self._blocks[content_id] = block
        return block


class _ContentRead(HotRead):
    """One caller's read of one content. Who the caller is, and what may be seen, is asked anew each time."""

    __slots__ = (
        "_admitted", "_block", "_content_id", "_if_none_match", "_is_own_host", "_reads", "_token", "_wants_body",
    )  # fmt: skip

    def __init__(
        self,
        reads: HotContentReads,
        content_id: str,
        *,
        token: str | None,
        is_own_host: bool,
        if_none_match: bytes | None,
        wants_body: bool,
    ) -> None:
        self._reads = reads
        self._content_id = content_id
        self._token = token
        self._is_own_host = is_own_host
        self._if_none_match = if_none_match
        self._wants_body = wants_body
        self._admitted: Caller | None = None
        self._block: _Block | None = None

    def answer(self, end: bytes) -> HotAnswer | None:
        """Return the complete answer, or None for the slow way."""
        reads, content_id = self._reads, self._content_id
        value = reads.find(content_id)
        if value is None or (reads.monotonic() >= value.quiet_until and (value := reads.meet(content_id)) is None):
            return None
        entry = value.entry
        if entry.expires_at is not None:
            return None
        caller = reads.known(self._token)
        if caller is None or (caller is not self._admitted and not self._may_come_in(caller, entry)):
            return None
        block = self._block
        if block is None or block.version != entry.version or block.cached_at != entry.cached_at:
            block = self._block = reads.block_of(content_id, entry)
        block.be_of((reads.now() - entry.cached_at) // MICROS_PER_SECOND, end)
        if self._if_none_match is not None:
            if self._if_none_match != block.etag:
                return None
            reads.answered_not_modified.count += 1
            head, body = b"%b%x%b" % (reads.not_modified, reads.next_number(), block.not_modified), b""
        else:
            reads.answered_ok.count += 1
            head, body = b"%b%x%b" % (reads.ok, reads.next_number(), block.ok), entry.payload
        block.reads.count += 1
        if not self._wants_body:
            return head, b""
        value.hits += 1
        return head, body

    def _may_come_in(self, caller: Caller, entry: CacheEntry) -> bool:
        if caller is OWNER and not self._is_own_host:
            return False
        if caller.may(Scope.READ, self._content_id):
            # The very same caller may read this content whatever its visibility: rights never change, callers do.
            self._admitted = caller
            return True
        return entry.visibility is Visibility.PUBLIC


def _lines(fields: Fields) -> bytes:
    return b"".join(b"%b: %b\r\n" % field for field in fields)
