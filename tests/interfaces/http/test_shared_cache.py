"""What the service tells of a cache that processes share."""

from pathlib import Path

from tests.interfaces.http.harness import in_loop, running_app
from thermocline.adapters.layers.breaking import BreakingCache
from thermocline.domain.errors import UnavailableError


@in_loop
async def test_a_hit_says_where_it_comes_from(tmp_path: Path) -> None:
    async with running_app(tmp_path, shares=True) as run:
        await run.client.store("a", b"x", Thermocline_Tier="warm")
        url = "/v1/content/a"
        assert (await run.client.get(url))["cache-status"] == "thermocline; fwd=miss; detail=storage"
        await run.services.cache.clear()
        run.clock.advance(5)
        shared = await run.client.get(url)
        assert (shared.body, shared["cache-status"]) == (b"x", "thermocline; hit; detail=redis")
        assert shared["age"] == "5", "the copy was taken when storage was read"
        assert (await run.client.get(url))["cache-status"] == "thermocline; hit; detail=memory"
        run.clock.advance(10)
        assert (await run.client.get(url))["cache-status"] == "thermocline; hit; detail=memory", "asked again, current"


@in_loop
async def test_statistics_and_metrics_tell_both_levels(tmp_path: Path) -> None:
    async with running_app(tmp_path, shares=True) as run:
        await run.client.store("a", b"x", Thermocline_Tier="warm")
        for _ in range(3):
            await run.client.get("/v1/content/a")
            await run.services.cache.clear()
        await run.client.get("/v1/content/a")
        levels = (await run.client.get("/v1/stats/cache")).json()["content"]
        assert (levels["memory"]["hits"], levels["memory"]["misses"]) == (0, 4)
        assert (levels["redis"]["hits"], levels["redis"]["misses"]) == (3, 1)
        assert levels["redis"]["hit_ratio"] == 0.75
        text = (await run.client.get("/metrics")).body.decode()
        assert 'thermocline_cache_requests_total{level="redis",result="hit",type="content"} 3.0' in text
        assert 'thermocline_reads_total{source="redis",tier="warm"} 3.0' in text
        assert "thermocline_cache_circuits_open 0.0" in text


@in_loop
async def test_private_content_in_the_shared_cache_is_nobodys(tmp_path: Path) -> None:
    async with running_app(tmp_path, shares=True) as run:
        await run.client.store("a", b"x", Thermocline_Tier="warm")
        await run.client.get("/v1/content/a")
        token = await run.new_token("read")
        await run.services.authorizing.refresh()
        await run.services.cache.clear()
        assert (await run.as_(None).get("/v1/content/a")).status == 404
        assert (await run.as_(token).get("/v1/content/a")).body == b"x"


@in_loop
async def test_readiness_tells_of_the_cache_and_does_not_wait_for_it(tmp_path: Path) -> None:
    async def down(*_: object, **__: object) -> None:
        raise UnavailableError("down")

    async with running_app(tmp_path, shares=True) as run:
        assert (await run.client.get("/readyz")).json()["checks"]["cache"] == "ok"
        shared = run.services.adapters.shared
        assert isinstance(shared, BreakingCache)
        shared.cache.version_of = down  # type: ignore[method-assign]
        answer = await run.client.get("/readyz")
        assert (answer.status, answer.json()["checks"]["cache"]) == (200, "unavailable")
        await shared.aclose()
