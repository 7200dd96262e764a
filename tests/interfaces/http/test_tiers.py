"""Tiers, restores, holds and erasure over HTTP."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.interfaces.http.harness import MIB, Answer, Client, Running, in_loop, running_app

DELAY = 5
"""Seconds of a restore at the usual speed, with the settings there are by themselves."""
DAY = 86400.0
COLD_APART: dict[str, Any] = {
    "placements": {
        "standard": {"objects": "main"},
        "infrequent": {"objects": "main", "storage_class": "STANDARD_IA"},
        "archive": {"objects": "main", "storage_class": "ARCHIVE", "restore": {"standard": {"delay": "5s"}}},
    },
    "tiers": {"cold": {"placement": "infrequent"}},
}


async def move(client: Client, content_id: str, body: object, **headers: str) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await client.put(f"/v1/tier/{content_id}", raw, {k.replace("_", "-"): v for k, v in headers.items()})


async def restore(client: Client, content_id: str, body: object = None) -> Answer:
    raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    return await client.ask("POST", f"/v1/restore/{content_id}", {}, raw)


async def arrive(run: Running) -> None:
    run.clock.advance(DELAY)
    await run.services.restoring.run()


async def requested(run: Running) -> int:
    state = await run.services.adapters.catalog.restores.state(now=run.clock.now())
    return state.requested + state.readable


# --- tiers -----------------------------------------------------------------------------------------------------------


@in_loop
async def test_a_move_without_a_copy_is_done_and_one_with_a_copy_is_planned(tmp_path: Path) -> None:
    async with running_app(tmp_path, **COLD_APART) as run:
        put = (await run.client.store("a", b"body", Thermocline_Tier="hot")).json()
        done = await move(run.client, "a", {"tier": "warm"})
        assert done.status == 200
        assert done["cache-control"] == "no-store"
        assert done.json() == {
            "content_id": "a",
            "tier": "warm",
            "target": "warm",
            "state": "done",
            "placement": "standard",
            "revision": put["revision"],
            "version": put["version"] + 1,
            "error": None,
        }
        planned = await move(run.client, "a", {"tier": "cold"})
        assert planned.status == 202
        assert {name: planned.json()[name] for name in ("tier", "target", "state")} == {
            "tier": "warm",
            "target": "cold",
            "state": "planned",
        }
        shown = (await run.client.get("/v1/info/a")).json()
        assert shown["move"]["tier"] == "cold"
        assert shown["move"]["last_error"] is None
        again = await move(run.client, "a", {"tier": "cold"})
        assert again.status == 202
        assert await run.services.moving.run() == 1
        shown = (await run.client.get("/v1/info/a")).json()
        assert "move" not in shown
        assert (shown["tier"], shown["placement"]) == ("cold", "infrequent")
        assert (await move(run.client, "a", {"tier": "cold"})).status == 200
        read = await run.client.get("/v1/content/a")
        assert (read.body, read["etag"]) == (b"body", put["etag"])
        assert (await run.client.get(f"/i/{put['revision']}/a")).body == b"body", "the bytes and their address stay"


@in_loop
async def test_moves_that_are_refused(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        etag = (await run.client.store("a", b"body", Thermocline_Tier="hot"))["etag"]
        assert (await move(run.client, "none", {"tier": "cold"})).problem == "content-not-found"
        for body in (
            b"",
            b"cold",
            b"[]",
            {},
            {"tier": "lukewarm"},
            {"tier": 1},
            {"tier": None},
            {"tier": "cold", "days": 1},
            {"target": "cold"},
            b'{"tier": "cold", "tier": "hot"}',
        ):
            answer = await move(run.client, "a", body)
            assert (answer.status, answer.problem) == (400, "invalid-input"), body
        assert (await move(run.client, "a", {"tier": "cold"}, Content_Type="text/plain")).status == 415
        answer = await move(run.client, "a", {"tier": "cold"}, If_Match='"1"')
        assert (answer.status, answer.problem) == (412, "precondition-failed")
        assert (await move(run.client, "a", {"tier": "cold"}, If_None_Match="*")).status == 412
        assert (await move(run.client, "a", {"tier": "warm"}, If_Match=etag)).status == 200
        await run.client.ask("PATCH", "/v1/info/a", {}, b'{"hold": true}')
        answer = await move(run.client, "a", {"tier": "cold"})
        assert (answer.status, answer.problem) == (409, "content-held")
        for method in ("GET", "POST", "DELETE"):
            assert (await run.client.ask(method, "/v1/tier/a")).status == 405


@in_loop
async def test_who_may_move_and_restore(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        both = run.as_(await run.new_token("read", "write"))
        await both.store("a", b"body", Thermocline_Tier="archive", Thermocline_Visibility="public")
        callers = {
            401: (run.as_(None), run.as_("tc_" + "0" * 12 + "_" + "1" * 48)),
            403: (
                run.as_(await run.new_token("read")),
                run.as_(await run.new_token("admin")),
                run.as_(await run.new_token("read", "write", prefix="b/")),
            ),
        }
        for status, clients in callers.items():
            for client in clients:
                for answer in (await move(client, "a", {"tier": "cold"}), await restore(client, "a")):
                    assert answer.status == status
                    assert (answer.get("www-authenticate") is not None) == (status == 401)
        assert (await run.as_(None).get("/v1/restore/a")).status == 401
        assert (await run.as_(await run.new_token("write")).get("/v1/restore/a")).status == 403
        assert (await run.as_(await run.new_token("read")).get("/v1/restore/a")).json()["state"] == "archived"
        assert await requested(run) == 0
        writer = run.as_(await run.new_token("write", prefix="a"))
        assert (await restore(writer, "a")).status == 202
        assert (await move(writer, "a", {"tier": "cold"})).status == 202


@pytest.mark.parametrize("content_id", ["a/b", "a%2Fb", "with%20space", "%C3%A9", "a%3Fb%23c%25d", "100%25"])
def test_ids_as_urls_write_them(tmp_path: Path, content_id: str) -> None:
    @in_loop
    async def check() -> None:
        async with running_app(tmp_path) as run:
            stored = (await run.client.store(content_id, b"x", Thermocline_Tier="archive")).json()["content_id"]
            for answer in (
                await restore(run.client, content_id),
                await run.client.get(f"/v1/restore/{content_id}"),
                await move(run.client, content_id, {"tier": "hot"}),
            ):
                assert answer.status in {200, 202}, answer
                assert answer.json()["content_id"] == stored

    check()


@pytest.mark.parametrize("path", ["", "a%00b", "..", "a//b", "%FF", "a/"])
def test_ids_that_cannot_be(tmp_path: Path, path: str) -> None:
    @in_loop
    async def check() -> None:
        async with running_app(tmp_path) as run:
            for answer in (
                await restore(run.client, path),
                await run.client.get(f"/v1/restore/{path}"),
                await move(run.client, path, {"tier": "hot"}),
            ):
                assert answer.status in ({400, 404, 405} if path == "" else {400}), (path, answer)

    check()


# --- restores --------------------------------------------------------------------------------------------------------


@in_loop
async def test_from_the_request_to_the_bytes(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await run.client.store("a", b"body", Thermocline_Tier="archive")
        assert (await run.client.get("/v1/restore/a")).json() == {
            "content_id": "a",
            "state": "archived",
            "speed": None,
            "days": None,
            "requested_at": None,
            "eta": None,
            "readable_until": None,
        }
        asked = await restore(run.client, "a", {"speed": "bulk", "days": 3})
        assert asked.status == 202
        assert asked["cache-control"] == "no-store"
        told = {
            "content_id": "a",
            "state": "requested",
            "speed": "bulk",
            "days": 3,
            "requested_at": "2026-01-01T00:00:00.000000Z",
            "eta": "2026-01-01T00:00:15.000000Z",
            "readable_until": None,
        }
        assert asked.json() == told
        state = await run.client.get("/v1/restore/a")
        assert (state.status, state.json()) == (200, told)
        assert (await restore(run.client, "a", {"speed": "standard"})).json() == told, "one request, one charge"
        assert (await run.client.get("/v1/info/a")).json()["restore"]["state"] == "requested"
        run.clock.advance(15.0)
        await run.services.restoring.run()
        there = await restore(run.client, "a", {"days": 3})
        assert there.status == 200
        assert there.json()["state"] == "readable"
        assert there.json()["readable_until"] == "2026-01-04T00:00:15.000000Z"
        assert (await run.client.get("/v1/content/a")).body == b"body"
        run.clock.advance(3 * DAY)
        assert (await run.client.get("/v1/restore/a")).json()["state"] == "archived"
        assert (await run.client.get("/v1/content/a")).problem == "content-archived"


@in_loop
async def test_restores_that_are_refused(tmp_path: Path) -> None:
    async with running_app(tmp_path, restore={"daily_budget": 0.00015}) as run:
        for name in ("a", "b"):
            await run.client.store(name, b"body", Thermocline_Tier="archive")
        await run.client.store("hot", b"body")
        for body in (
            {"speed": "now"},
            {"speed": 1},
            {"days": 0},
            {"days": 366},
            {"days": 1.5},
            {"days": "1"},
            {"days": True},
            {"wait": 1},
            b"[]",
            b"bulk",
        ):
            for name in ("a", "hot"):
                answer = await restore(run.client, name, body)
                assert (answer.status, answer.problem) == (400, "invalid-input"), (name, body)
        assert (await restore(run.client, "none")).problem == "content-not-found"
        assert (await run.client.get("/v1/restore/none")).problem == "content-not-found"
        assert (await restore(run.client, "hot")).json()["state"] == "readable"
        assert (await run.client.get("/v1/restore/hot")).json()["state"] == "readable"
        assert (await restore(run.client, "a")).status == 202
        refused = await restore(run.client, "b")
        assert (refused.status, refused.problem, refused["retry-after"]) == (503, "restore-budget", "86400")
        assert "daily_budget" in refused.json()["detail"]
        read = await run.client.get("/v1/content/b")
        assert (read.problem, read.get("retry-after")) == ("content-archived", None)
        assert (await restore(run.client, "a")).status == 202, "what is under way costs nothing"


@pytest.mark.parametrize("size", [4, 9 * MIB], ids=["buffered", "streamed"])
def test_reading_archived_content(tmp_path: Path, size: int) -> None:
    @in_loop
    async def check() -> None:
        async with running_app(tmp_path) as run:
            put = await run.client.store("a", b"x" * size, Thermocline_Tier="archive")
            head = await run.client.head("/v1/content/a")
            assert (head.status, head["content-length"], head["etag"]) == (200, str(size), put["etag"])
            await run.client.get("/v1/info/a")
            await run.client.get("/v1/content")
            assert await requested(run) == 0, "whoever looks asks for nothing"
            for target in ("/v1/content/a", f"/i/{put.json()['revision']}/a"):
                answer = await run.client.get(target)
                assert (answer.status, answer.problem) == (409, "content-archived")
                assert answer["retry-after"] == str(DELAY)
            ranged = await run.client.get("/v1/content/a", {"Range": "bytes=0-1"})
            assert (ranged.problem, ranged["retry-after"]) == ("content-archived", str(DELAY))
            assert await requested(run) == 1
            await arrive(run)
            assert (await run.client.get("/v1/content/a")).body == b"x" * size
            assert (await run.client.get("/v1/content/a", {"Range": "bytes=1-2"})).body == b"xx"

    check()


@in_loop
async def test_what_needs_no_bytes_is_answered_from_the_record(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        etag = (await run.client.store("a", b"body", Thermocline_Tier="archive"))["etag"]
        for headers, status in (
            ({"If-None-Match": etag}, 304),
            ({"If-None-Match": "*"}, 304),
            ({"If-Match": '"1"'}, 412),
            ({"Range": "bytes=9-"}, 416),
        ):
            assert (await run.client.get("/v1/content/a", headers)).status == status, headers
            assert (await run.client.head("/v1/content/a", headers)).status in {status, 200}
        assert await requested(run) == 0


@in_loop
async def test_readers_without_the_right_to_write_cause_no_restore(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        both = run.as_(await run.new_token("read", "write"))
        await both.store("mine", b"secret", Thermocline_Tier="archive")
        await both.store("ours", b"shared", Thermocline_Tier="archive", Thermocline_Visibility="public")
        reader, nobody = run.as_(await run.new_token("read")), run.as_(None)
        elsewhere = run.as_(await run.new_token("read", "write", prefix="other/"))
        for client, path in ((reader, "mine"), (reader, "ours"), (nobody, "ours"), (elsewhere, "ours")):
            answer = await client.get(f"/v1/content/{path}")
            assert (answer.problem, answer.get("retry-after")) == ("content-archived", None)
        for client in (nobody, elsewhere):
            hidden = await client.get("/v1/content/mine", {"X-Request-Id": "same"})
            missing = await client.get("/v1/content/nine", {"X-Request-Id": "same"})
            assert hidden.problem == "content-not-found"
            assert hidden.fields == missing.fields
        assert (await run.as_(await run.new_token("write")).get("/v1/content/mine")).problem == "content-not-found"
        assert await requested(run) == 0
        assert (await both.get("/v1/content/ours"))["retry-after"] == str(DELAY)
        assert (await nobody.get("/v1/content/ours"))["retry-after"] == str(DELAY), "what others asked for is told"
        assert await requested(run) == 1
        await arrive(run)
        assert (await nobody.get("/v1/content/ours")).body == b"shared"


@in_loop
async def test_fifty_readers_at_once_cause_one_restore(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await run.client.store("a", b"body", Thermocline_Tier="archive")
        answers = await asyncio.gather(*(run.client.get("/v1/content/a") for _ in range(50)))
        assert {(answer.status, answer["retry-after"]) for answer in answers} == {(409, str(DELAY))}
        assert run.services.restoring.requested == 1
        assert (await run.client.get("/v1/stats/work")).json()["restores"]["requested"] == 1


@in_loop
async def test_a_move_out_of_the_archive_shows_its_restore(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await run.client.store("a", b"body", Thermocline_Tier="archive")
        assert (await move(run.client, "a", {"tier": "hot"})).status == 202
        assert await run.services.moving.run() == 1
        shown = (await run.client.get("/v1/info/a")).json()
        assert shown["move"]["due_at"] == shown["restore"]["eta"] == "2026-01-01T00:00:05.000000Z"
        await arrive(run)
        assert await run.services.moving.run() == 1
        assert (await run.client.get("/v1/info/a")).json()["tier"] == "hot"
        await run.services.background.drain()
        assert (await run.client.get("/v1/content/a"))["cache-status"] == "thermocline; hit; detail=memory"


# --- holds, pins, erasure ---------------------------------------------------------------------------------------------


@in_loop
async def test_holds_and_pins(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await run.client.store("a", b"body")
        changed = await run.client.ask("PATCH", "/v1/info/a", {}, b'{"hold": true, "pinned": true}')
        assert (changed.json()["held"], changed.json()["pinned"]) == (True, True)
        for method, path, body in (
            ("PUT", "/v1/content/a", b"new"),
            ("DELETE", "/v1/content/a", b""),
            ("DELETE", "/v1/content/a?erase=true", b""),
            ("PUT", "/v1/tier/a", b'{"tier": "archive"}'),
        ):
            answer = await run.client.ask(method, path, {}, body)
            assert (answer.status, answer.problem) == (409, "content-held"), (method, path)
        assert (await run.client.get("/v1/content/a")).body == b"body"
        changed = await run.client.ask("PATCH", "/v1/info/a", {}, b'{"hold": false}')
        assert (changed.json()["held"], changed.json()["pinned"]) == (False, True)
        assert (await run.client.ask("PATCH", "/v1/info/a", {}, b'{"held": true}')).status == 400
        assert (await run.client.ask("DELETE", "/v1/content/a")).status == 204


@in_loop
async def test_an_erasure_tells_its_steps_to_whoever_prefers_it(tmp_path: Path) -> None:
    async with running_app(tmp_path, **COLD_APART) as run:
        for prefer, status in (
            (None, 204),
            ("return=minimal", 204),
            ("return=representation", 200),
            ("respond-async, Return=Representation; x=1", 200),
        ):
            await run.client.store("a", b"one", Thermocline_Tier="archive")
            await restore(run.client, "a")
            await run.client.store("a", b"two", Thermocline_Tier="hot")
            await move(run.client, "a", {"tier": "warm"})
            await move(run.client, "a", {"tier": "cold"})
            answer = await run.client.ask(
                "DELETE", "/v1/content/a?erase=true", {} if prefer is None else {"Prefer": prefer}
            )
            assert answer.status == status
            assert answer["cache-control"] == "no-store"
            assert run.stored() == [], "also the older revision"
            if status == 200:
                assert answer["preference-applied"] == "return=representation"
                report = answer.json()
                assert (report["content_id"], report["existed"]) == ("a", True)
                expected = {"record": 1, "objects": 2, "planned_moves": 1, "restores": 1, "ledger_entries": 1}
                assert {name: report["removed"][name] for name in expected} == expected
        again = await run.client.ask("DELETE", "/v1/content/a?erase=true", {"Prefer": "return=representation"})
        assert (again.status, again.json()["existed"]) == (200, False)
        plain = await run.client.ask("DELETE", "/v1/content/a", {"Prefer": "return=representation"})
        assert plain.status == 204
        answer = await run.client.ask("DELETE", "/v1/content/a?erase=true", {"If-Match": '"1"'})
        assert (answer.status, answer.problem) == (400, "invalid-input")


@in_loop
async def test_the_routes_are_documented(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        document = (await run.client.get("/openapi.json")).json()
        assert set(document["paths"]["/v1/tier/{content_id}"]) - {"parameters"} == {"put"}
        assert set(document["paths"]["/v1/restore/{content_id}"]) - {"parameters"} == {"get", "post"}
        for path in ("/v1/tier/{content_id}", "/v1/restore/{content_id}"):
            for method, operation in document["paths"][path].items():
                if method != "parameters":
                    assert operation["summary"]
                    assert "content_id" in json.dumps(operation | {"of": document["paths"][path].get("parameters")})
        deleting = document["paths"]["/v1/content/{content_id}"]["delete"]
        assert {parameter["name"] for parameter in deleting["parameters"]} >= {"erase", "Prefer"}
