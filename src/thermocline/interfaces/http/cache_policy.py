"""How long clients and CDNs may keep a content: `Cache-Control` and Cloudflare's own field. Pure.

s-maxage, must-revalidate and proxy-revalidate never stand beside stale-while-revalidate or stale-if-error: on
Cloudflare any of them disables both. No copy may outlive its content, so content that expires is never served
stale, and never allowed longer than it has left.
"""

import re

from thermocline.domain.units import MICROS_PER_SECOND, Timestamp
from thermocline.interfaces.http.facts import ContentFacts
from thermocline.interfaces.http.problems import Fields

YEAR_SECONDS = 31_536_000
EDGE_SECONDS = 60
EDGE_STALE = "stale-while-revalidate=600, stale-if-error=86400"

_FORBIDS_SHARING = re.compile(r"\b(?:no-store|no-cache|private)\b", re.IGNORECASE)
_LIFETIME = re.compile(r"^(max-age|s-maxage)\s*=\s*\"?([0-9]+)\"?$", re.IGNORECASE)
_NOT_FOR_EXPIRING = re.compile(r"^(?:immutable$|stale-)", re.IGNORECASE)


def cache_fields(facts: ContentFacts, *, now: Timestamp, immutable: bool) -> Fields:
    """Return the fields that rule caching; `immutable`: asked for by revision, so these bytes never change."""
    if not facts.is_public:
        # Whatever was stored with it: a shared cache must never hold private content.
        return [(b"cache-control", b"private, no-store")]
    stored = facts.headers.cache_control
    left = None if facts.expires_at is None else max((facts.expires_at - now) // MICROS_PER_SECOND, 0)
    if immutable and not (stored and _FORBIDS_SHARING.search(stored)):
        if left is None:
            return [(b"cache-control", b"public, max-age=%d, immutable" % YEAR_SECONDS)]
        return [(b"cache-control", b"public, max-age=%d" % min(left, YEAR_SECONDS))]
    if stored is not None:
        return [(b"cache-control", (stored if left is None else limit_lifetime(stored, left)).encode())]
    edge = f"max-age={EDGE_SECONDS}, {EDGE_STALE}" if left is None else f"max-age={min(left, EDGE_SECONDS)}"
    return [(b"cache-control", b"public, max-age=0"), (b"cloudflare-cdn-cache-control", edge.encode())]


def limit_lifetime(stored: str, left_seconds: int) -> str:
    """Return a stored `Cache-Control` that allows no cache more than `left_seconds`."""
    directives: list[str] = []
    bounded = _FORBIDS_SHARING.search(stored) is not None
    for part in stored.split(","):
        directive = part.strip()
        if not directive or _NOT_FOR_EXPIRING.match(directive):
            continue
        lifetime = _LIFETIME.match(directive)
        if lifetime is not None:
            bounded = True
            directive = f"{lifetime[1]}={min(int(lifetime[2][:10]), left_seconds)}"
        directives.append(directive)
    if not bounded:
        # Without a lifetime a cache may guess one, beyond the content's end (RFC 9111 §4.2.2).
        directives.append("max-age=0")
    return ", ".join(directives)
