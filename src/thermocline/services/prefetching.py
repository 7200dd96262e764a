"""Prefetching: what is likely to be read next by the same user is brought into the cache in the background.

1. A read with a user context is noted for the predictor. 2. If its tier prefetches, and the judge lets it, the related
contents are looked at, most probable first. 3. One is fetched where probability x cost of a miss exceeds what fetching
and keeping it costs. All of it is the first thing to be shed: by too much other work, memory in use, a shared cache
that does not answer, and its own bounds. It fills as any reader, so private content stays private.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from thermocline.domain.predictions import Prediction, WarmOutcome, cost_of_miss
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Bytes, Seconds
from thermocline.ports.clock import Clock
from thermocline.services.admission import MemoryBudget
from thermocline.services.background import Background
from thermocline.services.filling import Filled, Filler
from thermocline.services.judging import Judge
from thermocline.services.learning import LearningService
from thermocline.services.placements import Placements

MOST_RELATED: Final = 20
MOST_AT_ONCE_PER_READ: Final = 5
SESSION_KEYS: Final = ("session_id", "session", "user_id", "user")
"""What in a user context names who reads; the first that is there counts."""
SHARE_OF_MEMORY: Final = 2
"""Half of the memory in flight is left to requests."""
HASH_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class PrefetchLimits:
    """What prefetching may take."""

    concurrency: int
    """Reads whose related contents are being fetched."""
    bytes_per_interval: Bytes
    interval: Seconds
    wait_weight: float
    """How many reads in the background one spared wait of a user is worth."""
    may_pay: bool
    """Whether what costs retrieval money may be fetched."""


class Prefetcher:
    """Learns from reads with a user context, and fetches ahead what they lead to."""

    def __init__(
        self,
        learning: LearningService,
        judge: Judge,
        filler: Filler,
        background: Background,
        memory: MemoryBudget,
        placements: Placements,
        clock: Clock,
        limits: PrefetchLimits,
        *,
        secret: bytes,
        is_pressed: Callable[[], bool],
    ) -> None:
        """`secret` keys the hashes of session names; `is_pressed` tells that a cache does not answer as it should."""
        self._learning = learning
        self.judge = judge
        self._filler = filler
        self._background = background
        self._memory = memory
        self._placements = placements
        self._clock = clock
        self._limits = limits
        self._secret = secret
        self._is_pressed = is_pressed
        self._active = 0
        self._spent = 0
        self._interval_ends = Seconds(0.0)
        self.shed: Counter[str] = Counter()
        """Times that nothing was fetched, by reason."""

    def after_read(self, content_id: str, tier: str, user_context: Mapping[str, Any], *, realm: str = "") -> None:
        """Take in one read for a user, and fetch ahead what it leads to. Never raises, never waits.

        `realm` tells apart callers whose users may have the same names.
        """
        session = self._session_in(user_context, realm)
        if session is not None:
            self._learning.note(content_id, session)
        if self._learning.predictor is None or not self._placements.rules(StorageTier(tier)).prefetch:
            return
        reason = self._refusal()
        if reason is not None:
            self.shed[reason] += 1
            return
        self._active += 1
        if not self._background.spawn_spare(self._prefetch(content_id)):
            self._active -= 1
            self.shed["busy"] += 1

    def forget(self, content_id: str) -> None:
        """Drop what is known of an erased content."""
        self.judge.forget(content_id)

    def _refusal(self) -> str | None:
        if not self.judge.may_prefetch():
            return "switched_off"
        if self._active >= self._limits.concurrency:
            return "busy"
        if self._is_pressed():
            return "cache_down"
        if self._memory.in_use * SHARE_OF_MEMORY >= self._memory.capacity:
            return "memory"
        return None

    async def _prefetch(self, content_id: str) -> None:
        try:
            predictor = self._learning.predictor
            if predictor is None:
                return
            fetched = 0
            for prediction in predictor.predict(content_id, limit=MOST_RELATED):
                if not self._pays(prediction, 0) or fetched >= MOST_AT_ONCE_PER_READ or self._refusal() == "cache_down":
                    return
                if await self._bring(prediction):
                    fetched += 1
        finally:
            self._active -= 1

    async def _bring(self, prediction: Prediction) -> bool:
        content_id = prediction.content_id
        if self.judge.is_outstanding(content_id) or self._filler.is_in_memory(content_id):
            return False
        record = await self._filler.look_up(content_id)
        if isinstance(record, Filled):
            return False
        is_paid = self._filler.is_paid(record)
        if (is_paid and not self._limits.may_pay) or not self._pays(prediction, record.size):
            return False
        if (self._memory.in_use + record.size) * SHARE_OF_MEMORY > self._memory.capacity:
            self.shed["memory"] += 1
            return False
        if not self.judge.may_prefetch():
            return False
        if not self._afford(record.size):
            self.shed["budget"] += 1
            return False
        filled = await self._filler.fill(record)
        if filled.outcome is not WarmOutcome.WARMED:
            self._spent -= record.size
            return False
        self.judge.note_fetched(content_id, filled.size, cost_of_miss(filled.size, is_paid=is_paid))
        return True

    def _pays(self, prediction: Prediction, size: int) -> bool:
        """Whether probability x cost of a miss exceeds fetch plus cache cost, all in reads in the background.

        What it displaces in the cache is taken to be worth another fetch, if it is as large as may be.
        """
        kept = size / max(self._filler.largest, 1)
        return prediction.access_probability * self._limits.wait_weight > 1.0 + kept

    def _afford(self, size: int) -> bool:
        now = self._clock.monotonic()
        if now >= self._interval_ends:
            self._interval_ends = Seconds(now + self._limits.interval)
            self._spent = 0
        if self._spent + size > self._limits.bytes_per_interval:
            return False
        self._spent += size
        return True

    def _session_in(self, user_context: Mapping[str, Any], realm: str) -> str | None:
        for key in SESSION_KEYS:
            name = user_context.get(key)
            if isinstance(name, str | int) and name != "":
                text = f"{realm}\0{key}\0{name}".encode(errors="surrogatepass")
                return hashlib.blake2b(text, key=self._secret, digest_size=HASH_BYTES).hexdigest()
        return None
