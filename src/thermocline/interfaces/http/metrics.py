"""Metrics in Prometheus' text format, made from plain counts at the moment somebody asks. No content ids in labels.

`docs/reference/metrics.md` explains each; a test compares the two.
"""

import asyncio
from collections.abc import Iterator, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from thermocline.interfaces.cache_state import SharedState, shared_state
from thermocline.interfaces.http.catalog_metrics import ask_catalog, catalog_metrics
from thermocline.interfaces.http.counters import HttpCounters
from thermocline.interfaces.http.families import counter, gauge, moment
from thermocline.interfaces.http.prediction_metrics import prediction_metrics
from thermocline.interfaces.http.processes.reports import Report, add_up
from thermocline.interfaces.http.processes.siblings import Siblings
from thermocline.interfaces.prediction_state import prediction_state
from thermocline.interfaces.statistics import cache_statistics
from thermocline.services.tracking import ReadKind
from thermocline.wiring.services import Services

_RESULTS = (("hits", "hit"), ("misses", "miss"))
METRICS_TYPE = CONTENT_TYPE_LATEST


def process_report(services: Services, counters: HttpCounters) -> Report:
    """Return what this process counts."""
    return Report(
        [*ProcessCollector(registry=None).collect(), *_Snapshot(services, counters).collect()],
        cache_statistics(services),
    )


async def render_metrics(services: Services, counters: HttpCounters, siblings: Siblings) -> bytes:
    """Return all metrics: of this service's processes together, and of the catalog while it answers."""
    state, (others, answered) = await asyncio.gather(ask_catalog(services), siblings.gather())
    registry = CollectorRegistry(auto_describe=False)
    registry.register(
        _Families(
            [
                *add_up([process_report(services, counters), *others]).metrics,
                gauge(
                    "thermocline_server_processes",
                    "Processes of this service.",
                    ("state",),
                    [(("configured",), siblings.size), (("answering",), 1 + answered)],
                ),
                gauge("thermocline_catalog_up", "Whether the catalog answered.", (), [((), state is not None)]),
                *([] if state is None else catalog_metrics(state)),
            ]
        )
    )
    return generate_latest(registry)


