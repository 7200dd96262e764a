"""The way to a cluster: the key's slot tells the node, as the cluster told who has which slot.

What is known is corrected by what nodes answer: MOVED names another node, and lets the whole map be learnt anew in the
background; ASK sends one command elsewhere. A node that does not answer is asked for its keys all the same, until the
others say that somebody else has them. So one node's failure is never felt by the keys of another. (The library's own
cluster client is not used: it learns its nodes through one of them, closes the connections of all when that fails, and
pulls sockets from under calls in flight; measured in decision 23.)
"""

import asyncio
import random
from binascii import crc_hqx
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import structlog
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from thermocline.adapters.cache.redis_access import Part, RedisAccess
from thermocline.adapters.cache.redis_dialing import Dialer
from thermocline.adapters.cache.redis_lanes import Lanes
from thermocline.adapters.cache.redis_routes import Holdings, RedisRoute, exchange, run_of
from thermocline.adapters.cache.redis_wire import Reply, Wire
from thermocline.domain.units import Seconds

log = structlog.get_logger(__name__)

SLOTS: Final = 16_384
MOST_REDIRECTIONS: Final = 5
KEPT_UNUSED: Final = Seconds(60.0)
"""Longer than any call takes."""
LEARN_PAUSE: Final = Seconds(0.1)
"""The map is not asked for again so soon after it was learnt."""
# Fields of a line of CLUSTER NODES, and of a node in CLUSTER SLOTS (Redis 7.0).
_FLAGS: Final = 2
_EPOCH: Final = 6
_ENTRIES: Final = 8
_ID: Final = 2


