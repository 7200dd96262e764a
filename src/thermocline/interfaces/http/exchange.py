"""One request and its answer, over ASGI."""

from collections.abc import AsyncIterator
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from thermocline.domain.errors import TruncatedBodyError
from thermocline.interfaces.http.problems import Fields, Problem
from thermocline.interfaces.http.request_head import RequestHead
from thermocline.interfaces.http.request_ids import FIELD
from thermocline.interfaces.http.targets import root_of
from thermocline.services.authorizing import ANYBODY, Caller

SCOPE_KEY = "thermocline.exchange"
"""Where the control routes find their exchange in the ASGI scope."""


class AnswerCutError(Exception):
    """The answer had begun and cannot be finished: the server must close the connection, so that it shows."""


class Exchange:
    """Sends at most one answer, and knows how far it has come. The body is read only when somebody asks for it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.head = RequestHead(scope)
        self.root = root_of(scope)
        self.is_head = self.head.method == "HEAD"
        self.caller: Caller = ANYBODY
        self.route = "unknown"
        """For metrics: a constant, never a path."""
        self.extra_fields: Fields = []
        """Fields of every answer to this request, problems too."""
        self.status: int | None = None
        """None before the answer has begun."""
        self.complete = False
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        """Return the next ASGI message from the client."""
        return await self._receive()

    async def send(self, message: Message) -> None:
        """Pass an ASGI message on to the client, with the request's id; HEAD leaves out what is in the body."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = message["headers"]
            if not any(name == FIELD for name, _ in headers):
                message = {**message, "headers": [*headers, (FIELD, self.head.request_id.encode())]}
        elif message["type"] == "http.response.body":
            self.complete = not message.get("more_body", False)
            if self.is_head:
                message = {**message, "body": b""}
        await self._send(message)

    async def start(self, status: int, fields: Fields) -> None:
        """Begin the answer."""
        await self.send({"type": "http.response.start", "status": status, "headers": [*fields, *self.extra_fields]})

    async def send_piece(self, piece: bytes) -> None:
        """Send a piece of the body, waiting while the client does not keep up."""
        await self.send({"type": "http.response.body", "body": piece, "more_body": True})

    async def finish(self, body: bytes = b"") -> None:
        """Send the last piece."""
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    async def answer(self, status: int, fields: Fields, body: bytes = b"") -> None:
        """Send a whole answer; `fields` describe the body."""
        await self.start(status, fields)
        await self.finish(body)

    async def answer_problem(self, problem: Problem) -> None:
        """Send a problem document."""
        fields, body = problem.render(self.head.request_id)
        await self.answer(problem.status, fields, body)

    async def body(self, expected_size: int | None = None) -> AsyncIterator[bytes]:
        """Yield the request's body as it arrives, taking no more from the client than is asked for.

        Raises `TruncatedBodyError` if the client leaves before its end, or sends more than announced.
        """
        received = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise TruncatedBodyError(f"the client left after {received} bytes; nothing was stored")
            piece: bytes = message.get("body", b"")
            received += len(piece)
            if expected_size is not None and received > expected_size:
                raise TruncatedBodyError(f"more than the {expected_size} bytes announced came; nothing was stored")
            if piece:
                yield piece
            if not message.get("more_body", False):
                return

    async def until_gone(self) -> None:
        """Return when the client has left. Only for requests whose body nobody reads."""
        while (await self._receive())["type"] != "http.disconnect":
            pass  # a body sent with a read means nothing


def exchange_in(scope: Any) -> Exchange:
    """Return the exchange that the application put into the scope of a control route."""
    exchange = scope[SCOPE_KEY]
    if not isinstance(exchange, Exchange):
        raise TypeError("the scope holds no exchange: control routes run inside the application only")
    return exchange
