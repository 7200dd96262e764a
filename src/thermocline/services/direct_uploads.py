"""Direct uploads: clients send the bytes to the store themselves, by presigned URLs; we begin, check and commit.

1. Declare an intent that lives as long as the session; begin an upload in parts; hand out a URL for each part.
2. The client sends the parts, in any order, each as often as it likes.
3. Completing: take up the intent (renewed from here on), let the store make the object of the parts that came, which
   ends their URLs. 4. Read the object once: its SHA-256, chunk digests and size are ours, not the client's word.
5. **Commit point**, as with any write. 6. Before the acknowledgement: evict.

A session is its token: it names the object's key, the store's upload and what the client announced, and is kept
nowhere. It is no secret and gives no right: whoever completes needs the right to write the content, and a token that
was tampered with names a key whose intent does not live. What it remembers is bounded, because it travels in a URL. A
session that is not completed ends with its intent: the intent cleaner aborts the upload. A crash between 3 and 5 leaves
the intent, too; completing again goes on from there, because a store that has made the object already says so. After
the commit it answers with the same receipt.
"""

import asyncio
import base64
import json
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from thermocline.domain.content import (
    ALWAYS,
    Condition,
    ObjectAttributes,
    Receipt,
    Record,
    StoredHeaders,
    Visibility,
    check_end,
    freeze_metadata,
)
from thermocline.domain.content_id import ContentId
from thermocline.domain.digests import DIGEST_BYTES, ContentDigest
from thermocline.domain.errors import (
    DigestMismatchError,
    IntentLostError,
    InvalidInputError,
    ObjectMissingError,
    StorageError,
    TruncatedBodyError,
    UnavailableError,
)
from thermocline.domain.keys import TOKEN_ENTROPY_BYTES, ObjectKey, new_token
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import MICROS_PER_SECOND, Bytes, Seconds, Timestamp, elapsed, later
from thermocline.ports.object_store import ObjectStore
from thermocline.ports.presigns import Presigns
from thermocline.ports.records import Committed, Write
from thermocline.services.caching import ContentCache
from thermocline.services.placements import Placement
from thermocline.services.transferring import EVICT_DELAY, TransferParts, WriteRequest, clean_up_after
from thermocline.services.writing import receipt_of

MOST_PARTS = 1000
"""One page of every store's list of parts, and an answer of half a megabyte."""
MIB = 2**20
TOKEN_LIMIT = 8192
MOST_REMEMBERED = Bytes(4096)
"""As JSON, the store's own id of the upload not counted. In base64 and with that id (R2's have some 400 bytes) it stays
well below the 8 KiB of a request's target."""
MOST_MICROS = 100 * 366 * 86_400 * MICROS_PER_SECOND
"""The longest life of a content, as with PUT, with room for how a year is counted."""
_ADDED = frozenset({"metadata", "cache_control", "content_disposition", "content_lives"})
_NO_SESSION = "this is no token of an upload session"


@dataclass(frozen=True, slots=True)
class UploadSession:
    """What a client needs to send the parts, each of `part_size` bytes but the last."""

    token: str
    content_id: ContentId
    part_size: Bytes
    expires_at: Timestamp
    urls: tuple[str, ...]
    sizes: tuple[Bytes, ...]


@dataclass(frozen=True, slots=True)
class _Session:
    """What a token says."""

    object_key: str
    upload_id: str
    size: int
    part_size: int
    tier: str
    content_type: str
    visibility: str
    expires_at: int
    sha256: str | None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    cache_control: str | None = None
    content_disposition: str | None = None
    content_lives: int | None = None
    """For how many microseconds the content stays from its commit on; None: for ever."""

    @property
    def headers(self) -> StoredHeaders:
        """Return the headers that are kept and replayed."""
        return StoredHeaders(self.content_type, self.cache_control, self.content_disposition)

    @property
    def sizes(self) -> list[Bytes]:
        """Return how large each part is."""
        starts = range(0, max(self.size, 1), self.part_size)
        return [Bytes(min(self.part_size, self.size - start)) for start in starts]


