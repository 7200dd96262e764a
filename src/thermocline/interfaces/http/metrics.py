"""Metrics in Prometheus' text format, made from plain counts at the moment somebody asks. No content ids in labels."""

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from thermocline.domain.errors import StorageError
from thermocline.domain.units import MICROS_PER_SECOND, Timestamp, elapsed
from thermocline.domain.work import OutboxState
from thermocline.interfaces.http.cache_state import cache_state
from thermocline.interfaces.http.counters import HttpCounters
from thermocline.wiring.services import Services

METRICS_TYPE = CONTENT_TYPE_LATEST


async def render_metrics(services: Services, counters: HttpCounters) -> bytes:
    """Return all metrics of this process. A catalog that does not answer only costs the outbox's."""
    try:
        outbox: Sequence[OutboxState] = await services.adapters.catalog.outbox.state()
    except StorageError:
        outbox = ()
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(_Snapshot(services, counters, outbox))
    return generate_latest(registry)


class _Snapshot(Collector):
    """The counts of this moment as metric families."""

    def __init__(self, services: Services, counters: HttpCounters, outbox: Sequence[OutboxState]) -> None:
        self._services = services
        self._counters = counters
        self._outbox = outbox
        self._now = services.adapters.clock.now()

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        yield from self._http()
        yield from self._cache()
        yield from self._store()
        yield from self._work()

    def _http(self) -> Iterator[Metric]:
        counters = self._counters
        yield _counter(
            "thermocline_requests",
            "Requests answered.",
            ("route", "status"),
            (((route, str(status)), tally.count) for (route, status), tally in counters.requests.items()),
        )
        yield _counter(
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
        yield _counter(
            "thermocline_answers_cut", "Answers that had begun and failed.", (), [((), counters.cut_answers)]
        )
        yield _counter(
            "thermocline_wire_refusals",
            "Connections and messages refused before they became requests.",
            ("reason",),
            (((reason,), count) for reason, count in counters.wire_refusals.items()),
        )

    def _cache(self) -> Iterator[Metric]:
        state = cache_state(self._services)
        yield _counter(
            "thermocline_cache_requests",
            "Questions to the cache.",
            ("level", "type", "result"),
            [(("memory", "content", "hit"), state.hits), (("memory", "content", "miss"), state.misses)],
        )
        yield _gauge("thermocline_cache_bytes", "Bytes held.", ("level",), [(("memory",), state.total_size)])
        yield _gauge("thermocline_cache_entries", "Values held.", ("level",), [(("memory",), state.count)])
        yield _counter(
            "thermocline_cache_evictions", "Values given up for room.", ("level",), [(("memory",), state.evictions)]
        )
        yield _counter(
            "thermocline_cache_failures",
            "Calls that the cache did not answer.",
            (),
            [((), self._services.cache.failures)],
        )

    def _store(self) -> Iterator[Metric]:
        services = self._services
        yield _counter("thermocline_integrity_errors", "Damaged reads refused.", (), [((), services.reading.damaged)])
        yield _gauge(
            "thermocline_memory_in_flight_bytes", "Bytes of content in flight.", (), [((), services.memory.in_use)]
        )
        yield _gauge("thermocline_memory_limit_bytes", "Their limit.", (), [((), services.memory.capacity)])
        yield _counter(
            "thermocline_admissions_refused", "Requests sent away busy.", (), [((), services.memory.refused)]
        )
        yield _counter(
            "thermocline_background_work",
            "Best-effort work that did not happen.",
            ("result",),
            [(("shed",), services.background.shed), (("failed",), services.background.failed)],
        )
        yield _gauge(
            "thermocline_outbox_rows",
            "Rows of promised work.",
            ("kind", "state"),
            [
                ((state.kind.value, name), count)
                for state in self._outbox
                for name, count in (("waiting", state.waiting), ("dead", state.dead))
            ],
        )
        yield _gauge(
            "thermocline_outbox_oldest_age_seconds",
            "How long the oldest row that is due has been so.",
            ("kind",),
            [((state.kind.value,), self._age(state.oldest_at)) for state in self._outbox],
        )

    def _work(self) -> Iterator[Metric]:
        jobs = self._services.worker.jobs
        yield _counter("thermocline_job_runs", "Runs.", ("job",), [((job.name,), job.runs) for job in jobs])
        yield _counter(
            "thermocline_job_failures", "Failed runs.", ("job",), [((job.name,), job.failures) for job in jobs]
        )
        yield _counter("thermocline_job_done", "Items done.", ("job",), [((job.name,), job.done) for job in jobs])
        yield _gauge(
            "thermocline_job_last_run_timestamp_seconds",
            "When the job last ran; absent before.",
            ("job",),
            [((job.name,), job.last_run / MICROS_PER_SECOND) for job in jobs if job.last_run is not None],
        )

        scrub = self._services.scrub
        yield _counter(
            "thermocline_scrub_objects",
            "Objects that the scrub came to the end of.",
            ("result",),
            [
                (("sound",), scrub.verified - scrub.findings),
                (("damaged",), scrub.findings),
                (("archived",), scrub.skipped),
            ],
        )
        yield _counter("thermocline_scrub_bytes", "Bytes read and verified by the scrub.", (), [((), scrub.read_bytes)])

    def _age(self, due_at: Timestamp | None) -> float:
        return 0.0 if due_at is None else max(elapsed(due_at, self._now), 0.0)


_Samples = Iterable[tuple[tuple[str, ...], float]]


def _counter(name: str, text: str, labels: tuple[str, ...], samples: _Samples) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _gauge(name: str, text: str, labels: tuple[str, ...], samples: _Samples) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family
