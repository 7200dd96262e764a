"""Names and addresses of hosts."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether `host` names this machine to itself: `localhost` or a loopback address."""
    address = parse_address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that `text` writes, without its zone; an IPv4 address in IPv6 form as what it is."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