class DirectUploads:
    """Sessions of uploads that bypass this process."""

    def __init__(self, parts: TransferParts, cache: ContentCache, *, lives: Seconds) -> None:
        self._parts = parts
        self._cache = cache
        self._lives = lives

    async def begin(self, request: WriteRequest, size: int) -> UploadSession:
        """Begin a session for a content of `size` bytes; its condition is not looked at before `complete`.

        The time until `expires_at` is kept, and counted anew from the commit on. Raises `InvalidInputError` if the
        tier's store gives out no URLs, if its objects must be restored before we could check them, or if there is more
        to remember than 4 KiB; `InvalidMetadataError`, `ContentTooLargeError`.
        """
        metadata = freeze_metadata(request.metadata)
        if request.expected_sha256 is not None and len(request.expected_sha256) != DIGEST_BYTES:
            raise InvalidInputError("sha256 must be the digest's 32 bytes; make them of text with bytes.fromhex")
        if size < 0:
            raise InvalidInputError(f"a size cannot be negative: {size}")
        self._parts.check_size(size)
        placement = self._parts.placements.of_tier(request.tier)
        store = _presigning(placement, request.tier)
        now = self._parts.clock.now()
        check_end(request.expires_at, now)
        token = new_token(now, self._parts.entropy(TOKEN_ENTROPY_BYTES))
        key = str(ObjectKey(self._parts.placements.installation, placement.name, request.content_id, token))
        attributes = ObjectAttributes(
            request.content_id, token, request.headers.content_type, now, request.tier
        ).as_headers()
        session = _Session(
            object_key=key,
            upload_id="",
            size=size,
            part_size=_part_size(size, placement.store.part_size),
            tier=request.tier.value,
            content_type=request.headers.content_type,
            visibility=request.visibility.value,
            expires_at=later(now, self._lives),
            sha256=None if request.expected_sha256 is None else request.expected_sha256.hex(),
            metadata=dict(metadata),
            cache_control=request.headers.cache_control,
            content_disposition=request.headers.content_disposition,
            content_lives=None if request.expires_at is None else request.expires_at - now,
        )
        _check_remembered(session)
        await self._parts.intents.declare(key, placement.name, lease=self._lives)
        upload_id = await store.begin_direct_upload(key, attributes, storage_class=placement.storage_class)
        session = replace(session, upload_id=upload_id)
        sizes = session.sizes
        urls = await store.part_urls(key, upload_id, count=len(sizes), lives=self._lives)
        return UploadSession(
            _as_token(session),
            request.content_id,
            Bytes(session.part_size),
            Timestamp(session.expires_at),
            tuple(urls),
            tuple(sizes),
        )

    def content_of(self, token: str) -> ContentId:
        """Return which content a session is for. Raises `InvalidInputError` for what is no token of ours."""
        return self._opened(token)[1].content_id

    async def complete(self, token: str, *, condition: Condition = ALWAYS) -> Receipt:
        """Make the parts that came the content; the receipt is the acknowledgement. Repeating it succeeds.

        Raises `TruncatedBodyError` while parts are missing or have other sizes (then it can be tried again),
        `DigestMismatchError`, `IntentLostError` if the session is over; `ContentHeldError`, `PreconditionFailedError`
        (then nothing was stored, and the session is over).
        """
        session, key = self._opened(token)
        placement = self._parts.placements.named(key.placement)
        store = _presigning(placement, StorageTier(session.tier))
        try:
            intent = await self._parts.keeper.take_up(session.object_key)
        except IntentLostError:
            if (committed := await self._committed_before(session, key)) is not None:
                return receipt_of(committed, created=False)
            raise
        try:
            intent.check()
            await store.complete_direct_upload(session.object_key, session.upload_id, sizes=session.sizes)
            digest = await self._read(placement.store, session)
            intent.check()
            committed_now = await self._commit(session, key, placement, digest, condition)
        except TruncatedBodyError:
            await self._go_on(session)
            raise
        except (UnavailableError, asyncio.CancelledError):
            await self._go_on(session)
            raise
        except BaseException as exc:
            await clean_up_after(exc, self._parts, key, placement, None)
            raise
        finally:
            self._parts.keeper.let_go(intent)
        await self._cache.invalidate(key.content_id, committed_now.record.version)
        return receipt_of(committed_now.record, created=committed_now.created)

    async def _read(self, store: ObjectStore, session: _Session) -> ContentDigest:
        digest = ContentDigest()
        try:
            async with aclosing(store.stream(session.object_key, 0, session.size)) as blocks:
                async for block in blocks:
                    await asyncio.to_thread(digest.update, block)
        except (EOFError, ObjectMissingError) as exc:
            raise StorageError(
                f"the store does not show what was just completed under {session.object_key!r}; nothing was stored"
            ) from exc
        if session.sha256 is not None and digest.whole().hex() != session.sha256:
            raise DigestMismatchError(
                f"the bytes received have SHA-256 {digest.whole().hex()}, announced was {session.sha256}; "
                "nothing was stored"
            )
        return digest

    async def _commit(
        self, session: _Session, key: ObjectKey, placement: Placement, digest: ContentDigest, condition: Condition
    ) -> Committed:
        parts = self._parts
        now = parts.clock.now()
        write = Write(
            content_id=key.content_id,
            placement=placement.name,
            object_key=session.object_key,
            digest=digest.whole(),
            chunk_digests=digest.chunks(),
            size=Bytes(session.size),
            headers=session.headers,
            metadata=session.metadata,
            tier=StorageTier(session.tier),
            visibility=Visibility(session.visibility),
            expires_at=None if session.content_lives is None else Timestamp(now + session.content_lives),
            condition=condition,
        )
        return await parts.records.commit_write(
            write, now=now, delete_at=later(now, parts.grace.objects), evict_at=later(now, EVICT_DELAY)
        )

    async def _committed_before(self, session: _Session, key: ObjectKey) -> Record | None:
        record = await self._parts.records.find(key.content_id)
        return record if record is not None and record.object_key == session.object_key else None

    async def _go_on(self, session: _Session) -> None:
        """Let the session live as long as it was promised: taking up its intent has shortened that."""
        # The token is the client's word: no session lives longer than one that begins now.
        left = Seconds(min(elapsed(self._parts.clock.now(), Timestamp(session.expires_at)), self._lives))
        if left > 0:
            await self._parts.intents.renew([session.object_key], lease=left)

    def _opened(self, token: str) -> tuple[_Session, ObjectKey]:
        try:
            session = _read_token(token)
        except (ValueError, TypeError, KeyError, InvalidInputError, RecursionError) as exc:
            raise InvalidInputError(_NO_SESSION) from exc
        key = ObjectKey.parse(session.object_key)
        placements = self._parts.placements
        if key is None or key.installation != placements.installation:
            raise InvalidInputError(_NO_SESSION)
        if placements.of_tier(StorageTier(session.tier)).name != key.placement:
            raise InvalidInputError(_NO_SESSION)
        self._parts.check_size(session.size)
        return session, key


