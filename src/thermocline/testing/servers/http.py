"""Asking a server that speaks HTTP whether it answers."""

import http.client
from typing import Final
from urllib.parse import urlsplit

_WAIT_SECONDS: Final = 2.0


def answers(url: str) -> bool:
    """Whether a GET of `url` is answered, with whatever status."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_WAIT_SECONDS)
    try:
        connection.request("GET", parts.path or "/")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True
