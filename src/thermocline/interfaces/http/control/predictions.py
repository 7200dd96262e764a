"""Predictions of a recommender: what is likely to be read is brought into the caches."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from thermocline.domain.access import Scope
from thermocline.domain.errors import InvalidInputError
from thermocline.domain.predictions import Prediction, parse_prediction
from thermocline.domain.units import LARGEST_SIZE, Bytes
from thermocline.interfaces.http.control.calls import ExchangeHere, ServicesHere, json_answer
from thermocline.interfaces.http.control.json_body import read_json_array
from thermocline.interfaces.http.gate import require
from thermocline.services.warming import THRESHOLD

router = APIRouter(tags=["cache"])
MOST_PREDICTIONS = 10_000
MOST_BODY_BYTES = Bytes(16 * 2**20)
"""10,000 of the longest ids, with what is written around them."""
USUAL_DEADLINE = 30.0
LONGEST_DEADLINE = 300.0


@router.post("/v1/predictions", summary="Warm the caches with what is likely to be read")
async def warm(
    exchange: ExchangeHere,
    services: ServicesHere,
    threshold: Annotated[float, Query(ge=0, le=1, description="Probabilities must be above it")] = THRESHOLD,
    byte_budget: Annotated[int, Query(ge=0, le=LARGEST_SIZE, description="Most bytes to read")] = LARGEST_SIZE,
    deadline: Annotated[
        float, Query(ge=0, le=LONGEST_DEADLINE, description="Seconds until the answer comes, done or not")
    ] = USUAL_DEADLINE,
) -> JSONResponse:
    """Read the contents of the body into both cache levels: `[{"content_id": "a/b", "access_probability": 0.9}, ...]`.

    At most 10,000, 10 at a time, the highest probability x cost of a miss first; archived content is left alone. The
    answer comes when all is done: `accepted`, `duplicates` (folded, the higher probability counts), `warmed`,
    `warmed_bytes`, and `skipped` by reason: `already_cached`, `below_threshold`, `not_found`, `archived`,
    `never_cached` (its tier is not), `too_large`, `over_budget`, `past_deadline`, `failed` (the first in `failures`).
    Needs `write` on every content. A prediction that is none is refused with all others; too many at a time answer 503.
    """
    predictions = [
        _parse(number, given)
        for number, given in enumerate(
            await read_json_array(exchange, max_bytes=MOST_BODY_BYTES, max_items=MOST_PREDICTIONS), start=1
        )
    ]
    if not predictions:
        require(exchange, Scope.WRITE, exchange.caller.prefix)
    for prediction in predictions:
        require(exchange, Scope.WRITE, prediction.content_id)
    report = await services.warming.warm_cache(
        predictions, threshold=threshold, byte_budget=byte_budget, deadline=deadline
    )
    return json_answer(exchange, report.as_dict())


def _parse(number: int, given: object) -> Prediction:
    try:
        return parse_prediction(given)
    except InvalidInputError as exc:
        raise InvalidInputError(f"prediction {number}: {exc}") from exc
