"""Asking a running service, for the few things that only its own processes can do."""

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any, Final

from thermocline.interfaces.cli.blocking import BlockingThread
from thermocline.interfaces.cli.exits import CommandError, UsageError

TOKEN_VARIABLE: Final = "THERMOCLINE_TOKEN"  # noqa: S105 - the name of a variable
PATIENCE_SECONDS: Final = 330.0
"""Longer than the service takes for any answer to us."""


async def post_json(service: str, path: str, body: Sequence[Any], query: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON object that the service answers. The token, if one is needed, is in `THERMOCLINE_TOKEN`.

    Raises `CommandError` that says what the service, or the way to it, said.
    """
    address = urllib.parse.urlsplit(service)
    if address.scheme not in {"http", "https"} or not address.netloc:
        raise UsageError(f"{service!r} is no address of a service", "such as --service http://127.0.0.1:8080")
    url = f"{service.rstrip('/')}{path}?{urllib.parse.urlencode(query)}"
    headers = {"Content-Type": "application/json"}
    if token := os.environ.get(TOKEN_VARIABLE):
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - checked above
    # In a thread that keeps nobody waiting: Ctrl-C must not.
    return await BlockingThread().call(_ask, request, service)


def _ask(request: urllib.request.Request, service: str) -> dict[str, Any]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=PATIENCE_SECONDS) as answer:
            told = json.loads(answer.read())
    except urllib.error.HTTPError as exc:
        raise CommandError(f"the service at {service} answered {exc.code}: {_detail(exc)}") from exc
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "reason", exc)
        raise CommandError(
            f"the service at {service} does not answer: {reason}",
            "start it with 'thermocline serve', or name --service",
        ) from exc
    if not isinstance(told, dict):
        raise CommandError(f"what answers at {service} is no service of ours")
    return told


def _detail(exc: urllib.error.HTTPError) -> str:
    try:
        problem = json.loads(exc.read())
        return str(problem["detail"])
    except (OSError, ValueError, KeyError, TypeError):
        return str(exc.reason)
