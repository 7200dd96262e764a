"""`POST /v1/invalidate`: what is evicted, what is refused, and for whom."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.interfaces.http.harness import Client, in_loop, running_app


async def invalidate(client: Client, body: Any) -> tuple[int, Any]:
    answer = await client.ask("POST", "/v1/invalidate", body=json.dumps(body).encode())
    return answer.status, answer.json()


@in_loop
async def test_what_matches_is_evicted(tmp_path: Path) -> None:
    async with running_app(tmp_path, shares=True) as run:
        for content_id in ("users/42/a", "users/42/b", "users/43/a"):
            await run.client.store(content_id, b"x")
        await run.services.background.drain()
        assert await invalidate(run.client, {"pattern": "users/42/*"}) == (200, {"invalidated": 2})
        assert await invalidate(run.client, {"pattern": "users/4?/a", "cache_type": "content"}) == (
            200,
            {"invalidated": 1},
        )
        assert await invalidate(run.client, {"pattern": "*", "everything": True}) == (200, {"invalidated": 0})
        for content_id in ("users/42/a", "users/43/a"):
            answer = await run.client.get(f"/v1/content/{content_id}")
            assert (answer.body, answer["cache-status"]) == (b"x", "thermocline; fwd=miss; detail=storage")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "give a pattern"),
        ({"pattern": 1}, "give a pattern"),
        ({"pattern": "*"}, "everything"),
        ({"pattern": "[a-z]*"}, "everything"),
        ({"pattern": ""}, "matches nothing"),
        ({"pattern": "a*", "cache_type": "thumbs"}, "no cache type 'thumbs'"),
        ({"pattern": "a*", "cache_type": 1}, "cache_type must be"),
        ({"pattern": "*", "everything": "yes"}, "true or false"),
        ({"pattern": "a*", "type": "content"}, "no key 'type'"),
        ({"pattern": "a" * 2000}, "at most 1024 bytes"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, body: Any, told: str) -> None:
    @in_loop
    async def test(folder: Path) -> None:
        async with running_app(folder) as run:
            status, answer = await invalidate(run.client, body)
            assert status == 400
            assert told in answer["detail"].lower()

    test(tmp_path)


@in_loop
async def test_a_token_evicts_only_below_its_prefix(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        client = run.as_(await run.new_token("write", prefix="users/42/"))
        assert (await invalidate(client, {"pattern": "users/42/*"}))[0] == 200
        assert (await invalidate(client, {"pattern": r"users/\42/a?"}))[0] == 200
        for wide in ("users/4*", "users/42*", "users/*", "*/42/a", "users/[4]2/a", "users/42\\"):
            assert (await invalidate(client, {"pattern": wide}))[0] == 403, wide
        reader = run.as_(await run.new_token("read"))
        assert (await invalidate(reader, {"pattern": "users/42/*"}))[0] == 403
        assert (await invalidate(run.as_(None), {"pattern": "users/42/*"}))[0] == 401
