"""What a request says before its body."""

from collections.abc import Mapping
from typing import Any

from thermocline.interfaces.http.request_ids import request_id_of

_BEARER = "bearer "


class RequestHead:
    """Method, query and headers of one request. Repeated headers are joined by commas, as RFC 9110 §5.3 says."""

    __slots__ = ("_fields", "host", "method", "query", "request_id")

    def __init__(self, scope: Mapping[str, Any]) -> None:
        fields: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            fields[name] = fields[name] + b", " + value if name in fields else value
        self._fields = fields
        self.method: str = scope["method"]
        self.query: bytes = scope.get("query_string", b"")
        self.host = self.get(b"host")
        self.request_id = request_id_of(self.get(b"x-request-id") or self.get(b"request-id") or "")
        """The client's own id if it is well-formed, else a new one."""

    def get(self, name: bytes) -> str | None:
        """Return the header's value, or None. Every byte is one character."""
        value = self._fields.get(name)
        return None if value is None else value.decode("latin-1").strip(" \t")

    def with_prefix(self, prefix: bytes) -> list[tuple[str, bytes]]:
        """Return the headers whose name starts with `prefix`: the rest of the name, and the value as bytes."""
        return [
            (name[len(prefix) :].decode("latin-1"), value.strip(b" \t"))
            for name, value in self._fields.items()
            if name.startswith(prefix)
        ]

    @property
    def token(self) -> str | None:
        """The bearer token's text; None without one."""
        return token_in(self.get(b"authorization"))


def token_in(authorization: str | None) -> str | None:
    """Return the bearer token in an `Authorization` header; for another scheme an empty text, which is no token."""
    if authorization is None:
        return None
    if authorization[: len(_BEARER)].lower() == _BEARER:
        return authorization[len(_BEARER) :].strip()
    return ""
