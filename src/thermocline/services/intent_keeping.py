"""Keeping intents alive while their uploads work, and knowing when one must not send any more."""

import asyncio
from collections.abc import Sequence

import structlog

from thermocline.domain.errors import IntentLostError
from thermocline.domain.units import Seconds
from thermocline.ports.bulk_writes import BulkWrites
from thermocline.ports.clock import Clock
from thermocline.ports.intents import Intents

log = structlog.get_logger(__name__)


class HeldIntent:
    """One intent of a running upload."""

    __slots__ = ("_clock", "object_key", "sure_until")

    def __init__(self, object_key: str, clock: Clock, sure_until: float) -> None:
        self.object_key = object_key
        self.sure_until = sure_until
        self._clock = clock

    def check(self) -> None:
        """Return if a request to the store may be sent now. Raises `IntentLostError` otherwise."""
        if self._clock.monotonic() >= self.sure_until:
            raise IntentLostError(
                f"the upload of {self.object_key!r} lost its lease before it was done; nothing was stored; try again"
            )


class IntentKeeper:
    """Declares intents and renews those that are held, in one batch, every third of the lease.

    A held intent counts as live only for two thirds of its lease, reckoned from before the request that
    declared or renewed it: clocks may drift and answers may be late.
    """

    def __init__(self, intents: Intents, clock: Clock, *, lease: Seconds) -> None:
        self._intents = intents
        self._clock = clock
        self._lease = lease
        self._held: dict[str, HeldIntent] = {}
        self._renewing: asyncio.Task[None] | None = None

    async def declare(self, object_key: str, placement: str) -> HeldIntent:
        """Durably name an object that is about to be uploaded, and hold its intent until `let_go`."""
        sure_until = self._sure_until()
        await self._intents.declare(object_key, placement, lease=self._lease)
        return self._hold(object_key, sure_until)

    async def declare_all(self, bulk: BulkWrites, object_keys: Sequence[str], placement: str) -> Sequence[HeldIntent]:
        """Do what `declare` does for many, in one transaction: all or none."""
        sure_until = self._sure_until()
        await bulk.declare(object_keys, placement, lease=self._lease)
        return [self._hold(object_key, sure_until) for object_key in object_keys]

    async def take_up(self, object_key: str) -> HeldIntent:
        """Hold an intent that was declared before, by any process. Raises `IntentLostError` if it is not live."""
        sure_until = self._sure_until()
        if not await self._intents.renew([object_key], lease=self._lease):
            raise IntentLostError(f"the upload of {object_key!r} is over: it was completed, abandoned or cleaned up")
        return self._hold(object_key, sure_until)

    def let_go(self, held: HeldIntent) -> None:
        """Stop renewing: the upload was committed, or is given up."""
        self._held.pop(held.object_key, None)

    async def close(self) -> None:
        """Stop renewing everything; what is still held expires by itself."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait([self._renewing])
            self._renewing = None

    async def renew(self) -> None:
        """Renew all held intents once; those found condemned can no longer send."""
        keys = list(self._held)
        sure_until = self._sure_until()
        live = await self._intents.renew(keys, lease=self._lease) if keys else ()
        self._note(keys, set(live), sure_until)

    def _hold(self, object_key: str, sure_until: float) -> HeldIntent:
        held = HeldIntent(object_key, self._clock, sure_until)
        self._held[object_key] = held
        if self._renewing is None:
            self._renewing = asyncio.get_running_loop().create_task(self._keep_renewing())
        return held

    def _note(self, keys: Sequence[str], live: set[str], sure_until: float) -> None:
        for key in keys:
            held = self._held.get(key)
            if held is not None:
                held.sure_until = sure_until if key in live else 0.0

    def _sure_until(self) -> float:
        return self._clock.monotonic() + self._lease * 2 / 3

    async def _keep_renewing(self) -> None:
        while True:
            await self._clock.sleep(Seconds(self._lease / 3))
            try:
                await self.renew()
            except Exception as exc:  # noqa: BLE001 - whatever it was, later uploads need renewal too
                log.warning("intent_renewal_failed", error=type(exc).__name__, message=str(exc))
