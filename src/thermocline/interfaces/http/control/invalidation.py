"""Eviction from the caches by pattern."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from thermocline.domain.access import Scope
from thermocline.domain.errors import InvalidInputError
from thermocline.domain.glob import literal_prefix
from thermocline.interfaces.http.control.calls import ExchangeHere, ServicesHere, json_answer
from thermocline.interfaces.http.control.json_body import read_json_object
from thermocline.interfaces.http.gate import require

router = APIRouter(tags=["cache"])
KEYS = ("pattern", "cache_type", "everything")


@router.post("/v1/invalidate", summary="Evict what matches a pattern from every cache")
async def invalidate(exchange: ExchangeHere, services: ServicesHere) -> JSONResponse:
    r"""Evict every value whose id matches: `{"pattern": "users/42/*", "cache_type": "content"}`; answer how many.

    Patterns are Redis globs (`*`, `?`, `[a-z]`, `\` quotes), and `*` matches `/` too. Without `cache_type` values of
    all types go. A pattern that matches everything needs `"everything": true`. Needs `write` on what the pattern begins
    with, up to its first special character.
    """
    body = await read_json_object(exchange)
    unknown = sorted(set(body) - set(KEYS))
    if unknown:
        raise InvalidInputError(f"there is no key {unknown[0]!r}; there are {', '.join(KEYS)}")
    pattern, cache_type, everything = body.get("pattern"), body.get("cache_type"), body.get("everything", False)
    if not isinstance(pattern, str):
        raise InvalidInputError('give a pattern: {"pattern": "users/42/*"}')
    if cache_type is not None and not isinstance(cache_type, str):
        raise InvalidInputError("cache_type must be the name of a cache type")
    if not isinstance(everything, bool):
        raise InvalidInputError("everything must be true or false")
    require(exchange, Scope.WRITE, literal_prefix(pattern))
    evicted = await services.evicting.run(pattern, cache_type, everything=everything)
    return json_answer(exchange, {"invalidated": evicted})
