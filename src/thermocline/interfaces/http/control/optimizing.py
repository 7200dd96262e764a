"""The policy: where content belongs, and why."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from thermocline.domain.access import Scope
from thermocline.domain.content_id import parse_content_id, parse_prefix
from thermocline.domain.errors import InvalidInputError
from thermocline.interfaces.http.control.calls import ExchangeHere, ServicesHere, json_answer
from thermocline.interfaces.http.control.json_body import read_json_object
from thermocline.interfaces.http.gate import require, require_overview

router = APIRouter(tags=["tiers"])
KEYS = ("dry_run", "prefix", "limit")


@router.post("/v1/optimize", summary="Move content to where the policy wants it, if that pays")
async def optimize(exchange: ExchangeHere, services: ServicesHere) -> JSONResponse:
    """Decide on every content; change tiers, plan copies, and report: `{"dry_run": true}` changes nothing.

    `prefix` and `limit` (of transitions) bound it. The report has `transitions`, `cost_savings` (US dollars a month,
    net of what the moves cost), `performance_impact` (milliseconds that the mean read waits longer), what was
    `refused` and why, the first transitions as `examples`, and `unverified_prices`. Copies are planned within the
    day's limits; a worker makes them. It answers when all is decided, which takes seconds for a million contents.
    Needs `write` on the prefix.
    """
    body = await read_json_object(exchange, may_be_empty=True)
    unknown = sorted(set(body) - set(KEYS))
    if unknown:
        raise InvalidInputError(f"there is no key {unknown[0]!r}; there are {', '.join(KEYS)}")
    dry_run, prefix, limit = body.get("dry_run", False), body.get("prefix", ""), body.get("limit")
    if not isinstance(dry_run, bool):
        raise InvalidInputError("dry_run must be true or false")
    if not isinstance(prefix, str):
        raise InvalidInputError("prefix must be the beginning of ids")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise InvalidInputError("limit must be a whole number from 1 on")
    require(exchange, Scope.WRITE, prefix)
    report = await services.optimizing.run(dry_run=dry_run, prefix=parse_prefix(prefix), limit=limit)
    return json_answer(exchange, report.as_dict())


@router.get("/v1/explain/{content_id:path}", summary="Why a content has its tier, and what would change it")
async def explain(exchange: ExchangeHere, services: ServicesHere, content_id: str) -> JSONResponse:
    """Return `why` it is where it is, the policy's `decision` now, what `would_change` it, and what it `costs`.

    `decision` has the `refusal` if a rule would move it and that is not done. `would_change` names silence or reads
    that lead to another tier. `costs` are US dollars a month in each placement, by the reads to expect. Needs `read` on
    the content.
    """
    require(exchange, Scope.READ, content_id)
    return json_answer(exchange, (await services.explaining.explain(parse_content_id(content_id))).as_dict())


@router.get("/v1/stats/savings", summary="What moves of policies were to save, and what they have saved")
async def savings(exchange: ExchangeHere, services: ServicesHere) -> JSONResponse:
    """Return, by policy and reason, moves, and predicted and realised savings in US dollars until now.

    Realised is by the storage reads that came since, at today's prices. Needs `read` without a prefix, or `admin`.
    """
    require_overview(exchange)
    return json_answer(exchange, (await services.saving.read()).as_dict())
