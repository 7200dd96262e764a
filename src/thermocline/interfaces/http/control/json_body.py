"""A bounded JSON object or array as the body of a control request."""

import json
from typing import Any, NoReturn

from thermocline.domain.errors import ContentTooLargeError, InvalidInputError
from thermocline.domain.units import Bytes
from thermocline.interfaces.http.exchange import Exchange
from thermocline.interfaces.http.problems import ProblemError, unsupported_media_type

MAX_BODY_BYTES = Bytes(64 * 1024)
MAX_DEPTH = 32
_JSON_TYPES = frozenset({"application/json", "application/merge-patch+json"})


async def read_json_object(exchange: Exchange, *, may_be_empty: bool = False) -> dict[str, Any]:
    """Return the request's body, a JSON object of at most 64 KiB; no body at all counts as `{}` if it may be empty.

    Raises `ContentTooLargeError`, `InvalidInputError`, and `ProblemError` (415) for a body that is not JSON.
    """
    body = await _read_body(exchange, MAX_BODY_BYTES)
    if may_be_empty and not body:
        return {}
    value = _parse(body)
    if not isinstance(value, dict):
        raise InvalidInputError("the body must be a JSON object")
    return value


async def read_json_array(exchange: Exchange, *, max_bytes: Bytes, max_items: int) -> list[Any]:
    """Return the request's body, a JSON array of at most so many items. Raises likewise."""
    value = _parse(await _read_body(exchange, max_bytes))
    if not isinstance(value, list):
        raise InvalidInputError("the body must be a JSON array")
    if len(value) > max_items:
        raise ContentTooLargeError(f"the array must have at most {max_items} items, not {len(value)}; send several")
    return value


async def _read_body(exchange: Exchange, max_bytes: Bytes) -> bytes:
    media_type = (exchange.head.get(b"content-type") or "application/json").partition(";")[0].strip().lower()
    if media_type not in _JSON_TYPES:
        raise ProblemError(unsupported_media_type("The body must be JSON; send Content-Type: application/json."))
    body = bytearray()
    async for piece in exchange.body():
        body += piece
        if len(body) > max_bytes:
            raise ContentTooLargeError(f"the body must have at most {max_bytes} bytes")
    return bytes(body)


def _parse(body: bytes) -> Any:
    try:
        value = json.loads(body, parse_constant=_refuse_constant, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as exc:
        raise InvalidInputError(f"the body is not JSON: {exc}") from exc
    if _depth_exceeds(value, MAX_DEPTH):
        raise InvalidInputError(f"the body is nested deeper than {MAX_DEPTH} levels")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has the same key twice")
    return found


def _depth_exceeds(value: Any, levels: int) -> bool:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels == 0 or any(_depth_exceeds(child, levels - 1) for child in children)
