"""Telling calls from this machine from those that a foreign page or name smuggles in (DNS rebinding). Pure.

Without any token everybody who reaches the service may do everything, so only this machine may reach it. A
browser on this machine reaches it too, and runs pages of strangers: those betray themselves by the name that
they call the service (`Host`) or by where they come from (`Origin`, `Sec-Fetch-Site`).
"""

from urllib.parse import urlsplit

from thermocline.domain.hosts import parse_address


def is_local_peer(peer: str | None) -> bool:
    """Whether a connection from `peer` comes from this machine; what is no address at all (a socket file) does."""
    if peer is None:
        return True
    address = parse_address(peer)
    return address is None or address.is_loopback


def host_name(authority: str) -> str:
    """Return the name in `name:port`, in lower case and without brackets."""
    name = authority.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return (name.partition(":")[0] if name.count(":") == 1 else name).rstrip(".")


def origin_name(origin: str) -> str | None:
    """Return the host name of an `Origin`; None for an opaque one (`null`) or what is none."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    return parts.hostname if parts.scheme in {"http", "https"} else None
