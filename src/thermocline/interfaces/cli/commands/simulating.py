"""`simulate`: what each policy would have cost on a trace, against the least that there was to pay."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thermocline.interfaces.cli.comparing import (
    PERIODS,
    DelayedReadOption,
    OwnPriceOption,
    PoliciesOption,
    PricesOption,
    ReportOption,
    RestoreSpeedOption,
    checked_delay,
    checked_split,
    date_of,
    period_names,
    unverified_as_json,
    wanted_prices,
    write_courses,
    write_policies,
    write_report,
    write_unverified,
)
from thermocline.interfaces.cli.exits import UsageError
from thermocline.interfaces.cli.options import ConfigOption, DataOption, JsonOption, invocation
from thermocline.interfaces.cli.output import write_json, write_line
from thermocline.interfaces.cli.progress import Progress

if TYPE_CHECKING:
    from thermocline.adapters.traces.reading import Trace
    from thermocline.economics.comparisons import Comparison, Question
    from thermocline.economics.histories import History
    from thermocline.economics.tallies import Tally
    from thermocline.interfaces.reports.page import Story

FROM_TRACE = "trace"
DRAWN_SIZES = "lognormal:4MB:1.8:1"
"""Where a trace has none."""


def simulate(
    ctx: typer.Context,
    source: Annotated[
        Path, typer.Argument(metavar="TRACE", help="CSV or Parquet with ts, obj and perhaps size, or an access log.")
    ],
    prices: PricesOption = "s3",
    policies: PoliciesOption = "all",
    split: Annotated[
        float, typer.Option(metavar="SHARE", help="This share of the trace's time is the past, and is not paid for.")
    ] = 0.5,
    sizes: Annotated[
        str | None,
        typer.Option(metavar="SIZES", help="trace, or lognormal:MEDIAN:SIGMA:SEED; of the trace if it has any."),
    ] = None,
    classes: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Storage classes to choose from; all begins in the first.")
    ] = None,
    price: OwnPriceOption = None,
    delayed_read: DelayedReadOption = 0.0,
    restore_speed: RestoreSpeedOption = "standard",
    timeline: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all moves there: policy,obj,ts,class.")
    ] = None,
    report: ReportOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
) -> None:
    """Replay a trace under every policy, and say what each costs against the clairvoyant optimum.

    Costs count from the split on; policies may learn from what lies before.
    """
    from thermocline.adapters.traces.timelines import write_timeline
    from thermocline.economics.comparisons import Question, compare, policy_names, steps_of
    from thermocline.economics.tallies import tally

    call = invocation(ctx, config, data, as_json)
    known, wanted = wanted_prices(prices, classes, price or [], restore_speed)
    question = Question(
        classes=wanted,
        policies=policy_names(policies),
        prices=known,
        split=checked_split(split),
        delayed_read=checked_delay(delayed_read),
        periods=0 if call.as_json and report is None else PERIODS,
    )
    drawing = _drawing(sizes)
    trace = _read(source)
    history, told_sizes = _sized(trace, drawing, wants_trace=sizes == FROM_TRACE)
    with Progress("simulate", total=steps_of(question, history), in_bytes=False) as progress:
        comparison = compare(history, question, progress=progress.advance)
    if timeline is not None:
        write_timeline(
            timeline,
            {name: outcome.moves for name, outcome in comparison.outcomes.items()},
            object_ids=trace.object_ids,
            classes=[each.name for each in comparison.classes],
            origin=history.origin,
        )
    if report is not None:
        told = tally(history, comparison)
        write_report(report, told, _story(source, trace, history, question, told_sizes, told))
    if call.as_json:
        write_json(_as_json(trace, history, question, comparison, prices, told_sizes))
    else:
        _write_table(trace, history, question, comparison, told_sizes)


def _drawing(sizes: str | None) -> Any:
    """Return the distribution that was asked for, None if none was. Refused before the trace is read."""
    from thermocline.economics.sizes import LogNormalSizes

    return None if sizes in {None, FROM_TRACE} else LogNormalSizes.parse(str(sizes))


def _read(source: Path) -> "Trace":
    from thermocline.adapters.traces.reading import read_trace

    total = source.stat().st_size if source.is_file() else None
    with Progress(f"read {os.fsdecode(source.name)}", total=total) as progress:
        return read_trace(source, progress=progress.advance)


def _sized(trace: "Trace", drawing: Any, *, wants_trace: bool) -> tuple["History", str]:
    """Return the history with the sizes to use, and where they are from."""
    from thermocline.economics.sizes import LogNormalSizes

    if drawing is None and trace.has_sizes:
        return trace.history, FROM_TRACE
    if wants_trace:
        raise UsageError("the trace has no sizes", f"draw them with --sizes {DRAWN_SIZES}")
    drawn = drawing or LogNormalSizes.parse(DRAWN_SIZES)
    return trace.history.with_sizes(drawn.draw(trace.object_ids)), str(drawn)


def _as_json(
    trace: "Trace", history: "History", question: "Question", comparison: "Comparison", book: str, sizes: str
) -> dict[str, Any]:
    return {
        "optimum_usd": comparison.optimum,
        "objects": history.object_count,
        "policies": {
            name: {
                "usd": outcome.bill.total,
                "ratio": outcome.ratio,
                "moves": len(outcome.moves),
                "parts": outcome.bill.parts(),
                "reasons": dict(outcome.reasons),
                "notes": list(outcome.notes),
            }
            for name, outcome in comparison.outcomes.items()
        },
        "prices": book,
        "classes": [each.name for each in question.classes],
        "sizes": sizes,
        "bytes": int(history.sizes.sum()),
        "accesses": trace.accesses,
        "first_day": date_of(history.origin),
        "split_day": date_of(history.origin + comparison.first_day),
        "last_day": date_of(history.origin + history.days - 1),
        "unverified_prices": unverified_as_json(comparison.unverified),
        "notes": list(trace.notes),
    }


def _write_table(
    trace: "Trace", history: "History", question: "Question", comparison: "Comparison", sizes: str
) -> None:
    from thermocline.economics.tallies import tally

    first, last = history.origin + comparison.first_day, history.origin + history.days - 1
    write_line(_told_trace(trace, history, sizes))
    write_line(f"paid from {date_of(first)} to {date_of(last)}, in {', '.join(each.name for each in question.classes)}")
    write_line("")
    told = tally(history, comparison)
    policies = dict(told.by_cost())
    write_policies(told.optimum, policies)
    write_courses(told.optimum.course, policies)
    for note in (*trace.notes, *told.notes):
        write_line(f"note: {note}")
    write_unverified(told.unverified)


def _told_trace(trace: "Trace", history: "History", sizes: str) -> str:
    drawn = "sizes of the trace" if sizes == FROM_TRACE else f"sizes drawn, {sizes}"
    return f"{trace.accesses} accesses to {history.object_count} objects, {history.sizes.sum() / 1e9:.1f} GB ({drawn})"


def _story(
    source: Path, trace: "Trace", history: "History", question: "Question", sizes: str, told: "Tally"
) -> "Story":
    """Return what the report tells beside the figures."""
    from thermocline.interfaces.reports.page import Story, verdict

    start = history.split_day(question.split)
    return Story(
        title=f"What tiering would have cost: {os.fsdecode(source.name)}",
        verdict=verdict(told),
        setting={
            "trace": f"{os.fsdecode(source.name)}: {_told_trace(trace, history, sizes)}",
            "time": f"{date_of(history.origin)} to {date_of(history.origin + history.days - 1)}",
            "paid from": f"{date_of(history.origin + start)} on (split {question.split:g}); "
            "before it is the past, which policies may learn from",
            "classes": f"{', '.join(each.name for each in question.classes)}; everything begins in the first",
            "delayed read": f"{question.delayed_read:g} USD",
        },
        periods=period_names(history.origin, start, history.days),
        notes=[*trace.notes, *told.notes],
    )
