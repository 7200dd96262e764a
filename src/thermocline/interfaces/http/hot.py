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
from thermocline.interfaces.http.counters import HttpCounters
from thermocline.interfaces.http.facts import ContentFacts, Source, facts_of_entry
from thermocline.interfaces.http.problems import Fields
from thermocline.interfaces.http.request_head import token_in
from thermocline.interfaces.http.targets import decode_path
from thermocline.interfaces.http.wire.hot_reads import HotAnswer, HotReads
from thermocline.ports.cache import CacheEntry
from thermocline.services.authorizing import OWNER
from thermocline.services.tracking import ReadKind

MAX_TARGETS: Final = 32_768
"""Request targets remembered; when full, all are forgotten. With those below: at most some 20 MiB."""
MAX_TARGET_BYTES: Final = 256
"""Longer targets are parsed each time."""
MAX_BLOCKS: Final = 8192
"""Header blocks kept; when full, all are rendered again. They hold no payloads: mostly 1 KiB, at most 5 KiB each."""

_PREFIX: Final = b"/v1/content/"
_OK: Final = ("content", 200)
_NOT_MODIFIED: Final = ("content", 304)


class _Block:
    """The rendered headers of one copy in memory, all but `Age`, as answers 200 and 304."""

    __slots__ = ("cached_at", "counted_as", "etag", "not_modified", "ok", "version")

    def __init__(self, entry: CacheEntry, facts: ContentFacts, ok: bytes, not_modified: bytes) -> None:
        self.version = entry.version
        self.cached_at = entry.cached_at
        self.etag = facts.etag.encode()
        self.ok = ok
        self.not_modified = not_modified
        self.counted_as = (Source.MEMORY, facts.tier)


class HotContentReads(HotReads):
    """Answers reads of content in memory to callers who may read it; asks memory only."""

    def __init__(self, routes: ServiceRoutes, counters: HttpCounters) -> None:
        services = routes.store.services
        self._cache = services.cache
        self._known = services.authorizing.known
        self._note = services.tracker.note
        self._now = services.adapters.clock.now
        self._is_own_host = routes.gate.is_own_host
        # Answers to requests with an Origin are the slow way's.
        self._cors = routes.cors.fields(None)
        self._counters = counters
        self._targets: dict[bytes, str | None] = {}
        self._blocks: dict[str, _Block] = {}

    def answer(
        self,
        method: bytes,
        target: bytes,
        host: bytes | None,
        authorization: bytes | None,
        if_none_match: bytes | None,
    ) -> HotAnswer | None:
        """Return the complete answer, or None for the slow way."""
        try:
            content_id = self._targets[target]
        except KeyError:
            content_id = self._learn(target)
        if content_id is None:
            return None
        entry = self._cache.peek(content_id)
        if entry is None or entry.expires_at is not None:
            return None
        caller = self._known(None if authorization is None else token_in(authorization.decode("latin-1")))
        if caller is None or (caller is OWNER and not (host is None or self._is_own_host(host.decode("latin-1")))):
            return None
        if entry.visibility is not Visibility.PUBLIC and not caller.may(Scope.READ, content_id):
            return None
        block = self._blocks.get(content_id)
        if block is None or block.version != entry.version or block.cached_at != entry.cached_at:
            block = self._render(content_id, entry)
        if if_none_match is None:
            head, body, route = block.ok, entry.payload, _OK
        elif if_none_match == block.etag:
            head, body, route = block.not_modified, b"", _NOT_MODIFIED
        else:
            return None
        counters = self._counters
        counters.reads[block.counted_as] += 1
        counters.requests[route] += 1
        if method == b"GET":
            self._note(content_id, ReadKind.MEMORY)
        age = (self._now() - entry.cached_at) // MICROS_PER_SECOND
        return head + (b"age: %d\r\n" % age if age > 0 else b"age: 0\r\n"), body

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
        fresh = freshness_fields(facts, now=self._now(), immutable=False)
        length: Fields = [
            (b"content-type", facts.headers.content_type.encode()),
            (b"content-length", b"%d" % facts.size),
        ]
        block = _Block(
            entry,
            facts,
            ok=_head(b"200 OK", [*fresh, *length, *description_fields(facts), *self._cors]),
            not_modified=_head(b"304 Not Modified", [*fresh, *self._cors]),
        )
        if len(self._blocks) >= MAX_BLOCKS:
            self._blocks.clear()
        self._blocks[content_id] = block
        return block


def _head(status: bytes, fields: Fields) -> bytes:
    return b"HTTP/1.1 %b\r\n" % status + b"".join(b"%b: %b\r\n" % field for field in fields)
