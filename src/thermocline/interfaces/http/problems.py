"""Answers that say what went wrong: `application/problem+json` (RFC 9457), from plain ASGI."""

import json
from dataclasses import dataclass

Fields = list[tuple[bytes, bytes]]
"""Header fields of an answer, as ASGI takes them: lower-case names."""

TYPE_PREFIX = "urn:thermocline:error:"


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of failure as the client sees it; `slug` ends its stable `type`."""

    status: int
    slug: str
    title: str
    detail: str
    """What happened and what to do."""
    fields: tuple[tuple[bytes, bytes], ...] = ()
    """Headers that belong to the failure, such as `retry-after`."""

    def render(self, request_id: str) -> tuple[Fields, bytes]:
        """Return all headers and the body; never cacheable."""
        document = {
            "type": TYPE_PREFIX + self.slug,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "request_id": request_id,
        }
        body = json.dumps(document, ensure_ascii=False).encode(errors="replace")
        fields = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            (b"x-request-id", request_id.encode()),
            *self.fields,
        ]
        return fields, body


class ProblemError(Exception):
    """Raised inside the HTTP interface to answer with `problem`; never leaves it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.slug)
        self.problem = problem


INTERNAL = Problem(
    500,
    "internal",
    "Internal error",
    "The service failed while answering. Its log has the cause under this request id.",
)
NO_ROUTE = Problem(404, "not-found", "Not found", "There is nothing at this path; see docs for what there is.")


def method_not_allowed(allow: str) -> Problem:
    """Return the answer to a method that the resource does not have; `allow` lists those that it has."""
    return Problem(
        405,
        "method-not-allowed",
        "Method not allowed",
        f"This resource takes only: {allow}.",
        ((b"allow", allow.encode()),),
    )


def invalid_request(detail: str) -> Problem:
    """Return the answer to a request whose headers, query or body are not what they should be."""
    return Problem(400, "invalid-input", "Invalid input", detail)


def unsupported_media_type(detail: str, fields: tuple[tuple[bytes, bytes], ...] = ()) -> Problem:
    """Return the answer to a body in a form that is not taken."""
    return Problem(415, "unsupported-media-type", "Unsupported media type", detail, fields)
