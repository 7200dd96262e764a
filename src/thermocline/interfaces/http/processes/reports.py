"""What a server process tells of itself, and what several of them come to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

from thermocline.interfaces.statistics import sum_cache_statistics, without_holdings
from thermocline.services.cache_statistics import Statistics

_ADDED_UP = frozenset({"counter", "histogram"})
_LARGEST = frozenset(
    {
        "process_max_fds",
        "process_start_time_seconds",
        "thermocline_sweep_objects",
        "thermocline_sweep_refused",
    }
)
"""Gauges of which one process has the whole truth; others are parts of a sum."""
_MOMENT = "_timestamp_seconds"


@dataclass(frozen=True, slots=True)
class Report:
    """The metrics and cache statistics of one process, or of several together."""

    metrics: Sequence[Metric] = ()
    cache: Statistics = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON-ready values."""
        return {
            "metrics": [
                [
                    metric.name,
                    metric.documentation,
                    metric.type,
                    [[each.name, dict(each.labels), each.value] for each in metric.samples],
                ]
                for metric in self.metrics
            ],
            "cache": self.cache,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the report that `as_json` made these values of."""
        metrics = []
        for name, documentation, kind, samples in values["metrics"]:
            metric = Metric(name, documentation, kind)
            metric.samples = [Sample(each, labels, value) for each, labels, value in samples]
            metrics.append(metric)
        return cls(metrics, values["cache"])

    def of_the_past(self) -> "Report":
        """Return what stays true after the process has ended: what it counted, not what it held."""
        return Report([metric for metric in self.metrics if metric.type in _ADDED_UP], without_holdings(self.cache))


def add_up(reports: Sequence[Report]) -> Report:
    """Return what the processes come to: counts and amounts added, moments the latest."""
    return Report(
        _merge(metric for report in reports for metric in report.metrics),
        sum_cache_statistics([report.cache for report in reports]),
    )


def _merge(metrics: Iterable[Metric]) -> list[Metric]:
    merged: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for metric in metrics:
        merged.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
        samples = values.setdefault(metric.name, {})
        takes_largest = metric.name in _LARGEST or metric.name.endswith(_MOMENT)
        for each in metric.samples:
            key = (each.name, tuple(sorted(each.labels.items())))
            before = samples.get(key)
            if before is None:
                samples[key] = each.value
            else:
                samples[key] = max(before, each.value) if takes_largest else before + each.value
    for name, metric in merged.items():
        metric.samples = [Sample(each, dict(labels), value) for (each, labels), value in values[name].items()]
    return list(merged.values())
