"""Records: listing, reading, changing. The bytes themselves have routes of their own."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from thermocline.domain.access import Scope
from thermocline.domain.conditions import parse_condition
from thermocline.domain.content_id import parse_content_id
from thermocline.domain.tiers import parse_tier
from thermocline.interfaces.http.control.calls import ExchangeHere, ServicesHere, json_answer
from thermocline.interfaces.http.control.changes import read_changes
from thermocline.interfaces.http.control.json_body import read_json_object
from thermocline.interfaces.http.gate import require

router = APIRouter(tags=["records"])
DEFAULT_LIMIT = 100


@router.get("/v1/content", summary="List records, a page at a time")
async def list_records(
    exchange: ExchangeHere,
    services: ServicesHere,
    prefix: str = "",
    tier: str = "",
    limit: int = DEFAULT_LIMIT,
    cursor: str = "",
) -> JSONResponse:
    """Return up to `limit` (1 to 1000) records whose id starts with `prefix`, by their UTF-8 bytes, and `next`.

    `next` is the cursor of the next page, null on the last. Needs `read` on the prefix.
    """
    require(exchange, Scope.READ, prefix)
    page = await services.listing.page(
        prefix=prefix, tier=parse_tier(tier) if tier else None, limit=limit, cursor=cursor or None
    )
    return json_answer(exchange, {"records": [record.as_dict() for record in page.records], "next": page.next_cursor})


@router.get("/v1/info/{content_id:path}", summary="Return the record of a content")
async def read_record(exchange: ExchangeHere, services: ServicesHere, content_id: str) -> JSONResponse:
    """Return what is known of the content, and how it was read until a few seconds ago. Needs `read` on it."""
    require(exchange, Scope.READ, content_id)
    return json_answer(exchange, (await services.describing.describe(parse_content_id(content_id))).as_dict())


@router.patch("/v1/info/{content_id:path}", summary="Change metadata, visibility, expiry, hold or pin")
async def change_record(exchange: ExchangeHere, services: ServicesHere, content_id: str) -> JSONResponse:
    """Change what is known of the content, not its bytes, and return the record as committed. Needs `write` on it.

    The body is a JSON object with one or more of: `metadata` (a merge patch; null removes a key), `visibility`,
    `expires_in` (seconds), `never_expires` (true), `hold`, `pinned`. `If-Match` is honoured.
    """
    require(exchange, Scope.WRITE, content_id)
    condition = parse_condition(exchange.head.get(b"if-match"), exchange.head.get(b"if-none-match"))
    changes = read_changes(await read_json_object(exchange), now=services.adapters.clock.now())
    record = await services.changing.change(parse_content_id(content_id), changes, condition=condition)
    return json_answer(exchange, record.as_dict())