class _Families(Collector):
    """Metric families that are made already."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        yield from self._families


class _Snapshot(Collector):
    """The counts of this moment as metric families."""

    def __init__(self, services: Services, counters: HttpCounters) -> None:
        self._services = services
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        yield from self._http()
        yield from self._cache()
        yield from self._store()
        yield from self._tracking()
        yield from self._work()
        yield from prediction_metrics(prediction_state(self._services))

    def _http(self) -> Iterator[Metric]:
        counters = self._counters
        yield counter(
            "thermocline_requests",
            "Requests answered.",
            ("route", "status"),
            (((route, str(status)), tally.count) for (route, status), tally in counters.requests.items()),
        )
        yield counter(
            "thermocline_reads",
            "Reads answered with content or 304, by what served them.",
            ("source", "tier"),
            (((source.value, tier), tally.count) for (source, tier), tally in counters.reads.items()),
        )
        durations = HistogramMetricFamily(
            "thermocline_read_duration_seconds",
            "Reads other than those answered on the wire from memory, until the last byte was taken.",
            labels=("source",),
        )
        for source, histogram in counters.durations.items():
            durations.add_metric((source.value,), histogram.cumulative(), histogram.total_seconds)
        yield durations
        yield counter("thermocline_answers_cut", "Answers that had begun and failed.", (), [((), counters.cut_answers)])
        yield counter(
            "thermocline_wire_refusals",
            "Connections and messages refused before they became requests.",
            ("reason",),
            (((reason,), count) for reason, count in counters.wire_refusals.items()),
        )

    def _cache(self) -> Iterator[Metric]:
        shared = shared_state(self._services) or SharedState()
        counts = [
            ((level, kind), numbers)
            for kind, levels in self._services.statistics.here().items()
            for level, numbers in levels.items()
        ]

        def each(name: str) -> list[tuple[tuple[str, str], int]]:
            return [(where, numbers[name]) for where, numbers in counts if name in numbers]

        yield counter(
            "thermocline_cache_requests",
            "Questions to the cache.",
            ("level", "type", "result"),
            [((*where, result), count) for name, result in _RESULTS for where, count in each(name)],
        )
        yield counter("thermocline_cache_sets", "Values taken in.", ("level", "type"), each("sets"))
        yield counter("thermocline_cache_rejected", "Values too large.", ("level", "type"), each("rejected"))
        yield counter(
            "thermocline_cache_stale", "Values served though they had ended.", ("level", "type"), each("stale")
        )
        yield counter("thermocline_cache_evictions", "Values given up for room.", ("level", "type"), each("evictions"))
        held = [(where, numbers) for where, numbers in counts if where[0] == "memory"]
        yield gauge(
            "thermocline_cache_bytes",
            "Bytes held.",
            ("level", "type"),
            [(where, numbers["total_size"]) for where, numbers in held],
        )
        yield gauge("thermocline_cache_entries", "Values held.", ("level", "type"), each("count"))
        yield counter(
            "thermocline_cache_failures",
            "Calls that the cache did not answer.",
            (),
            [((), self._services.cache.failures)],
        )

        yield counter(
            "thermocline_cache_refreshes",
            "Contents renewed in the cache.",
            ("kind",),
            [(("early",), self._services.refresher.refreshed), (("revived",), self._services.reading.revived)],
        )
        yield counter(
            "thermocline_cache_absences",
            "Reads of contents known not to be there.",
            (),
            [((), self._services.cache.absences.hits + self._services.cache.hidden.hits)],
        )
        yield gauge("thermocline_cache_circuits_open", "Servers left alone now.", (), [((), shared.circuits_open)])
        yield counter("thermocline_cache_circuits_opened", "How often that began.", (), [((), shared.circuits_opened)])
        yield counter("thermocline_cache_refused_calls", "Calls not made meanwhile.", (), [((), shared.refused)])
        yield counter("thermocline_cache_retried_calls", "Calls tried again.", (), [((), shared.retried)])
        yield counter("thermocline_cache_unreadable", "Values that nobody can read.", (), [((), shared.unreadable)])
        yield counter("thermocline_cache_disbelieved", "Values known to be old.", (), [((), shared.disbelieved)])
        yield counter(
            "thermocline_cache_waits",
            "Reads that waited for another process's fill.",
            ("result",),
            [
                (("filled",), shared.waits - shared.waits_in_vain),
                (("in_vain",), shared.waits_in_vain),
            ],
        )

    def _store(self) -> Iterator[Metric]:
        services = self._services
        yield counter("thermocline_integrity_errors", "Damaged reads refused.", (), [((), services.reading.damaged)])
        yield gauge(
            "thermocline_memory_in_flight_bytes", "Bytes of content in flight.", (), [((), services.memory.in_use)]
        )
        yield gauge("thermocline_memory_limit_bytes", "Their limit.", (), [((), services.memory.capacity)])
        yield counter("thermocline_admissions_refused", "Requests sent away busy.", (), [((), services.memory.refused)])
        yield counter(
            "thermocline_background_work",
            "Best-effort work that did not happen.",
            ("result",),
            [(("shed",), services.background.shed), (("failed",), services.background.failed)],
        )

    def _tracking(self) -> Iterator[Metric]:
        flush = self._services.tracking
        tracker = flush.tracker
        yield counter(
            "thermocline_tracked_reads",
            "Reads counted, by what served them.",
            ("kind",),
            (((kind.name.lower(),), tracker.totals[kind]) for kind in ReadKind),
        )
        yield counter("thermocline_tracking_flushed_reads", "Reads added.", (), [((), flush.flushed)])
        yield counter("thermocline_tracking_dropped_reads", "Reads lost.", (), [((), tracker.dropped)])
        yield counter("thermocline_tracking_flush_failures", "Failed flushes.", (), [((), flush.failures)])
        yield gauge("thermocline_tracking_waiting_contents", "Contents not flushed yet.", (), [((), tracker.waiting)])
        yield gauge(
            "thermocline_tracking_last_flush_timestamp_seconds",
            "When reads were last added.",
            (),
            [((), moment(flush.last_flush))] if flush.last_flush is not None else [],
        )

    def _work(self) -> Iterator[Metric]:
        worker = self._services.worker
        jobs = worker.jobs
        yield gauge("thermocline_worker", "Whether it does background work.", (), [((), worker.is_running)])
        yield counter("thermocline_job_runs", "Runs.", ("job",), [((job.name,), job.runs) for job in jobs])
        yield counter(
            "thermocline_job_failures", "Failed runs.", ("job",), [((job.name,), job.failures) for job in jobs]
        )
        yield counter("thermocline_job_done", "Items done.", ("job",), [((job.name,), job.done) for job in jobs])
        yield gauge(
            "thermocline_job_last_run_timestamp_seconds",
            "When the job last ran; absent before.",
            ("job",),
            [((job.name,), moment(job.last_run)) for job in jobs if job.last_run is not None],
        )
        yield gauge(
            "thermocline_job_last_success_timestamp_seconds",
            "When the job last ran without a failure; absent before.",
            ("job",),
            [((job.name,), moment(job.last_success)) for job in jobs if job.last_success is not None],
        )
        reports = self._services.sweep.last_reports
        yield gauge(
            "thermocline_sweep_objects",
            "Objects of the last sweep.",
            ("placement", "state"),
            [
                ((report.placement, name), count)
                for report in reports
                for name, count in (
                    ("listed", report.listed),
                    ("unnamed", report.unnamed),
                    ("quarantined", report.quarantined),
                )
            ],
        )
        yield gauge(
            "thermocline_sweep_refused",
            "Whether the last sweep stopped to ask.",
            ("placement",),
            [((report.placement,), report.refused is not None) for report in reports],
        )
        scrub = self._services.scrub
        yield counter(
            "thermocline_scrub_objects",
            "Objects that the scrub came to the end of.",
            ("result",),
            [
                (("sound",), scrub.verified - scrub.findings),
                (("damaged",), scrub.findings),
                (("archived",), scrub.skipped),
            ],
        )
        yield counter("thermocline_scrub_bytes", "Bytes read and verified by the scrub.", (), [((), scrub.read_bytes)])
