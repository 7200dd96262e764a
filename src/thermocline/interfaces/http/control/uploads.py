"""Upload sessions: the bytes go from the client to the object store, past this service."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from thermocline.domain.access import Scope
from thermocline.domain.conditions import parse_condition
from thermocline.domain.content import StoredHeaders, parse_visibility
from thermocline.domain.content_id import parse_content_id
from thermocline.domain.digests import DIGEST_BYTES
from thermocline.domain.errors import InvalidInputError
from thermocline.domain.tiers import StorageTier, parse_tier
from thermocline.domain.units import Timestamp, format_moment
from thermocline.interfaces.http.control.calls import ExchangeHere, ServicesHere, json_answer
from thermocline.interfaces.http.control.json_body import read_json_object
from thermocline.interfaces.http.gate import require
from thermocline.interfaces.http.write_headers import expiry_after
from thermocline.services.transferring import WriteRequest

router = APIRouter(tags=["uploads"])
OK, CREATED = 200, 201
KEYS = (
    "content_id", "size", "content_type", "cache_control", "content_disposition", "metadata", "tier", "visibility",
    "expires_in", "sha256",
)  # fmt: skip


@router.post("/v1/uploads", summary="Begin an upload that goes straight to the object store")
async def begin_upload(exchange: ExchangeHere, services: ServicesHere) -> JSONResponse:
    """Begin a session for `{"content_id": "a/b", "size": 123}`. Needs `write` on the content.

    The body may also name `content_type`, `cache_control`, `content_disposition`, `metadata` (an object), `tier`,
    `visibility`, `expires_in` (seconds, counted from its completion on), and `sha256` (hexadecimal), which is compared.
    All that the session has to remember, the id too, may take 4 KiB as JSON. 201: `parts` lists the URL to which each
    part is to be sent with PUT, and its size; then POST to `complete`. What is not completed by `expires_at` goes.
    """
    body = await read_json_object(exchange)
    unknown = sorted(set(body) - set(KEYS))
    if unknown:
        raise InvalidInputError(f"there is no key {unknown[0]!r}; there are {', '.join(KEYS)}")
    content_id, size = _text(body, "content_id", ""), body.get("size")
    if isinstance(size, bool) or not isinstance(size, int):
        raise InvalidInputError("size must be the number of bytes")
    require(exchange, Scope.WRITE, content_id)
    request = WriteRequest(
        content_id=parse_content_id(content_id),
        tier=parse_tier(_text(body, "tier", StorageTier.HOT.value)),
        headers=StoredHeaders(
            _text(body, "content_type", StoredHeaders().content_type),
            _text(body, "cache_control", "") or None,
            _text(body, "content_disposition", "") or None,
        ),
        metadata=_metadata(body),
        expires_at=_expiry(body, services.adapters.clock.now()),
        visibility=parse_visibility(_text(body, "visibility", "private")),
        expected_sha256=_digest(body),
    )
    session = await services.direct_uploads.begin(request, size)
    parts = [
        {"number": number, "size": length, "url": url}
        for number, (length, url) in enumerate(zip(session.sizes, session.urls, strict=True), 1)
    ]
    answer = {
        "token": session.token,
        "content_id": session.content_id,
        "part_size": session.part_size,
        "expires_at": format_moment(session.expires_at),
        "complete": f"/v1/uploads/{session.token}/complete",
        "parts": parts,
    }
    return json_answer(exchange, answer, status=CREATED)


@router.post("/v1/uploads/{token}/complete", summary="Make the parts that were sent the content")
async def complete_upload(exchange: ExchangeHere, services: ServicesHere, token: str) -> JSONResponse:
    """Complete a session: the receipt is the acknowledgement. Needs `write` on its content. Repeating it succeeds.

    `If-Match` and `If-None-Match` are looked at as with PUT: 412, and the session is over. 201 new, 200 replaced. 400
    while a part is missing or has another size: send it, then complete again. 503
    `upload-lost` once the session is over.
    """
    require(exchange, Scope.WRITE, services.direct_uploads.content_of(token))
    condition = parse_condition(exchange.head.get(b"if-match"), exchange.head.get(b"if-none-match"))
    receipt = await services.direct_uploads.complete(token, condition=condition)
    return json_answer(exchange, receipt.as_dict(), status=CREATED if receipt.created else OK)


def _text(body: dict[str, Any], key: str, default: str) -> str:
    value = body.get(key, default)
    if not isinstance(value, str):
        raise InvalidInputError(f"{key} must be text")
    return value


def _metadata(body: dict[str, Any]) -> dict[str, Any]:
    metadata = body.get("metadata", {})
    if not isinstance(metadata, dict):
        raise InvalidInputError("metadata must be an object")
    return metadata


def _expiry(body: dict[str, Any], now: Timestamp) -> Timestamp | None:
    seconds = body.get("expires_in")
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise InvalidInputError("expires_in must be a number of seconds")
    return expiry_after(seconds, now)


def _digest(body: dict[str, Any]) -> bytes | None:
    told = body.get("sha256")
    if told is None:
        return None
    try:
        digest = bytes.fromhex(told) if isinstance(told, str) else b""
    except ValueError:
        digest = b""
    if len(digest) != DIGEST_BYTES:
        raise InvalidInputError("sha256 must be the digest's 64 hexadecimal digits")
    return digest
