"""Calls to Redis: through the lane; then, whatever went wrong, one by one through the client, a few times.

This is the only place that tries again. One call never takes longer than its timeout, whatever is tried in it. Every
command here may be carried out twice: the scripts see to that.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import Any, Final

from redis.exceptions import NoScriptError

from thermocline.adapters.cache.redis_access import Part, pack, pack_get
from thermocline.adapters.cache.redis_errors import as_ours, is_final, is_wrong_type
from thermocline.adapters.cache.redis_lanes import SLOWEST
from thermocline.adapters.cache.redis_routes import RedisRoute
from thermocline.adapters.cache.redis_scripts import ALL, Script
from thermocline.domain.units import Seconds

FIRST_PAUSE: Final = Seconds(0.02)
LONGEST_PAUSE: Final = Seconds(0.5)
ONE_BY_ONE: Final = 32
"""Calls that go through the client at once; the others wait for their turn, within their timeout."""


class Calls:
    """Carries out commands on single keys."""

    def __init__(self, route: RedisRoute, *, timeout: Seconds, retries: int) -> None:
        self._route = route
        self._timeout = timeout
        self._retries = retries
        self._turns = asyncio.Semaphore(ONE_BY_ONE)
        self._time = asyncio.get_running_loop().time
        self.retried = 0
        """Calls that did not succeed at once."""

    async def get(self, key: bytes) -> Any:
        """Return the string of `key`, None if there is none; raises what `command` does."""
        began = self._time()
        try:
            return await self._route.send(self._route.part_of(key), pack_get(key), is_string=True)
        except Exception as exc:  # noqa: BLE001 - as in `command`
            return await self._after(began, exc, key, "GET", key)

    async def command(self, key: bytes, *command: Part) -> Any:
        """Return Redis' answer to a command whose first key is `key`. Raises `StorageError`; WRONGTYPE as it came."""
        began = asyncio.get_running_loop().time()
        try:
            return await self._route.send(self._route.part_of(key), pack(*command))
        except Exception as exc:  # noqa: BLE001 - whatever the connection or the server said, it is looked at below
            return await self._after(began, exc, key, *command)

    async def script(self, script: Script, key: bytes, *arguments: Part) -> Any:
        """Return what the script returns for `key`. Raises `StorageError`."""
        return await self.command(key, *by_script(script, key, *arguments))

    async def commands(self, commands: Sequence[tuple[bytes, tuple[Part, ...]]]) -> Sequence[Any]:
        """Return the answers to commands, each beside its key, in order; what fails, as its exception.

        All share the round trips, and no task is made for each: for pages of many keys.
        """
        began = asyncio.get_running_loop().time()
        sent: list[asyncio.Future[Any] | Exception] = []
        for key, command in commands:
            try:
                sent.append(self._route.send(self._route.part_of(key), pack(*command)))
            except Exception as exc:  # noqa: BLE001 - as in `command`
                sent.append(exc)
        # Waits for all, and on a cancellation cancels all: none is left whose failure nobody looks at.
        waits = (reply for reply in sent if isinstance(reply, asyncio.Future))
        came = iter(await asyncio.gather(*waits, return_exceptions=True))
        answers: list[Any] = [next(came) if isinstance(reply, asyncio.Future) else reply for reply in sent]
        failed = [number for number, answer in enumerate(answers) if isinstance(answer, Exception)]
        again = (self._after(began, answers[number], commands[number][0], *commands[number][1]) for number in failed)
        for number, answer in zip(failed, await asyncio.gather(*again, return_exceptions=True), strict=True):
            answers[number] = answer
        return answers

    async def _after(self, began: float, failure: Exception, key: bytes, *command: Part) -> Any:
        """Return the answer to a command that the lane brought none to."""
        if isinstance(failure, NoScriptError):  # the server is well, it only has to be told
            self.retried += 1
            command = _with_text(command)
            try:
                return await self._route.send(self._route.part_of(key), pack(*command))
            except Exception as exc:  # noqa: BLE001 - as in `command`
                failure = exc
        if is_final(failure):
            raise _told(failure) from failure
        self._route.doubt()
        return await self._one_by_one(began, failure, key, *command)

    async def _one_by_one(self, began: float, failure: Exception, key: bytes, *command: Part) -> Any:
        self.retried += 1
        try:
            size = sum(len(part) for part in command if isinstance(part, bytes))
            async with asyncio.timeout_at(began + self._timeout + size / SLOWEST), self._turns:
                for attempt in range(self._retries):
                    if isinstance(failure, NoScriptError):
                        command = _with_text(command)
                    else:
                        pause = min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE)
                        await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - spreads load, guards nothing
                    try:
                        return await self._route.execute(key, *command)
                    except Exception as exc:
                        if is_final(exc):
                            raise _told(exc) from exc
                        self._route.doubt()
                        failure = exc
        except TimeoutError as exc:
            raise as_ours(exc) from failure
        raise as_ours(failure) from failure


def by_script(script: Script, key: bytes, *arguments: Part) -> tuple[Part, ...]:
    """Return the command that runs a script."""
    return ("EVALSHA", script.digest, 1, key, *arguments)


def _with_text(command: tuple[Part, ...]) -> tuple[Part, ...]:
    """Return the call of a script by its text, which Redis then remembers."""
    if command[0] != "EVALSHA":
        return command
    return ("EVAL", _TEXTS[str(command[1])], *command[2:])


def _told(exc: Exception) -> Exception:
    """Return the error as ours, but for a key that holds something else: that is a miss, not a failure."""
    return exc if is_wrong_type(exc) else as_ours(exc)


_TEXTS: Final = {script.digest: script.text for script in ALL}
