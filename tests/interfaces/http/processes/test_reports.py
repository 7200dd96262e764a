"""What several processes come to."""

import json

from prometheus_client.metrics_core import Metric

from thermocline.interfaces.http.families import counter, gauge
from thermocline.interfaces.http.processes.reports import Report, add_up
from thermocline.services.cache_statistics import with_ratios


def _values(report: Report) -> dict[tuple[str, str], float]:
    return {
        (sample.name, ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
        for metric in report.metrics
        for sample in metric.samples
    }


def _report(requests: int, held: int, moment: float, *, hits: int = 0) -> Report:
    durations = Metric("took_seconds", "How long.", "histogram")
    for bound, count in (("0.1", requests), ("+Inf", requests + 1)):
        durations.add_sample("took_seconds_bucket", {"le": bound}, count)
    cache = {
        "hits": hits, "misses": 1, "sets": 1, "evictions": 0, "saved_bytes": 0, "count": held, "total_size": 10 * held,
    }  # fmt: skip
    return Report(
        [
            counter("requests", "Requests.", ("status", "route"), [(("200", "a"), requests), (("404", "b"), 1)]),
            gauge("held", "Held.", (), [((), held)]),
            gauge("last_timestamp_seconds", "When.", (), [((), moment)]),
            durations,
        ],
        {"content": {"memory": cache}},
    )


def test_counts_and_amounts_are_added_and_moments_are_the_latest() -> None:
    total = add_up([_report(3, 2, 50.0, hits=1), _report(4, 5, 40.0, hits=5)])
    assert _values(total) == {
        ("requests_total", "route=a,status=200"): 7,
        ("requests_total", "route=b,status=404"): 2,
        ("held", ""): 7,
        ("last_timestamp_seconds", ""): 50.0,
        ("took_seconds_bucket", "le=0.1"): 7,
        ("took_seconds_bucket", "le=+Inf"): 9,
    }
    memory = total.cache["content"]["memory"]
    assert (memory["hits"], memory["count"], memory["total_size"]) == (6, 7, 70)
    together = with_ratios(total.cache)["content"]
    assert (memory["avg_size"], memory["hit_ratio"]) == (10.0, 6 / 8)
    assert (together["hits"], together["misses"], together["hit_ratio"]) == (6, 2, 6 / 8)


def test_of_one_that_has_ended_its_counts_stay() -> None:
    past = _report(3, 2, 50.0, hits=1).of_the_past()
    assert {name for name, _ in _values(past)} == {"requests_total", "took_seconds_bucket"}
    total = add_up([past, _report(4, 5, 40.0)])
    assert _values(total)["requests_total", "route=a,status=200"] == 7
    assert _values(total)["held", ""] == 5
    assert total.cache["content"]["memory"]["hits"] == 1
    assert total.cache["content"]["memory"]["count"] == 5


def test_a_report_survives_its_way_through_a_channel() -> None:
    report = _report(3, 2, 50.0, hits=1)
    again = Report.from_json(json.loads(json.dumps(report.as_json())))
    assert _values(again) == _values(report)
    assert again.cache == report.cache
    assert [(metric.name, metric.type) for metric in again.metrics] == [
        (metric.name, metric.type) for metric in report.metrics
    ]


def test_nothing_comes_to_nothing() -> None:
    assert add_up([]) == add_up([Report(), Report()])
