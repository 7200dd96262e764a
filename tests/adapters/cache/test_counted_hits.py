"""Hits count on the values: each is told once, to the tracker, the statistics and the eviction, whatever happens."""

import asyncio
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tests.services.test_tracking import Kept
from thermocline.adapters.cache.memory import MOST_TYPES, MemoryCache
from thermocline.domain.units import Bytes, Seconds, later
from thermocline.ports.cache import LevelCounts
from thermocline.ports.held import HeldValues
from thermocline.services.tracking import AccessFlush, AccessTracker, ReadKind
from thermocline.testing.clock import ManualClock
from thermocline.testing.contracts.cache import TTL, entry, stored
from thermocline.testing.contracts.running import in_event_loop

STEPS = st.sampled_from((
    "hit", "hit", "hit", "peek", "fill", "refill", "put", "tombstone", "evict", "advance", "clear", "drain", "forget",
    "only met",
))  # fmt: skip


def hit(clock: ManualClock, held: HeldValues, name: str) -> bool:
    """Do what a hot read does."""
    value = held.values.get(name)
    if value is None or (clock.monotonic() >= value.quiet_until and held.meet(name) is None):
        held.misses += 1
        return False
    value.hits += 1
    return True


@given(data=st.data())
def test_every_hit_is_told_once(data: st.DataObject) -> None:
    asyncio.run(_every_hit_is_told_once(data))


async def _every_hit_is_told_once(data: st.DataObject) -> None:
    clock = ManualClock()
    cache = MemoryCache(clock, capacity=Bytes(6_000), largest_share=0.5)
    held = cache.held_values("content")
    tracker = AccessTracker(data.draw(st.sampled_from((1, 2, 100))), held)
    hits, told, forgotten, misses = Counter[str](), Counter[str](), Counter[str](), 0
    for number, step in enumerate(data.draw(st.lists(STEPS, max_size=60))):
        name = data.draw(st.sampled_from("abc"))
        key = f"content:{name}"
        if step in {"hit", "peek"}:
            found = hit(clock, held, name) if step == "hit" else cache.peek(key) is not None
            hits[name] += found
            misses += not found
        elif step == "only met":
            held.meet(name)
        elif step == "fill":
            end = data.draw(st.sampled_from((None, later(clock.now(), Seconds(50.0)))))
            if await cache.lease(key, "t", ttl=TTL):
                await cache.fill(key, "t", entry(number + 1, bytes(500), expires_at=end), ttl=TTL)
        elif step == "refill":
            if await cache.refresh(key, "t", ttl=TTL):
                await cache.fill(key, "t", entry(number + 1, bytes(data.draw(st.integers(0, 5000)))), ttl=TTL)
        elif step == "put":
            await cache.put(key, entry(number + 1, bytes(700)), ttl=TTL)
        elif step == "tombstone":
            await cache.tombstone({key: number + 1}, ttl=TTL)
        elif step == "evict":
            await cache.evict([key], ttl=TTL)
        elif step == "advance":
            clock.advance(data.draw(st.sampled_from((1, 31))))
        elif step == "clear":
            await cache.clear()
        elif step == "drain":
            told.update({name: counts[ReadKind.MEMORY] for name, counts in tracker.drain().items()})
        else:
            before = tracker.totals[ReadKind.MEMORY]
            tracker.forget(name)
            forgotten[name] = hits[name] - told[name]
            told[name] = hits[name] if not tracker.dropped else told[name]
            assert tracker.totals[ReadKind.MEMORY] == before, "what is forgotten was read all the same"
        assert tracker.totals[ReadKind.MEMORY] == sum(hits.values())
        counts = cache.counts()["content"]
        assert (counts.hits, counts.misses) == (sum(hits.values()), misses)
        assert counts.bytes + cache._marks.bytes == cache.bytes <= 6_000
        assert counts.bytes == sum(value.cost for value in held.values.values())
    while tracker.waiting:
        told.update({name: counts[ReadKind.MEMORY] for name, counts in tracker.drain().items()})
    if tracker.dropped:
        assert sum(told.values()) + tracker.dropped <= sum(hits.values())
    else:
        assert +told == +hits


@in_event_loop
async def test_hits_are_told_when_collected_and_when_their_value_goes() -> None:
    clock = ManualClock()
    cache = MemoryCache(clock, capacity=Bytes(100_000))
    held = cache.held_values("content")
    tracker = AccessTracker(100, held)
    for how in ("drain", "drain again", "refresh", "tombstone", "evict", "put", "expire", "clear"):
        await cache.lease("content:a", "t", ttl=TTL)
        await cache.fill("content:a", "t", entry(1, bytes(how == "refresh")), ttl=TTL)
        for _ in range(3):
            assert hit(clock, held, "a")
        match how:
            case "refresh":
                await cache.refresh("content:a", "t", ttl=TTL)
                await cache.fill("content:a", "t", entry(2), ttl=TTL)
            case "tombstone":
                await cache.tombstone({"content:a": 9}, ttl=Seconds(0.001))
                clock.advance(1)
            case "evict":
                await cache.evict(["content:a"], ttl=Seconds(0.001))
                clock.advance(1)
            case "put":
                await cache.put("content:a", entry(2), ttl=Seconds(1.0))
                clock.advance(1)
            case "expire":
                clock.advance(TTL)
                assert held.meet("a") is None
            case "clear":
                await cache.clear()
            case _:
                pass
        assert tracker.drain() == {"a": [3, 0, 0, 0]}, how
        assert tracker.drain() == {}, how


