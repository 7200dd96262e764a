"""Predictions that are pushed, and those that users' reads lead to, over HTTP."""

import json
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.interfaces.http.harness import Answer, Client, Running, in_loop, running_app
from thermocline.interfaces.http.control.predictions import MOST_BODY_BYTES, MOST_PREDICTIONS

SECRET = "somebody-s-name"  # noqa: S105 - a name to look for


async def push(client: Client, body: object, query: str = "") -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await client.ask("POST", f"/v1/predictions{query}", {}, raw)


def likely(**chances: float) -> list[dict[str, Any]]:
    return [{"content_id": name, "access_probability": chance} for name, chance in chances.items()]


async def from_memory(client: Client, content_id: str) -> bool:
    return "hit" in (await client.get(f"/v1/content/{content_id}"))["cache-status"]


async def stored(run: Running, *names: str) -> None:
    for name in names:
        await run.client.store(name, name.encode(), Thermocline_Tier="hot")
    await run.services.cache.clear()


@in_loop
async def test_what_is_likely_is_warmed(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await stored(run, "a", "b")
        answer = await push(run.client, [*likely(a=0.9, b=0.7, none=0.8), *likely(a=0.3)])
        assert answer.status == 200
        assert answer["cache-control"] == "no-store"
        told = answer.json()
        assert told.pop("seconds") >= 0
        assert told == {
            "accepted": 3,
            "duplicates": 1,
            "warmed": 1,
            "warmed_bytes": 1,
            "skipped": {"below_threshold": 1, "not_found": 1},
            "failures": [],
            "dry_run": False,
        }
        assert await from_memory(run.client, "a")
        assert not await from_memory(run.client, "b")
        assert (await push(run.client, [])).json()["accepted"] == 0
        work = (await run.client.get("/v1/stats/work")).json()["prediction"]
        assert work["warmed"] == {"below_threshold": 1, "not_found": 1, "warmed": 1}
        assert work["prefetching"] == "on"


@in_loop
async def test_bounds_in_the_query(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await stored(run, "a", "b")
        told = (await push(run.client, likely(a=0.3, b=0.2), "?threshold=0.1&byte_budget=1&deadline=5")).json()
        assert (told["warmed"], told["skipped"]) == (1, {"over_budget": 1})
        for wrong in ("threshold=2", "threshold=nan", "byte_budget=-1", "deadline=-1", "deadline=1e9", "threshold=x"):
            answer = await push(run.client, likely(a=0.9), f"?{wrong}")
            assert (answer.status, answer.problem) == (400, "invalid-input"), wrong


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[1]",
        b'[{"content_id": "a", "access_probability": NaN}]',
        b'[{"content_id": "a", "access_probability": 1.5}]',
        b'[{"content_id": "a", "access_probability": -1}]',
        b'[{"content_id": "a", "access_probability": "1"}]',
        b'[{"content_id": "/a", "access_probability": 1}]',
        b'[{"content_id": "a"}]',
        b'[{"content_id": "a", "access_probability": 1e999}]',
        b"[" * 100_000,
    ],
)
@in_loop
async def test_a_body_that_is_none_is_refused(tmp_path: Path, body: bytes) -> None:
    async with running_app(tmp_path) as run:
        answer = await push(run.client, body)
        assert answer.status == 400, answer


@in_loop
async def test_the_body_is_bounded(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        many = likely(a=0.1) * (MOST_PREDICTIONS + 1)
        answer = await push(run.client, many)
        assert answer.status == 413
        assert (await push(run.client, many[:-1])).json()["duplicates"] == MOST_PREDICTIONS - 1
        assert (await push(run.client, b" " * (MOST_BODY_BYTES + 1))).status == 413


@in_loop
async def test_it_takes_the_right_to_write_each_content(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await stored(run, "a", "users/1/x")
        tokens = {
            "write": await run.new_token("write", prefix="users/1/"),
            "read": await run.new_token("read"),
        }
        assert (await push(run.as_(None), likely(a=0.9))).status == 401
        for body in (likely(a=0.9), []):
            assert (await push(run.as_(tokens["read"]), body)).status == 403
        assert (await push(run.as_(tokens["write"]), likely(a=0.9))).status == 403
        mixed = [{"content_id": "users/1/x", "access_probability": 0.9}, *likely(a=0.9)]
        assert (await push(run.as_(tokens["write"]), mixed)).status == 403
        assert run.services.warming.totals.warmed_bytes == 0
        assert (await push(run.as_(tokens["write"]), mixed[:1])).json()["warmed"] == 1
        assert (await push(run.as_(tokens["write"]), [])).status == 200


@in_loop
async def test_other_methods_are_refused(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        answer = await run.client.get("/v1/predictions")
        assert (answer.status, answer["allow"]) == (405, "POST")


async def read(client: Client, content_id: str, context: object = None) -> Answer:
    header = json.dumps({"user_id": SECRET} if context is None else context)
    return await client.get(f"/v1/content/{content_id}", {"Thermocline-User-Context": header})


async def taught(run: Running) -> None:
    await stored(run, "a", "b")
    learning = run.services.learning
    assert learning is not None
    predictor = await learning.open()
    for number in range(40):
        for name in "ab":
            predictor.note(name, f"s{number}", run.clock.now())
    while predictor.learn(run.clock.now(), most=100, everything=True):
        pass


@in_loop
async def test_reads_of_users_lead_to_prefetching_and_name_nobody(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await taught(run)
        learning, prefetching = run.services.learning, run.services.prefetching
        assert learning is not None
        assert prefetching is not None
        with structlog.testing.capture_logs() as logs:
            assert (await read(run.client, "a")).status == 200
            await run.services.background.drain()
            assert prefetching.judge.fetched == 1
            assert await from_memory(run.client, "b")
            await learning.learn(everything=True)
            assert await learning.sync()
        work = (await run.client.get("/v1/stats/work")).body
        metrics = (await run.client.get("/metrics")).body
        for place in (str(logs).encode(), work, metrics, (tmp_path / "catalog.db").read_bytes()):
            assert SECRET.encode() not in place
        assert json.loads(work)["prediction"]["fetched"] == 1
        assert b'thermocline_prefetches_total{result="fetched"} 1.0' in metrics


@in_loop
async def test_who_only_looks_or_is_nobody_teaches_nothing(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await taught(run)
        learning = run.services.learning
        assert learning is not None
        header = {"Thermocline-User-Context": json.dumps({"user_id": SECRET})}
        await run.client.head("/v1/content/a", header)
        assert (await read(run.client, "none")).status == 404
        await run.client.store("p", b"p", Thermocline_Visibility="public")
        token = await run.new_token("read")
        assert (await read(run.as_(None), "p")).status == 200
        assert (await read(run.as_(None), "a")).status == 404
        assert learning.notes == 0
        assert (await read(run.as_(token), "a")).status == 200
        assert learning.notes == 1
