"""Metric families of plain numbers."""

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from thermocline.domain.units import MICROS_PER_SECOND, Timestamp

Samples = Iterable[tuple[tuple[str, ...], float]]
"""Values of the labels, and the number."""


def counter(name: str, text: str, labels: tuple[str, ...], samples: Samples) -> Metric:
    """Return a counter, whose samples are called `name` with `_total` at the end."""
    family = CounterMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def gauge(name: str, text: str, labels: tuple[str, ...], samples: Samples) -> Metric:
    """Return a gauge."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def moment(when: Timestamp) -> float:
    """Return a moment as Prometheus writes it: seconds since 1970."""
    return when / MICROS_PER_SECOND
