"""What a PATCH of a record asks for: from its JSON to `Changes`, every key checked. Pure."""

from collections.abc import Mapping
from typing import Any

from thermocline.domain.content import Changes, Visibility, parse_visibility
from thermocline.domain.errors import InvalidInputError
from thermocline.domain.units import Timestamp
from thermocline.interfaces.http.write_headers import expiry_after

KEYS = ("metadata", "visibility", "expires_in", "never_expires", "hold", "pinned")


def read_changes(body: Mapping[str, Any], *, now: Timestamp) -> Changes:
    """Return the changes that `body` asks for. Raises `InvalidInputError` that names the wrong key."""
    unknown = sorted(set(body) - set(KEYS))
    if unknown:
        raise InvalidInputError(f"there is no key {unknown[0]!r} to change; there are {', '.join(KEYS)}")
    if not body:
        raise InvalidInputError(f"nothing to change; give one of {', '.join(KEYS)}")
    metadata, never_expires = body.get("metadata"), body.get("never_expires", False)
    if "metadata" in body and not isinstance(metadata, dict):
        raise InvalidInputError("metadata must be an object: a JSON merge patch, in which null removes a key")
    if not isinstance(never_expires, bool):
        raise InvalidInputError("never_expires must be true or false")
    if never_expires and "expires_in" in body:
        raise InvalidInputError("give either expires_in or never_expires")
    return Changes(
        metadata=metadata,
        visibility=_visibility(body),
        expires_at=_expiry(body, now),
        never_expires=never_expires,
        held=_flag(body, "hold"),
        pinned=_flag(body, "pinned"),
    )


def _visibility(body: Mapping[str, Any]) -> Visibility | None:
    if "visibility" not in body:
        return None
    return parse_visibility(str(body["visibility"]))


def _expiry(body: Mapping[str, Any], now: Timestamp) -> Timestamp | None:
    if "expires_in" not in body:
        return None
    seconds = body["expires_in"]
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise InvalidInputError("expires_in must be a number of seconds; never_expires: true clears an expiry")
    return expiry_after(seconds, now)


def _flag(body: Mapping[str, Any], key: str) -> bool | None:
    if key not in body:
        return None
    value = body[key]
    if not isinstance(value, bool):
        raise InvalidInputError(f"{key} must be true or false")
    return value
