"""Telling calls from this machine from those that a foreign page or name smuggles in (DNS rebinding). Pure.

Without any token everybody who reaches the service may do everything, so only this machine may reach it. A
browser on this machine reaches it too, and runs pages of strangers: those betray themselves by the name that
they call the service (`Host`) or by where they come from (`Origin`, `Sec-Fetch-Site`).
"""

import ipaddress
from urllib.parse import urlsplit

_LOOPBACK_NAMES = frozenset({"localhost"})


def is_loopback(host: str) -> bool:
    """Whether `host` names this machine to itself: `localhost` or a loopback address."""
    if host in _LOOPBACK_NAMES:
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def is_local_peer(peer: str | None) -> bool:
    """Whether a connection from `peer` comes from this machine; what is no address at all (a socket file) does."""
    if peer is None:
        return True
    address = _address(peer)
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


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