@in_event_loop
async def test_what_comes_late_to_a_flush_waits_for_the_next() -> None:
    clock = ManualClock()
    cache = MemoryCache(clock, capacity=Bytes(1_000_000))
    held = cache.held_values("content")
    tracker = AccessTracker(2, held)
    for number in range(10):
        await stored(cache, f"content:{number}", entry())
    assert tracker.waiting == 0
    hit(clock, held, "0")
    assert not tracker.full.is_set()
    for number in range(1, 10):
        hit(clock, held, str(number))
    assert tracker.full.is_set()
    assert (tracker.waiting, tracker.dropped) == (10, 0)
    assert [len(tracker.drain()) for _ in range(2)] == [4, 4]
    assert tracker.full.is_set(), "there is more"
    assert len(tracker.drain()) == 2
    assert not tracker.full.is_set()
    assert (tracker.waiting, tracker.dropped, tracker.totals[ReadKind.MEMORY]) == (0, 0, 10)


@in_event_loop
async def test_counts_are_by_cache_type() -> None:
    clock = ManualClock()
    cache = MemoryCache(clock, capacity=Bytes(20_000))
    await stored(cache, "content:a", entry())
    await stored(cache, "metadata:a", entry(), ttl=Seconds(1.0))
    await stored(cache, "metadata:b", entry(payload=bytes(1_000)))
    await stored(cache, "plain", entry())
    cache.peek("content:a")
    cache.peek("content:none")
    clock.advance(1)
    cache.peek("metadata:a")
    size = Bytes(cache.counts()["content"].bytes)
    assert size > len(entry().payload)
    assert cache.counts() == {
        "content": LevelCounts(hits=1, hit_bytes=Bytes(7), misses=1, sets=1, count=1, bytes=size),
        "metadata": LevelCounts(misses=1, sets=1, expirations=1, rejected=1),
        "": LevelCounts(sets=1, count=1, bytes=Bytes(size - len("content:a") + len("plain"))),
    }
    for number in range(100):
        await stored(cache, f"type{number}:x", entry(payload=b"x"))
    assert cache.counts()["content"].evictions == 1, "types share the room"
    assert len(cache.counts()) == MOST_TYPES + 1
    assert cache.peek("type99:x") is not None, "they share a shelf"
    assert sum(counts.bytes for counts in cache.counts().values()) == cache.bytes


@in_event_loop
async def test_a_quiet_hit_asks_for_the_time_once_and_calls_nobody() -> None:
    clock = ManualClock()
    cache = MemoryCache(clock, capacity=Bytes(20_000), draw=lambda: 3.0)
    asked: list[str] = []
    cache.on_refresh_due = lambda key, _: asked.append(key)
    held = cache.held_values("content")
    # The entry's cost is 0.25 s, so it is due 1 s before its end.
    await stored(cache, "content:a", entry(fresh_until=later(clock.now(), Seconds(10.0))))
    value = held.values["a"]
    assert value.quiet_until < clock.monotonic(), "the first hit is not quiet"
    assert held.meet("a") is value
    assert value.quiet_until == clock.monotonic() + 9
    clock.advance(9)
    assert held.meet("a") is value
    assert asked == ["content:a"]
    assert value.quiet_until == clock.monotonic() + 1
    clock.advance(1)
    assert held.meet("a") is None
    assert len(asked) == 1


@in_event_loop
async def test_a_refresh_has_the_time_of_a_fetch_at_least() -> None:
    clock = ManualClock()
    cache = MemoryCache(clock, capacity=Bytes(20_000), draw=lambda: 0.0)
    await stored(cache, "content:a", entry(fresh_until=later(clock.now(), Seconds(10.0))))
    value = cache.held_values("content").values["a"]
    assert value.refresh_at == clock.monotonic() + 10 - entry().fetch_cost


@in_event_loop
async def test_a_refresh_is_early_by_half_of_its_freshness_at_most() -> None:
    clock = ManualClock()
    cache = MemoryCache(clock, capacity=Bytes(20_000), draw=lambda: 1e9)
    await stored(cache, "content:a", entry(fresh_until=later(clock.now(), Seconds(10.0))))
    value = cache.held_values("content").values["a"]
    cache.peek("content:a")
    assert value.quiet_until == clock.monotonic() + 5


@in_event_loop
async def test_closing_adds_all_that_memory_counted() -> None:
    clock = ManualClock()
    cache = MemoryCache(clock, capacity=Bytes(1_000_000))
    held = cache.held_values("content")
    kept = Kept()
    flush = AccessFlush(AccessTracker(2, held), kept, clock, every=Seconds(5.0), days=30)
    for number in range(23):
        await stored(cache, f"content:{number:02}", entry())
        hit(clock, held, f"{number:02}")
    await flush.close(max_wait=Seconds(1.0))
    assert (flush.flushed, flush.tracker.waiting) == (23, 0)
    assert {name for batch in kept.batches for name in batch} == {f"{number:02}" for number in range(23)}
