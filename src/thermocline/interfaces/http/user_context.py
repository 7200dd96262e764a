"""`Thermocline-User-Context`: what a caller tells about the user for whom it reads. Never logged, never stored."""

import json
from typing import Any

from thermocline.interfaces.http.exchange import Exchange
from thermocline.interfaces.http.problems import ProblemError, invalid_request
from thermocline.services.authorizing import ANYBODY

HEADER = b"thermocline-user-context"
MAX_CONTEXT_BYTES = 1024


def user_context(exchange: Exchange) -> dict[str, Any] | None:
    """Return what the header tells; None if it is absent, or of an unauthenticated caller (then it is ignored).

    Raises `ProblemError` (400) unless it is a JSON object of at most 1 KiB.
    """
    text = exchange.head.get(HEADER)
    if text is None or exchange.caller is ANYBODY:
        return None
    # Its content must not show in the answer either: proxies log those.
    problem = invalid_request(f"Thermocline-User-Context must be a JSON object of at most {MAX_CONTEXT_BYTES} bytes.")
    if len(text) > MAX_CONTEXT_BYTES:
        raise ProblemError(problem)
    try:
        context = json.loads(text.encode("latin-1"))
    except (ValueError, RecursionError) as exc:
        raise ProblemError(problem) from exc
    if not isinstance(context, dict):
        raise ProblemError(problem)
    return context
