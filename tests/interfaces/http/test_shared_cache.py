"""What the service tells of a cache that processes share."""

from pathlib import Path
from types import SimpleNamespace

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
async def test_what_has_ended_is_served_while_the_catalog_is_down(tmp_path: Path) -> None:
    """To those who may see it; `Age` tells how old it is."""

    async def down(*_: object, **__: object) -> None:
        raise UnavailableError("down")

    async with running_app(tmp_path, shares=True) as run:
        await run.client.store("mine", b"x", Thermocline_Tier="warm")
        await run.client.store("ours", b"y", Thermocline_Tier="warm", Thermocline_Visibility="public")
        token = await run.new_token("read")
        reader, stranger = run.as_(token), run.as_(None)
        for name in ("mine", "ours"):
            assert (await reader.get(f"/v1/content/{name}")).status == 200
        run.clock.advance(3601)
        find = run.services.reading._records
        run.services.reading._records = SimpleNamespace(find=down)
        mine = await reader.get("/v1/content/mine")
        assert (mine.status, mine.body, mine["age"]) == (200, b"x", "3601")
        assert (await stranger.get("/v1/content/ours")).body == b"y"
        assert (await stranger.get("/v1/content/mine")).status == 503, "not 404: nobody knows what it is now"
        assert (await reader.get("/v1/content/other")).status == 503
        assert (await reader.ask("HEAD", "/v1/content/mine")).status == 200
        ranged = await reader.get("/v1/content/mine", {"Range": "bytes=0-0"})
        assert (ranged.status, ranged.body) == (206, b"x")
        run.services.reading._records = find
        again = await reader.get("/v1/content/mine")
        assert (again.body, again.get("age")) == (b"x", None), "from its source"


@in_loop
async def test_strangers_cannot_tell_what_is_private_from_what_is_not_there(tmp_path: Path) -> None:
    """Neither by the answer nor by whether the catalog was asked."""
    async with running_app(tmp_path) as run:
        await run.client.store("mine", b"x")
        await run.services.background.drain()
        stranger, owner = run.as_(None), run.as_(await run.new_token("read", "write"))
        asked: list[str] = []
        find = run.services.reading._records.find

        async def counted(content_id: str) -> object:
            asked.append(content_id)
            return await find(content_id)  # type: ignore[arg-type]

        run.services.reading._records = SimpleNamespace(find=counted)
        for name in ("mine", "nothing"):
            answers = [(await stranger.get(f"/v1/content/{name}")).status for _ in range(3)]
            assert answers == [404, 404, 404]
        assert asked == ["mine", "nothing"]
        assert (await owner.get("/v1/content/mine")).body == b"x"
        changed = await owner.ask("PATCH", "/v1/info/mine", body=b'{"visibility": "public"}')
        assert changed.status == 200
        assert (await stranger.get("/v1/content/mine")).body == b"x", "at once"


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
