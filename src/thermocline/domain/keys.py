"""Object keys `{installation}/{placement}/{content_id}/{token}`: never reused, so never overwritten."""

import re
from dataclasses import dataclass

from thermocline.domain.content_id import ContentId, parse_content_id
from thermocline.domain.errors import InvalidInputError
from thermocline.domain.units import Timestamp

TOKEN_ENTROPY_BYTES = 10
TOKEN_LENGTH = 26
_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [first + second for first in _CROCKFORD for second in _CROCKFORD]
"""Two characters at once: every write makes a token."""
_TOKEN = re.compile(f"[{_CROCKFORD}]{{{TOKEN_LENGTH}}}")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")


def new_token(now: Timestamp, entropy: bytes) -> str:
    """Return a token that no other attempt has and that sorts by `now` (a ULID in lower case, 26 characters)."""
    if len(entropy) != TOKEN_ENTROPY_BYTES:
        raise ValueError(f"a token needs {TOKEN_ENTROPY_BYTES} random bytes, not {len(entropy)}")
    number = (now // 1000) << 80 | int.from_bytes(entropy)
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])


def token_time(token: str) -> Timestamp:
    """Return when a token was made, cut to the millisecond. Raises `ValueError` if it is no token."""
    number = 0
    for letter in token:
        number = number << 5 | _CROCKFORD.index(letter)
    return Timestamp((number >> 80) * 1000)


def is_name(text: str) -> bool:
    """Whether `text` can name an installation or a placement: 1 to 32 of a-z, 0-9 and inner hyphens."""
    return _NAME.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class ObjectKey:
    """The parts of an object key."""

    installation: str
    placement: str
    content_id: ContentId
    token: str

    def __str__(self) -> str:
        """Return the key as the object store sees it."""
        return f"{self.installation}/{self.placement}/{self.content_id}/{self.token}"

    @classmethod
    def parse(cls, text: str) -> "ObjectKey | None":
        """Return the parts of `text`, or None if it is not a key of ours."""
        installation, _, rest = text.partition("/")
        placement, _, rest = rest.partition("/")
        content_id, _, token = rest.rpartition("/")
        if not (is_name(installation) and is_name(placement) and _TOKEN.fullmatch(token)):
            return None
        try:
            return cls(installation, placement, parse_content_id(content_id), token)
        except InvalidInputError:
            return None
