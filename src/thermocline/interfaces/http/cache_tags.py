"""Cache tags: the short names by which a CDN purges all that belongs to a content, a prefix or a tier."""

import hashlib
from functools import lru_cache

TAG_DIGEST_BYTES = 8
"""Two contents with the same tag would only be purged together."""
MAX_PREFIXES = 4
"""Deeper prefixes have no tag of their own; a purge of one purges the nearest above it."""


@lru_cache(maxsize=4096)
def cache_tag(content_id: str, tier: str) -> bytes:
    """Return the value of `Cache-Tag`: printable, lower case, without spaces."""
    segments = content_id.split("/")[:-1][:MAX_PREFIXES]
    prefixes = ["/".join(segments[: depth + 1]) + "/" for depth in range(len(segments))]
    return ",".join([content_tag(content_id), *map(prefix_tag, prefixes), f"t-{tier}"]).encode()


def content_tag(content_id: str) -> str:
    """Return the tag of everything that shows this content, immutable URLs too."""
    return "o-" + _digest(content_id)


def prefix_tag(prefix: str) -> str:
    """Return the tag of all contents below `prefix`, which ends with `/`."""
    return "p-" + _digest(prefix)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=TAG_DIGEST_BYTES).hexdigest()
