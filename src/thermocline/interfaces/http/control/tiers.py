"""Tiers and restores of single contents."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from thermocline.domain.access import Scope
from thermocline.domain.conditions import parse_condition
from thermocline.domain.content_id import ContentId, parse_content_id
from thermocline.domain.errors import InvalidInputError
from thermocline.domain.restores import RestoreStage, RestoreStatus, parse_speed
from thermocline.domain.tiers import parse_tier
from thermocline.interfaces.http.control.calls import ExchangeHere, ServicesHere, json_answer
from thermocline.interfaces.http.control.json_body import read_json_object
from thermocline.interfaces.http.gate import require

router = APIRouter(tags=["tiers"])
OK, ACCEPTED = 200, 202


@router.put("/v1/tier/{content_id:path}", summary="Move a content to a tier")
async def set_tier(exchange: ExchangeHere, services: ServicesHere, content_id: str) -> JSONResponse:
    """Move the content to the tier that the body names: `{"tier": "cold"}`. Needs `write` on it.

    200: done, no copy was needed. 202: durably planned; `GET /v1/info/{content_id}` shows `move` until it is made.
    `If-Match` is honoured. Content on hold answers 409.
    """
    require(exchange, Scope.WRITE, content_id)
    condition = parse_condition(exchange.head.get(b"if-match"), exchange.head.get(b"if-none-match"))
    body = await read_json_object(exchange)
    tier = body.get("tier")
    if set(body) != {"tier"} or not isinstance(tier, str):
        raise InvalidInputError('name the tier, and nothing else: {"tier": "cold"}')
    outcome = await services.moving.set_tier(parse_content_id(content_id), parse_tier(tier), condition=condition)
    return json_answer(exchange, outcome.as_dict(), status=ACCEPTED if outcome.planned else OK)


@router.post("/v1/restore/{content_id:path}", summary="Make archived content readable for a while")
async def request_restore(exchange: ExchangeHere, services: ServicesHere, content_id: str) -> JSONResponse:
    """Restore the content, or learn how far that is. Needs `write` on it: restores cost money.

    The body may name `speed` (bulk, standard or expedited) and `days`. 202: under way, `eta` says until when.
    200: readable. However many ask, it is requested and paid for once; a budget that is spent answers 503.
    """
    require(exchange, Scope.WRITE, content_id)
    body = await read_json_object(exchange, may_be_empty=True)
    unknown = sorted(set(body) - {"speed", "days"})
    if unknown:
        raise InvalidInputError(f"there is no key {unknown[0]!r}; there are speed and days")
    speed, days = body.get("speed"), body.get("days")
    if speed is not None and not isinstance(speed, str):
        raise InvalidInputError("speed must be bulk, standard or expedited")
    if days is not None and (isinstance(days, bool) or not isinstance(days, int)):
        raise InvalidInputError("days must be a whole number")
    record = await services.reading.stat(parse_content_id(content_id))
    status = await services.restoring.request(record, speed=None if speed is None else parse_speed(speed), days=days)
    return _answer(exchange, record.content_id, status)


@router.get("/v1/restore/{content_id:path}", summary="How far a restore is")
async def restore_state(exchange: ExchangeHere, services: ServicesHere, content_id: str) -> JSONResponse:
    """Return `state` (archived, requested or readable), `eta` and `readable_until`. Needs `read` on the content."""
    require(exchange, Scope.READ, content_id)
    record = await services.reading.stat(parse_content_id(content_id))
    return _answer(exchange, record.content_id, await services.restoring.status(record), asked=False)


def _answer(
    exchange: ExchangeHere, content_id: ContentId, status: RestoreStatus, *, asked: bool = True
) -> JSONResponse:
    under_way = asked and status.stage is RestoreStage.REQUESTED
    return json_answer(exchange, {"content_id": content_id, **status.as_dict()}, status=ACCEPTED if under_way else OK)
