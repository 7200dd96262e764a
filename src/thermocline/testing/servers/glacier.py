"""An S3 with Glacier semantics, in a process of its own, for tests.

It models what no free server does: 403 InvalidObjectState, RestoreObject with tiers and delays, 409
RestoreAlreadyInProgress, `x-amz-restore`, expiry (the object is archived again), digests that are checked
(Content-MD5, x-amz-content-sha256, x-amz-checksum-crc32 and -sha256), and signatures: user, secret, region, and that
they are fresh by this machine's clock. Its own clock stands still until `advance`.

It does not model: rights (its one user has all), bodies in signed chunks, versions, tags, rounding a copy's
end up to midnight, that a restore may be late, and that AWS lets a faster tier overtake one under way (it answers 409).
Objects lie in memory. Any storage class may be written; those in `delays` need a restore.
"""

import argparse
import asyncio
import http.client
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from aiohttp import web

from thermocline.domain.units import Seconds, Timestamp
from thermocline.testing.clock import START
from thermocline.testing.servers.glacier_objects import Delays, GlacierObjects
from thermocline.testing.servers.glacier_requests import MOST_BODY, GlacierRequests
from thermocline.testing.servers.glacier_signatures import Signatures
from thermocline.testing.servers.http import answers
from thermocline.testing.servers.processes import ServerProcess, free_port

_HOUR: Final = 3600.0
AWS_DELAYS: Final[Delays] = {
    "GLACIER": {"Bulk": 12 * _HOUR, "Standard": 5 * _HOUR, "Expedited": 300.0},
    "DEEP_ARCHIVE": {"Bulk": 48 * _HOUR, "Standard": 12 * _HOUR},
}
"""The longest that AWS names for each class and tier (S3 user guide, "Understanding archive retrieval options")."""
ACCESS_KEY: Final = "glacier-key"
SECRET_KEY: Final = "glacier/secret+that nobody may see"  # noqa: S105 - of nobody
REGION: Final = "us-east-1"
_CONTROL: Final = "/_control"
_CONTROL_WAIT: Final = 10.0


class GlacierServer:
    """The server of this module, started and stopped."""

    access_key = ACCESS_KEY
    secret_key = SECRET_KEY
    region = REGION

    def __init__(self, folder: Path, *, delays: Mapping[str, Mapping[str, float]] = AWS_DELAYS) -> None:
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        told = json.dumps({name: dict(each) for name, each in delays.items()})
        self._process = ServerProcess(
            [sys.executable, "-m", __name__, "--port", str(self.port), "--delays", told],
            folder / "glacier.log",
            is_ready=lambda: answers(self.endpoint),
        )

    @property
    def endpoint(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it. Raises `ServerFailedError`."""
        self._process.start()

    def stop(self) -> None:
        """Stop it, and forget everything; idempotent."""
        self._process.stop()

    def kill(self) -> None:
        """End it this instant; it forgets everything."""
        self._process.kill()

    def pause(self) -> None:
        """Let it stand still: connections stay open, and nothing is answered."""
        self._process.pause()

    def resume(self) -> None:
        """Let it go on."""
        self._process.resume()

    def now(self) -> Timestamp:
        """Return the moment that it lives in."""
        return Timestamp(int(self._tell("now", {})["now"]))

    def advance(self, seconds: Seconds) -> None:
        """Let that much time pass for it."""
        self._tell("advance", {"seconds": seconds})

    def fail_next(self, *failures: tuple[int, str], retry_after: str = "") -> None:
        """Let the next requests fail with these statuses and codes."""
        self._tell("fail", {"failures": [[status, code, retry_after] for status, code in failures]})

    def set_skew(self, seconds: Seconds) -> None:
        """Put the clock by which it judges signatures that much ahead of this machine's."""
        self._tell("skew", {"skew": seconds})

    def _tell(self, what: str, how: Mapping[str, object]) -> Mapping[str, int]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_CONTROL_WAIT)
        try:
            connection.request("POST", f"{_CONTROL}/{what}", json.dumps(how))
            answer: Mapping[str, int] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return answer


def application(delays: Delays) -> web.Application:
    """Return the server as an application of aiohttp."""
    objects = GlacierObjects(delays, START)
    signatures = Signatures(ACCESS_KEY, SECRET_KEY, REGION)
    requests = GlacierRequests(objects, signatures)

    async def control(request: web.Request) -> web.Response:
        told = await request.json()
        objects.advance(told.get("seconds", 0.0))
        signatures.skew = told.get("skew", signatures.skew)
        requests.failures += [(status, code, after) for status, code, after in told.get("failures", ())]
        return web.json_response({"now": objects.now})

    app = web.Application(client_max_size=MOST_BODY)
    app.router.add_post(_CONTROL + "/{what}", control)
    app.router.add_route("*", "/{path:.*}", requests.answer)
    return app


async def _serve(port: int, delays: Delays) -> None:
    runner = web.AppRunner(application(delays), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description="An S3 with Glacier semantics, for tests.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--delays", type=json.loads, default=AWS_DELAYS)
    given = parser.parse_args()
    asyncio.run(_serve(given.port, given.delays))


if __name__ == "__main__":
    main()
