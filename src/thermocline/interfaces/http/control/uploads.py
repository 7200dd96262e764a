"""Upload sessions: the bytes go from the client to the object store, past this service."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from thermocline.domain.access import Scope
from thermocline.domain.content import StoredHeaders, parse_visibility
from thermocline.domain.content_id import parse_content_id
from thermocline.domain.digests import DIGEST_BYTES
from thermocline.domain.errors import InvalidInputError
from thermocline.domain.tiers import StorageTier, parse_tier
from thermocline.domain.units import format_moment
from thermocline.interfaces.http.control.calls import ExchangeHere, ServicesHere, json_answer
from thermocline.interfaces.http.control.json_body import read_json_object
from thermocline.interfaces.http.gate import require
from thermocline.services.transferring import WriteRequest

router = APIRouter(tags=["uploads"])
OK, CREATED = 200, 201
KEYS = ("content_id", "size", "content_type", "tier", "visibility", "sha256")


@router.post("/v1/uploads", summary="Begin an upload that goes straight to the object store")
async def begin_upload(exchange: ExchangeHere, services: ServicesHere) -> JSONResponse:
    """Begin a session for `{"content_id": "a/b", "size": 123}`. Needs `write` on the content.

    The body may also name `content_type`, `tier`, `visibility`, and `sha256` (hexadecimal), which is compared. 201:
    `parts` lists the URL to which each part is to be sent with PUT, and its size; then POST to `complete`. What is not
    completed by `expires_at` is removed.
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
        headers=StoredHeaders(_text(body, "content_type", StoredHeaders().content_type)),
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

    201 new, 200 replaced. 400 while a part is missing or has another size: send it, then complete again. 503
    `upload-lost` once the session is over.
    """
    require(exchange, Scope.WRITE, services.direct_uploads.content_of(token))
    receipt = await services.direct_uploads.complete(token)
    return json_answer(exchange, receipt.as_dict(), status=CREATED if receipt.created else OK)


def _text(body: dict[str, Any], key: str, default: str) -> str:
    value = body.get(key, default)
    if not isinstance(value, str):
        raise InvalidInputError(f"{key} must be text")
    return value


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