class ClusterRoute(RedisRoute):
    """A cluster."""

    def __init__(self, access: RedisAccess) -> None:
        self._timeout = access.socket_timeout
        self._dialer = Dialer(access)
        self._lanes = Lanes(self._dial)
        self._seeds = [_name(host, port) for host, port in access.location.hosts]
        self._slots: list[str | None] = [None] * SLOTS
        self._masters: list[str] = []
        self._ids: dict[str, str] = {}
        self._learning: asyncio.Task[None] | None = None
        self._learnt_at = float("-inf")
        self._unused_since: dict[str, float] = {}

    def part_of(self, key: bytes) -> str:
        """Return the name of the slot's master, as far as is known. Raises `ConnectionError` while nothing is."""
        # Without braces the whole key is what counts: the library's function would look for them twice.
        part = self._slots[key_slot(key) if b"{" in key else crc_hqx(key, 0) % SLOTS]
        if part is None:
            raise RedisConnectionError("nobody is known to serve the slot")
        return part

    @property
    def exchanges(self) -> int:
        """Writes so far."""
        return self._lanes.exchanges

    def send(self, part: str, command: bytes, *, is_string: bool = False) -> Reply:
        """Return a node's reply to a packed command, to come."""
        return self._lanes.send(part, command, is_string=is_string)

    async def execute(self, key: bytes, *command: Part) -> Any:
        """Return the answer, following the cluster's redirections. Tries once."""
        slot = key_slot(key)
        if self._slots[slot] is None:
            await self._learn()
        part, asking = self._slots[slot], False
        if part is None:
            raise RedisConnectionError("the slot is served by nobody")
        for _ in range(MOST_REDIRECTIONS):
            try:
                return await self._exchange(part, *([("ASKING",)] if asking else []), command)
            except MovedError as exc:
                self._slots[slot] = part = _name(exc.host or _host(part), exc.port)
                asking = False
                self.doubt()
            except AskError as exc:
                part = _name(exc.host or _host(part), exc.port)
                asking = True
        raise RedisConnectionError(f"the cluster redirected {MOST_REDIRECTIONS} times")

    async def servers(self) -> Sequence[str]:
        """Return the names of all masters."""
        await self._learn()
        return list(self._masters)

    async def execute_at(self, part: str, *command: Part) -> Any:
        """Return one node's answer."""
        return await self._exchange(part, command)

    def slots_of(self, part: str) -> frozenset[int]:
        """Return the slots of a node, as far as is known."""
        return frozenset(slot for slot, name in enumerate(self._slots) if name == part)

    def slot_of(self, key: bytes) -> int:
        """Return the slot of a key."""
        return int(key_slot(key))

    async def holdings(self, part: str) -> Holdings:
        """Return what a node says that it holds; nothing unless it is a master."""
        told = (await self.execute_at(part, "CLUSTER", "NODES")).decode().splitlines()
        nodes = [line.split() for line in told]
        mine = next(fields for fields in nodes if "myself" in fields[_FLAGS].split(","))
        slots: set[int] = set()
        leaving: dict[int, str] = {}
        arriving: set[int] = set()
        for entry in mine[_ENTRIES:]:
            if not entry.startswith("["):
                first, _, last = entry.partition("-")
                slots.update(range(int(first), int(last or first) + 1))
            elif "->-" in entry:
                slot, _, target = entry[1:-1].partition("->-")
                leaving[int(slot)] = self._name_of(target, nodes)
            else:
                arriving.add(int(entry[1:].partition("-<-")[0]))
        if "master" not in mine[_FLAGS].split(","):
            slots, leaving = set(), {}
        identity = f"{await run_of(self, part)} {mine[_EPOCH]}"
        return Holdings(identity, frozenset(slots), leaving, frozenset(arriving))

    def _name_of(self, node_id: str, nodes: Iterable[Sequence[str]]) -> str:
        """Return the name under which a node is known here, or else its address as others tell it."""
        if node_id in self._ids:
            return self._ids[node_id]
        address = next((fields[1] for fields in nodes if fields[0] == node_id), "")
        return address.partition("@")[0]

    async def aclose(self) -> None:
        """Close every connection."""
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.gather(self._learning, return_exceptions=True)
        await self._lanes.aclose()

    async def _dial(self, part: str, on_lost: Callable[[Wire], None]) -> Wire:
        return await self._dialer.dial(_host(part), int(part.rpartition(":")[2]), on_lost)

    async def _exchange(self, part: str, *commands: Sequence[Part]) -> Any:
        return await exchange(self._lanes, part, *commands, within=self._timeout)

    def doubt(self) -> None:
        """Learn the map in the background, unless that is under way or was done a moment ago."""
        if self._learning is None or self._learning.done():
            if asyncio.get_running_loop().time() - self._learnt_at < LEARN_PAUSE:
                return
            self._learning = asyncio.get_running_loop().create_task(self._ask_around())
            self._learning.add_done_callback(lambda done: None if done.cancelled() else done.exception())

    async def _learn(self) -> None:
        """Return with a fresh map. Callers share one inquiry, and none that gives up ends it for the others."""
        if self._learning is None or self._learning.done():
            self._learnt_at = float("-inf")
            self.doubt()
        if self._learning is not None:
            await asyncio.shield(self._learning)

    async def _ask_around(self) -> None:
        """Take the map from the first node that tells one. Raises what the last one failed with."""
        failure: Exception | None = None
        known = [*self._masters, *(seed for seed in self._seeds if seed not in self._masters)]
        random.shuffle(known)
        for part in known:
            try:
                ranges = await self._exchange(part, ("CLUSTER", "SLOTS"))
            except ResponseError as exc:
                if "cluster support disabled" in str(exc):
                    raise
                failure = exc
            except Exception as exc:  # noqa: BLE001 - whatever is wrong with this node, the next may tell
                failure = exc
            else:
                self._take(ranges, told_by=_host(part))
                return
        if failure is not None:
            raise failure

    def _take(self, ranges: Iterable[Sequence[Any]], *, told_by: str) -> None:
        slots: list[str | None] = [None] * SLOTS
        masters: dict[str, None] = {}
        ids: dict[str, str] = {}
        for first, last, master, *_ in ranges:
            name = _name(master[0].decode() if master[0] else told_by, master[1])
            masters[name] = None
            if len(master) > _ID:
                ids[master[_ID].decode()] = name
            slots[first : last + 1] = [name] * (last + 1 - first)
        self._slots = slots
        self._masters = list(masters)
        self._ids = ids
        self._learnt_at = asyncio.get_running_loop().time()
        self._let_go(masters)

    def _let_go(self, masters: Iterable[str]) -> None:
        """Close what leads to nodes that serve nothing any more, once no call can be on its way to them."""
        now = asyncio.get_running_loop().time()
        used = {*masters, *self._seeds}
        for name in self._lanes.names():
            if name in used:
                self._unused_since.pop(name, None)
            elif now - self._unused_since.setdefault(name, now) > KEPT_UNUSED:
                log.info("redis_node_gone", node=name)
                del self._unused_since[name]
                self._lanes.close(name)


def _name(host: str, port: int) -> str:
    return f"{host}:{port}"


def _host(part: str) -> str:
    return part.rpartition(":")[0]
