"""Which pages of other origins may read content (CORS): all, those listed, or none. Pure."""

from collections.abc import Sequence

from thermocline.interfaces.http.problems import Fields

EXPOSED = (
    b"accept-ranges, age, cache-status, content-disposition, content-length, content-range, date, etag, "
    b"last-modified, repr-digest, retry-after, x-request-id"
)
"""What a page may read of an answer, beyond what is always readable."""
_ALLOWED_HEADERS = b"authorization, if-match, if-modified-since, if-none-match, if-range, if-unmodified-since, range, "
ALLOWED_HEADERS = _ALLOWED_HEADERS + b"thermocline-user-context, x-request-id"
PREFLIGHT_SECONDS = 600


class CorsRules:
    """Answers depend on `Origin` only where origins are listed; then every answer says so (`Vary`).

    Credentials are never allowed: a token is sent by a page that has it, never by the browser on its own.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        self._all = "*" in origins
        self._origins = frozenset(origins)

    def lists(self, origin: str) -> bool:
        """Whether `origin` itself was listed; `*` lists nobody."""
        return origin in self._origins and origin != "*"

    def fields(self, origin: str | None) -> Fields:
        """Return the fields of an answer to a read by a page of `origin` (None: no page, or of our own origin)."""
        if self._all:
            return [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", EXPOSED)]
        if not self._origins:
            return []
        vary = (b"vary", b"Origin")
        if origin is None or origin not in self._origins:
            return [vary]
        return [
            (b"access-control-allow-origin", origin.encode()),
            (b"access-control-expose-headers", EXPOSED),
            vary,
        ]

    def preflight(self, origin: str | None) -> Fields:
        """Return the fields that let a page of `origin` read; pages never write."""
        fields = self.fields(origin)
        if not any(name == b"access-control-allow-origin" for name, _ in fields):
            return fields
        return [
            *(field for field in fields if field[0] != b"access-control-expose-headers"),
            (b"access-control-allow-methods", b"GET, HEAD"),
            (b"access-control-allow-headers", ALLOWED_HEADERS),
            (b"access-control-max-age", b"%d" % PREFLIGHT_SECONDS),
        ]
