"""`Repr-Digest` and `Content-Digest` of a request (RFC 9530): dictionaries of byte sequences (RFC 9651). Pure."""

import base64
import binascii
import re

from thermocline.domain.digests import DIGEST_BYTES
from thermocline.domain.errors import DigestMismatchError, InvalidInputError

_KEY = r"[a-z*][a-z0-9_.*-]*"
_STRING = r'"(?:[ !#-\[\]-~]|\\["\\])*"'
_WORD = r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*"
_BARE = rf":[A-Za-z0-9+/=]*:|{_STRING}|\?[01]|-?[0-9]+(?:\.[0-9]+)?|{_WORD}"
_MEMBER = re.compile(rf"({_KEY})=:([A-Za-z0-9+/=]*):(?:;[ ]*{_KEY}(?:=(?:{_BARE}))?)*")
_COMMA = re.compile(r"[ \t]*,[ \t]*")


def expected_sha256(repr_digest: str | None, content_digest: str | None) -> bytes | None:
    """Return the SHA-256 that the body must have, or None if no header names one.

    Other algorithms are ignored, as RFC 9530 §2 allows. The bytes are stored as they come, so both headers
    speak of the same bytes. Raises `InvalidInputError` for what is malformed, `DigestMismatchError` if the
    headers contradict each other.
    """
    found = {
        digest
        for name, text in (("Repr-Digest", repr_digest), ("Content-Digest", content_digest))
        if text is not None and (digest := parse_digest_field(name, text).get("sha-256")) is not None
    }
    if len(found) > 1:
        raise DigestMismatchError(
            "Repr-Digest and Content-Digest announce different SHA-256 digests; nothing was stored"
        )
    digest = next(iter(found), None)
    if digest is not None and len(digest) != DIGEST_BYTES:
        raise InvalidInputError(f"a sha-256 digest has {DIGEST_BYTES} bytes, not {len(digest)}")
    return digest


def parse_digest_field(name: str, text: str) -> dict[str, bytes]:
    """Return the digests by algorithm; of repeated ones the last. Raises `InvalidInputError`."""
    digests: dict[str, bytes] = {}
    rest = text.strip(" ")
    position = 0
    while position < len(rest):
        member = _MEMBER.match(rest, position)
        if member is None:
            raise _malformed(name)
        digests[member[1]] = _decode(name, member[2])
        position = member.end()
        if position == len(rest):
            break
        comma = _COMMA.match(rest, position)
        if comma is None or comma.end() == len(rest):
            raise _malformed(name)
        position = comma.end()
    return digests


def _decode(name: str, text: str) -> bytes:
    # A missing padding is to be forgiven (RFC 9651 §4.2.7).
    padded = text.rstrip("=")
    try:
        return base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise _malformed(name) from exc


def _malformed(name: str) -> InvalidInputError:
    return InvalidInputError(f"{name} is malformed; write it as sha-256=:base64 of the digest:")
