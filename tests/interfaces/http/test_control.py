"""Listings, records, statistics, health, metrics, documentation."""

import json
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.interfaces.http.harness import MIB, Running, in_loop, running_app
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import UnavailableError
from thermocline.domain.units import Seconds


@in_loop
async def test_listing(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        ids = [f"p/{number:02}" for number in range(7)] + ["q/é", "q/z"]
        for content_id in ids:
            await run.client.store(content_id, b"x", Thermocline_Tier="cold" if content_id == "p/03" else "hot")
        first = (await run.client.get("/v1/content?prefix=p/&limit=4")).json()
        assert [record["content_id"] for record in first["records"]] == ids[:4]
        second = (await run.client.get(f"/v1/content?prefix=p/&limit=4&cursor={first['next']}")).json()
        assert [record["content_id"] for record in second["records"]] == ids[4:7]
        assert second["next"] is None
        cold = (await run.client.get("/v1/content?tier=cold")).json()["records"]
        assert [record["content_id"] for record in cold] == ["p/03"]
        assert [
            record["content_id"] for record in (await run.client.get("/v1/content?prefix=q%2F")).json()["records"]
        ] == [
            "q/z",
            "q/é",
        ]
        for query in (
            "limit=0",
            "limit=1001",
            "limit=x",
            "limit=-1",
            "cursor=%21",
            "cursor=_w",
            "tier=warmish",
            "prefix=%00",
        ):
            answer = await run.client.get(f"/v1/content?{query}")
            assert answer.status == 400, query
            assert answer.problem in {"invalid-input", "invalid-content-id"}
        assert "limit" in (await run.client.get("/v1/content?limit=x")).json()["detail"]


@in_loop
async def test_a_record(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        put = (await run.client.store("a/b", b"data", Content_Type="text/plain", Thermocline_Expires_In="60")).json()
        record = (await run.client.get("/v1/info/a/b")).json()
        assert {name: record[name] for name in ("content_id", "revision", "version", "etag", "size", "object_key")} == {
            name: put[name] for name in ("content_id", "revision", "version", "etag", "size", "object_key")
        }
        assert record["content_type"] == "text/plain"
        assert record["expires_at"] == "2026-01-01T00:01:00.000000Z"
        assert record["visibility"] == "private"
        assert record["held"] is False
        assert (await run.client.get("/v1/info/none")).problem == "content-not-found"


async def patch(run: Running, body: object, **headers: str) -> tuple[int, dict[str, object]]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await run.client.ask("PATCH", "/v1/info/a", {k.replace("_", "-"): v for k, v in headers.items()}, raw)
    return answer.status, answer.json()


@in_loop
async def test_changing_a_record(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await run.client.store("a", b"data", Thermocline_Meta_X="1", Thermocline_Meta_Y="2")
        first = await run.client.get("/v1/content/a")
        status, record = await patch(run, {"metadata": {"x": None, "z": {"deep": [1]}}, "visibility": "public"})
        assert status == 200
        assert record["metadata"] == {"y": "2", "z": {"deep": [1]}}
        assert record["visibility"] == "public"
        assert record["etag"] == first["etag"], "the bytes are the same"
        assert (await run.client.get("/v1/content/a"))["cache-control"] == "public, max-age=0"
        assert (await patch(run, {"expires_in": 60.5}))[1]["expires_at"] == "2026-01-01T00:01:00.500000Z"
        assert (await patch(run, {"never_expires": True}))[1]["expires_at"] is None
        assert (await patch(run, {"hold": True}))[1]["held"] is True
        assert (await patch(run, {"expires_in": 5}))[0] == 409
        assert (await patch(run, {"hold": False}))[1]["held"] is False
        assert (await patch(run, {"hold": True}, If_Match='"x"'))[0] == 412
        assert (await patch(run, {"visibility": "private"}, If_Match=first["etag"]))[0] == 200
        assert (await patch(run, {"metadata": {}}, Content_Type="application/merge-patch+json; charset=utf-8"))[
            0
        ] == 200
        answer = await run.client.ask("PATCH", "/v1/info/none", {}, b'{"hold": true}')
        assert answer.problem == "content-not-found"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"[]",
        b"null",
        b"{}",
        b"\xff",
        b'{"size": 5}',
        b'{"metadata": null}',
        b'{"metadata": []}',
        b'{"metadata": {"a": NaN}}',
        b'{"metadata": {"a": 1e999}}',
        b'{"metadata": {"a": "\\ud800"}}',
        b'{"metadata": {"a": 1, "a": 2}}',
        b'{"metadata": {"a": "' + b"x" * 17_000 + b'"}}',
        b'{"metadata": {"a": ' + b"[" * 40 + b"]" * 40 + b"}}",
        b"[" * 60_000,
        b'{"expires_in": ' + b"9" * 5000 + b"}",
        b'{"visibility": "hidden"}',
        b'{"visibility": null}',
        b'{"visibility": ["public"]}',
        b'{"expires_in": 0}',
        b'{"expires_in": -1}',
        b'{"expires_in": true}',
        b'{"expires_in": "60"}',
        b'{"expires_in": null}',
        b'{"expires_in": 1e300}',
        b'{"expires_in": 60, "never_expires": true}',
        b'{"never_expires": 1}',
        b'{"hold": "yes"}',
        b'{"hold": null}',
    ],
    ids=lambda body: body[:40].decode("latin-1"),
)
def test_bad_changes(tmp_path: Path, body: bytes) -> None:
    @in_loop
    async def check() -> None:
        async with running_app(tmp_path) as run:
            await run.client.store("a", b"data")
            before = (await run.client.get("/v1/info/a")).json()
            status, problem = await patch(run, body)
            assert status == 400, problem
            assert str(problem["type"]).rpartition(":")[2] in {"invalid-input", "invalid-metadata"}
            assert (await run.client.get("/v1/info/a")).json() == before

    check()


@in_loop
async def test_changes_are_small_and_json(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await run.client.store("a", b"data")
        status, problem = await patch(run, b'{"metadata": {"a": "' + b"x" * 70_000 + b'"}}')
        assert (status, problem["type"]) == (413, "urn:thermocline:error:content-too-large")
        assert (await patch(run, {"hold": True}, Content_Type="text/plain"))[0] == 415


@in_loop
async def test_statistics(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await run.client.store("a", b"x" * 2 * MIB)
        for _ in range(3):
            await run.client.get("/v1/content/a")
        await run.client.ask("DELETE", "/v1/content/a")
        job = run.services.worker.jobs[0]
        await run.services.worker.run_once(job)
        work = (await run.client.get("/v1/stats/work")).json()
        assert work["jobs"][job.name]["here"]["runs"] == 1
        assert work["jobs"][job.name]["last_run"] == "2026-01-01T00:00:00.000000Z"
        assert work["outbox"]["delete_object"]["waiting"] == 1
        assert work["intents"] == 0
        cache = (await run.client.get("/v1/stats/cache")).json()["content"]["memory"]
        assert (cache["hits"], cache["misses"]) == (2, 1)
        assert cache["hit_ratio"] == pytest.approx(2 / 3)
        assert cache["sets"] == 1


@in_loop
async def test_statistics_of_recovery_and_scrub(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await run.client.store("a", b"x")
        await run.client.store("b", b"x")
        work = (await run.client.get("/v1/stats/work")).json()
        assert (work["recovery"], work["scrub"]) == ({"recovering": False}, None)
        record = await run.services.adapters.catalog.records.find(ContentId("b"))
        assert record is not None
        await run.objects.delete([record.object_key])
        run.clock.advance(Seconds(10.0))
        (job,) = [job for job in run.services.worker.jobs if job.name == "scrub"]
        assert await run.services.worker.run_once(job) == 2
        scrub = (await run.client.get("/v1/stats/work")).json()["scrub"]
        assert {name: scrub[name] for name in ("verified", "skipped", "findings")} == {
            "verified": 2,
            "skipped": 0,
            "findings": 1,
        }
        assert scrub["ended_at"] is not None
        text = (await run.client.get("/metrics")).body.decode()
        for line in (
            'thermocline_scrub_objects_total{result="sound"} 1.0',
            'thermocline_scrub_objects_total{result="damaged"} 1.0',
            'thermocline_scrub_objects_total{result="archived"} 0.0',
            "thermocline_scrub_bytes_total 1.0",
        ):
            assert line in text

        async def recovering(*_: object) -> bool:
            return True

        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(type(run.services.adapters.catalog.recovery), "is_recovering", recovering)
            told = (await run.client.get("/v1/stats/work")).json()["recovery"]
            assert told["recovering"] is True
            assert set(told["paused"]) <= {job.name for job in run.services.worker.jobs}
            assert "fsck --repair" in told["advice"]


@in_loop
async def test_health(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        for method in ("GET", "HEAD"):
            assert (await run.client.ask(method, "/healthz")).status == 200
        ready = await run.client.get("/readyz")
        assert ready.json() == {"status": "ready", "checks": {"catalog": "ok", "objects.main": "ok"}}

        async def fail(*_: object) -> None:
            raise UnavailableError("secret host")

        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(type(run.objects), "head", fail)
            unready = await run.client.get("/readyz")
            assert unready.status == 503
            assert unready.json() == {"status": "unready", "checks": {"catalog": "ok", "objects.main": "unavailable"}}
            assert (await run.client.get("/healthz")).status == 200
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(type(run.services.adapters.catalog), "check", fail)
            monkeypatch.setattr(type(run.services.adapters.catalog.outbox), "state", fail)
            assert (await run.client.get("/readyz")).json()["checks"]["catalog"] == "unavailable"
            assert (await run.client.get("/metrics")).status == 200, "without the outbox's"
            assert (await run.client.get("/v1/stats/work")).problem == "unavailable"


@in_loop
async def test_metrics(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await run.client.store("secret-id", b"x" * 2 * MIB)
        for _ in range(3):
            await run.client.get("/v1/content/secret-id")
        await run.client.get("/v1/content/none")
        await run.client.get("/nowhere/at/all")
        await run.client.ask("DELETE", "/v1/content/secret-id")
        answer = await run.client.get("/metrics")
        assert answer["content-type"].startswith("text/plain")
        text = answer.body.decode()
        assert "secret-id" not in text
        samples = {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        assert samples["thermocline_reads_total", ("source", "memory"), ("tier", "hot")] == 2
        assert samples["thermocline_reads_total", ("source", "storage"), ("tier", "hot")] == 1
        assert samples["thermocline_read_duration_seconds_count", ("source", "memory")] == 2
        assert samples["thermocline_requests_total", ("route", "content"), ("status", "404")] == 1
        assert samples["thermocline_requests_total", ("route", "unknown"), ("status", "404")] == 1
        assert samples["thermocline_outbox_rows", ("kind", "delete_object"), ("state", "waiting")] == 1
        assert ("thermocline_outbox_oldest_age_seconds", ("kind", "delete_object")) in samples
        level = (("level", "memory"), ("result", "hit"), ("type", "content"))
        assert samples["thermocline_cache_requests_total", *level] == 2
        assert samples["thermocline_memory_in_flight_bytes",] == 0
        assert samples["thermocline_integrity_errors_total",] == 0
        assert samples["thermocline_job_failures_total", ("job", "expire")] == 0
        assert samples["process_resident_memory_bytes",] > 0
        again = (await run.client.get("/metrics")).body.decode()
        assert 'thermocline_requests_total{route="/metrics",status="200"} 1.0' in again


@in_loop
async def test_documentation_needs_nothing_from_outside(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        page = await run.client.get("/docs")
        assert page["content-type"].startswith("text/html")
        assert b"://" not in page.body, "no address of another host"
        for name in ("swagger-ui.css", "swagger-ui-bundle.js", "start.js", "favicon-32x32.png"):
            assert f"/docs/{name}".encode() in page.body
            assert (await run.client.get(f"/docs/{name}")).status == 200
        for name in ("swagger-ui.js.map", "..%2Fx", "index.html"):
            assert (await run.client.get(f"/docs/{name}")).status == 404
        document = (await run.client.get("/openapi.json")).json()
        assert document["openapi"] == "3.0.3"
        assert set(document["paths"]) >= {
            "/v1/content",
            "/v1/content/{content_id}",
            "/i/{revision}/{content_id}",
            "/v1/info/{content_id}",
            "/v1/stats/work",
            "/healthz",
            "/readyz",
            "/metrics",
        }
        assert set(document["paths"]["/v1/content/{content_id}"]) == {"parameters", "get", "head", "put", "delete"}
        assert '"null"' not in json.dumps(document), "3.0 has no null type"
