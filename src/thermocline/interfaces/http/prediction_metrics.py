"""Metrics of warming, prediction and prefetching."""

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric

from thermocline.domain.predictions import WarmOutcome
from thermocline.interfaces.http.families import counter, gauge
from thermocline.interfaces.prediction_state import REASONS, PredictionState
from thermocline.services.judging import Mode


def prediction_metrics(state: PredictionState) -> Iterator[Metric]:
    """Yield every family, with all its labels from the start."""
    yield counter(
        "thermocline_warmings",
        "Predicted contents by what became of them.",
        ("outcome",),
        (((outcome.value,), state.warmed.get(outcome, 0)) for outcome in WarmOutcome),
    )
    yield counter("thermocline_warmed_bytes", "Bytes brought into caches.", (), [((), state.warmed_bytes)])
    results = (
        ("fetched", state.fetched, state.fetched_bytes),
        ("used", state.used, state.used_bytes),
        ("wasted", state.wasted, state.wasted_bytes),
    )
    yield counter(
        "thermocline_prefetches",
        "Contents fetched ahead.",
        ("result",),
        [((result,), count) for result, count, _ in results],
    )
    yield counter(
        "thermocline_prefetched_bytes", "Their bytes.", ("result",), [((result,), size) for result, _, size in results]
    )
    yield counter(
        "thermocline_prefetches_shed",
        "Times that nothing was fetched ahead.",
        ("reason",),
        [((reason,), (state.shed or {}).get(reason, 0)) for reason in REASONS],
    )
    yield gauge(
        "thermocline_prefetching",
        "Processes by whether prefetching is on.",
        ("mode",),
        [((mode.value,), state.mode is mode) for mode in Mode],
    )
    yield counter("thermocline_prefetching_switched_off", "How often it lost.", (), [((), state.switched_off)])
    yield gauge("thermocline_predictor_contents", "Contents that are known.", (), [((), state.contents)])
    yield gauge("thermocline_predictor_bytes", "Memory of it.", (), [((), state.predictor_bytes)])
    yield counter(
        "thermocline_predictor_reads",
        "Reads with a user context.",
        ("result",),
        [(("learned",), state.learned), (("dropped",), state.dropped)],
    )
    yield counter("thermocline_predictor_saves", "Saves.", (), [((), state.saves)])
    yield counter("thermocline_predictor_failures", "Failed ones.", (), [((), state.failures)])
    yield counter("thermocline_predictor_states_refused", "Damaged states.", (), [((), state.refused)])
