"""The policy over HTTP: what it does, says and refuses, and for whom."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.interfaces.http.harness import Answer, Client, in_loop, running_app


async def optimize(client: Client, body: object = None) -> Answer:
    raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    return await client.ask("POST", "/v1/optimize", {}, raw)


@in_loop
async def test_a_report_an_explanation_and_savings(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await run.client.store("a/b", b"x" * 1000, Thermocline_Tier="hot")
        report = (await optimize(run.client, {"dry_run": True})).json()
        assert {name: report[name] for name in ("transitions", "cost_savings", "performance_impact")} == {
            "transitions": 0,
            "cost_savings": 0.0,
            "performance_impact": 0.0,
        }
        assert (report["examined"], report["policy"], report["dry_run"]) == (1, "idle", True)
        assert "learned" in report["note"]
        assert (await optimize(run.client)).json()["dry_run"] is False
        assert (await optimize(run.client, {"prefix": "b"})).json()["examined"] == 0
        answer = await run.client.get("/v1/explain/a%2Fb")
        assert answer["cache-control"] == "no-store"
        told = answer.json()
        assert (told["content_id"], told["tier"], told["placement"]) == ("a/b", "hot", "standard")
        assert told["decision"]["tier"] == "hot"
        assert [turn["tier"] for turn in told["would_change"]][:1] == ["warm"]
        assert [cost["placement"] for cost in told["costs"]] == ["standard", "archive"]
        assert (await run.client.get("/v1/explain/none")).status == 404
        savings = (await run.client.get("/v1/stats/savings")).json()
        assert (savings["by_reason"], savings["total"]["moves"], savings["complete"]) == ({}, 0, True)


@in_loop
async def test_what_is_refused(tmp_path: Path) -> None:
    bad: list[Any] = [{"dry": 1}, {"dry_run": "yes"}, {"prefix": 1}, {"limit": 0}, {"limit": True}, {"limit": "1"}, []]
    async with running_app(tmp_path) as run:
        for body in bad:
            answer = await optimize(run.client, body)
            assert answer.status == 400, body
            assert answer["content-type"] == "application/problem+json"


@in_loop
async def test_a_token_optimizes_below_its_prefix(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        for name in ("mine/a", "other/a"):
            await run.client.store(name, b"x")
        mine = run.as_(await run.new_token("read", "write", prefix="mine/"))
        assert (await optimize(mine, {"prefix": "mine/"})).json()["examined"] == 1
        assert [(await optimize(mine, body)).status for body in (None, {"prefix": "m"}, {"prefix": "other/"})] == [
            403
        ] * 3
        reader = run.as_(await run.new_token("read"))
        assert (await optimize(reader)).status == 403
        assert (await reader.get("/v1/explain/mine/a")).status == 200
        assert (await mine.get("/v1/explain/other/a")).status == 403
        assert (await mine.get("/v1/stats/savings")).status == 403
        assert (await optimize(run.as_(None))).status == 401


@pytest.mark.parametrize("path", ["/v1/optimize", "/v1/explain/a"])
@in_loop
async def test_other_methods_are_refused(path: str, tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        assert (await run.client.ask("DELETE", path)).status == 405