def _part_size(size: int, usual: Bytes) -> int:
    """Return the store's usual part size, or as many whole MiB as keep to `MOST_PARTS`."""
    least = -(-size // MOST_PARTS)
    return usual if least <= usual else -(-least // MIB) * MIB


def _presigning(placement: Placement, tier: StorageTier) -> Presigns:
    store: object = placement.store
    if not isinstance(store, Presigns):
        raise InvalidInputError(
            f"tier {tier.value} lies in [objects.{placement.store_name}], which gives out no URLs; send the content "
            "with PUT /v1/content/{id}"
        )
    if placement.restores is not None:
        raise InvalidInputError(
            f"objects of tier {tier.value} cannot be read before a restore, so a direct upload could not be verified; "
            "upload to another tier, then move it"
        )
    return store


def _read_token(token: str) -> _Session:
    """Return what a token says. Raises `ValueError`, `TypeError` or `InvalidInputError` if it was not made here."""
    if len(token) > TOKEN_LIMIT:
        raise ValueError(len(token))
    told: dict[str, Any] = json.loads(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True))
    texts = [told["object_key"], told["upload_id"], told["tier"], told["content_type"], told["visibility"]]
    numbers = [told["size"], told["part_size"], told["expires_at"]]
    if not all(isinstance(text, str) for text in texts) or not all(type(number) is int for number in numbers):
        raise TypeError(token)
    session = _Session(**told)
    StorageTier(session.tier)
    Visibility(session.visibility)
    if not all(text is None or isinstance(text, str) for text in (session.cache_control, session.content_disposition)):
        raise TypeError(token)
    _ = session.headers
    if not isinstance(session.metadata, dict):
        raise TypeError(token)
    session = replace(session, metadata=freeze_metadata(session.metadata))
    lives = session.content_lives
    if lives is not None and not (type(lives) is int and 0 < lives <= MOST_MICROS):
        raise ValueError(lives)
    if session.part_size < 1 or not 0 <= session.size <= session.part_size * MOST_PARTS:
        raise ValueError(session.size)
    if session.sha256 is not None:
        bytes.fromhex(session.sha256)
    return session


def _check_remembered(session: _Session) -> None:
    size = len(_as_json(session))
    if size > MOST_REMEMBERED:
        raise InvalidInputError(
            f"an upload session can remember {MOST_REMEMBERED} bytes of its id, headers and metadata together, not "
            f"{size}; set the rest with PATCH /v1/info/{{id}} once it is completed"
        )


def _as_token(session: _Session) -> str:
    return base64.urlsafe_b64encode(_as_json(session)).decode().rstrip("=")


def _as_json(session: _Session) -> bytes:
    # What is left at its default is left out: so the version before this one, beside it, can complete plain sessions.
    told = {name: value for name, value in asdict(session).items() if value or name not in _ADDED}
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()
