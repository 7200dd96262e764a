"""What /metrics exposes is what the reference page documents, and what happened."""

import re
from collections import defaultdict
from pathlib import Path

import structlog
from prometheus_client.parser import text_string_to_metric_families

from tests.interfaces.http.harness import MIB, Running, in_loop, running_app
from thermocline.domain.errors import UnavailableError
from thermocline.domain.units import Timestamp
from thermocline.domain.work import JobRun
from thermocline.services.sweep_plans import SweepReport

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "metrics.md").read_text()
_ROW = re.compile(r"^\| `(\w+)` \| (\w+) \|([^|]*)\| [^|]+ \|$", re.MULTILINE)
_SUFFIX = {"counter": "_total", "gauge": "", "histogram": ""}
Described = dict[str, tuple[str, frozenset[str]]]


def documented() -> Described:
    """Each metric of the page: its type and labels."""
    return {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in _ROW.findall(PAGE)}


async def exposed(run: Running) -> tuple[Described, dict[str, dict[frozenset[tuple[str, str]], float]]]:
    """Each metric that the service tells: its type and labels; and the samples."""
    answer = await run.client.get("/metrics")
    assert answer.status == 200
    found: Described = {}
    samples: defaultdict[str, dict[frozenset[tuple[str, str]], float]] = defaultdict(dict)
    for family in text_string_to_metric_families(answer.body.decode()):
        labels = {name for sample in family.samples for name in sample.labels} - {"le"}
        assert family.documentation
        found[family.name + _SUFFIX[family.type]] = (family.type, frozenset(labels))
        for sample in family.samples:
            samples[sample.name][frozenset(sample.labels.items())] = sample.value
    return found, samples


async def use_everything(run: Running) -> None:
    """Let every family have a sample."""
    await run.client.store("hot", b"x" * 2 * MIB)
    await run.client.store("cold", b"12345", Thermocline_Tier="cold")
    for _ in range(2):
        await run.client.get("/v1/content/hot")
    await run.services.tracking.flush()
    run.app.counters.wire_refusals["busy"] += 1
    for job in run.services.worker.jobs:
        await run.services.worker.run_once(job)
    run.services.sweep.last_reports = (SweepReport("standard", 5, 2, 0, "too many"),)


@in_loop
async def test_the_page_and_the_service_tell_the_same_metrics(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await use_everything(run)
        found, _ = await exposed(run)
        assert found == documented()
        assert len(_ROW.findall(PAGE)) == len(documented()), "each once"
        for name in found:
            assert name.startswith(("thermocline_", "process_"))


@in_loop
async def test_they_tell_what_happened(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await use_everything(run)
        _, samples = await exposed(run)

        def of(name: str, **labels: str) -> float:
            return samples[name][frozenset(labels.items())]

        assert of("thermocline_stored_bytes", tier="hot") == 2 * MIB
        assert of("thermocline_stored_bytes", tier="cold") == 5
        assert of("thermocline_stored_contents", tier="archive") == 0
        assert of("thermocline_tracked_reads_total", kind="memory") == 1
        assert of("thermocline_tracked_reads_total", kind="storage") == 1
        assert of("thermocline_tracking_flushed_reads_total") == 2
        assert of("thermocline_tracking_waiting_contents") == 0
        assert of("thermocline_job_runs_total", job="expire") == 1
        assert of("thermocline_worker") == 0
        assert of("thermocline_sweep_refused", placement="standard") == 1
        assert of("thermocline_sweep_objects", placement="standard", state="unnamed") == 2
        assert of("thermocline_catalog_job_failing", job="expire") == 0
        now = run.clock.now() / 1e6
        assert of("thermocline_catalog_job_last_run_timestamp_seconds", job="expire") == now
        assert of("thermocline_catalog_up") == 1


@in_loop
async def test_totals_are_counted_at_most_once_a_minute(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:

        async def stored() -> float:
            return (await exposed(run))[1]["thermocline_stored_contents"][frozenset({("tier", "hot")})]

        assert await stored() == 0
        await run.client.store("a", b"x")
        assert await stored() == 0
        run.clock.advance(61)
        assert await stored() == 1
        await run.client.store("b", b"x")
        run.clock.advance(2)
        told = (await run.client.get("/v1/stats/storage")).json()
        assert told["tiers"]["hot"] == {"count": 2, "bytes": 2, "usd_per_month": 3e-11}, (
            "whoever asks for statistics gets them fresh"
        )
        assert told["total"] == {"count": 2, "bytes": 2, "usd_per_month": 3e-11}
        assert await stored() == 2


@in_loop
async def test_without_the_catalog_the_process_still_tells_its_own(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await use_everything(run)

        async def down() -> None:
            raise UnavailableError("down")

        run.services.adapters.catalog.intents.count = down  # type: ignore[method-assign, assignment]
        with structlog.testing.capture_logs() as events:
            found, samples = await exposed(run)
        assert [event["event"] for event in events] == ["metrics_without_catalog"]
        assert samples["thermocline_catalog_up"] == {frozenset(): 0.0}
        assert "thermocline_reads_total" in found
        assert "thermocline_stored_bytes" not in found


@in_loop
async def test_statistics_show_backlog_and_work_of_all_processes(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await use_everything(run)
        elsewhere = JobRun(
            "expire", "there", Timestamp(run.clock.now() + 1), None, Timestamp(1), "UnavailableError: x", 7, 1
        )
        await run.services.adapters.catalog.job_runs.note(elsewhere)
        work = (await run.client.get("/v1/stats/work")).json()
        assert work["is_worker"] is False
        job = work["jobs"]["expire"]
        assert (job["last_error"], job["done"], job["failures"]) == ("UnavailableError: x", 7, 1)
        assert job["last_run"] == "2026-01-01T00:00:00.000001Z"
        assert (job["here"]["runs"], job["here"]["last_error"]) == (1, None)
        assert work["sweeps"]["standard"]["refused"] == "too many"
        assert work["tracking"]["flushed"] == 2
        assert (work["moves"]["waiting"], work["restores"]["requested"], work["quarantine"]["objects"]) == (0, 0, 0)
