"""PUT and DELETE of content. Nothing of the body is asked for before the caller's right and the headers are clear."""

import json
from urllib.parse import parse_qsl

from thermocline.domain.access import Scope
from thermocline.domain.conditions import parse_condition
from thermocline.domain.content import ALWAYS
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import ContentHeldError, ContentNotFoundError, InvalidInputError, PreconditionFailedError
from thermocline.interfaces.http.exchange import Exchange
from thermocline.interfaces.http.gate import require
from thermocline.interfaces.http.targets import encode_path
from thermocline.interfaces.http.write_headers import read_write_request
from thermocline.orchestrator import DEFAULT_TIER
from thermocline.services.transferring import WriteRequest
from thermocline.wiring.services import Services

CREATED, OK, NO_CONTENT = 201, 200, 204
CONTENT_PATH = "/v1/content/"


class WriteRoute:
    """Answers writes to one store."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._clock = services.adapters.clock

    async def put(self, exchange: Exchange, content_id: ContentId) -> None:
        """Store the request's body as the content and answer with the receipt.

        Raises what `WritingService.store` does, `InvalidInputError` and `ProblemError` for headers. If the client
        leaves half-way, nothing was stored and nothing is left.
        """
        require(exchange, Scope.WRITE, content_id)
        request = read_write_request(exchange.head, content_id, now=self._clock.now(), default_tier=DEFAULT_TIER)
        await self._refuse_early(request)
        receipt = await self._services.writing.store(request, exchange.body(request.expected_size))
        body = json.dumps(receipt.as_dict(), ensure_ascii=False).encode()
        await exchange.answer(
            CREATED if receipt.created else OK,
            [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body)),
                (b"etag", receipt.etag.encode()),
                (b"location", encode_path(exchange.root + CONTENT_PATH + content_id).encode()),
                (b"cache-control", b"no-store"),
                (b"x-request-id", exchange.head.request_id.encode()),
            ],
            body,
        )

    async def delete(self, exchange: Exchange, content_id: ContentId) -> None:
        """Delete the content and answer 204, whether there was one or not; `?erase=true` leaves no trace.

        An erasure answers 200 with its report instead if the caller prefers that (`Prefer: return=representation`).
        Raises `ContentHeldError`, `PreconditionFailedError`, `InvalidInputError`.
        """
        require(exchange, Scope.WRITE, content_id)
        condition = parse_condition(exchange.head.get(b"if-match"), exchange.head.get(b"if-none-match"))
        deleting = self._services.deleting
        erasure = None
        if not _wants_erasure(exchange.head.query):
            await deleting.delete(content_id, condition=condition)
        elif condition is ALWAYS:
            erasure = await deleting.erase(content_id)
        else:
            raise InvalidInputError("an erasure takes no condition; leave out If-Match, or the erase parameter")
        fields = [(b"cache-control", b"no-store"), (b"x-request-id", exchange.head.request_id.encode())]
        if erasure is None or not _wants_report(exchange.head.get(b"prefer")):
            await exchange.answer(NO_CONTENT, fields)
            return
        body = json.dumps(erasure.as_dict(), ensure_ascii=False).encode()
        fields += [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"preference-applied", b"return=representation"),
        ]
        await exchange.answer(OK, fields, body)

    async def _refuse_early(self, request: WriteRequest) -> None:
        """Refuse what the commit would refuse anyway before the body is sent; the commit checks again."""
        if request.condition is ALWAYS:
            return
        try:
            record = await self._services.reading.stat(request.content_id)
        except ContentNotFoundError as exc:
            if not request.condition.holds_for(None):
                raise PreconditionFailedError(request.content_id, current_etag=None) from exc
            return
        if not request.condition.holds_for(record.revision):
            raise PreconditionFailedError(request.content_id, current_etag=record.etag)
        if record.held:
            raise ContentHeldError(request.content_id)


def _wants_report(preferences: str | None) -> bool:
    wishes = (preferences or "").lower().split(",")
    return any(wish.partition(";")[0].strip() == "return=representation" for wish in wishes)


def _wants_erasure(query: bytes) -> bool:
    values = [value for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True) if name == "erase"]
    if not values:
        return False
    if len(values) > 1 or values[0].lower() not in {"true", "false", "1", "0"}:
        raise InvalidInputError("erase must be true or false")
    return values[0].lower() in {"true", "1"}
