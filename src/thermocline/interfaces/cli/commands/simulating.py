"""`simulate`: what each policy would have cost on a trace, against the least that there was to pay."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thermocline.interfaces.cli.exits import UsageError
from thermocline.interfaces.cli.options import ConfigOption, DataOption, JsonOption, invocation
from thermocline.interfaces.cli.output import write_json, write_line
from thermocline.interfaces.cli.progress import Progress
from thermocline.interfaces.cli.shapes import table_lines

if TYPE_CHECKING:
    from thermocline.adapters.traces.reading import Trace
    from thermocline.economics.comparisons import Comparison, Outcome, Question
    from thermocline.economics.figures import ClassPrices
    from thermocline.economics.histories import History

FROM_TRACE = "trace"
PERIODS = 12
"""Of the plot: each is billed by itself."""
FULL_SHARE = 2.5
"""A full bar is at most so many times the highest of the optimum."""
BARS = "▁▂▃▄▅▆▇█"
PLAIN_BARS = "_.-=+*%#"
"""Where the output cannot show the others."""
DRAWN_SIZES = "lognormal:4MB:1.8:1"
"""Where a trace has none."""


def simulate(
    ctx: typer.Context,
    source: Annotated[
        Path, typer.Argument(metavar="TRACE", help="CSV or Parquet with ts, obj and perhaps size, or an access log.")
    ],
    prices: Annotated[str, typer.Option(metavar="BOOK", help="Prices: s3, r2, gcs, azure or b2.")] = "s3",
    policies: Annotated[
        str, typer.Option(metavar="NAMES", help="Which policies, such as idle,age; all for all.")
    ] = "all",
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
    price: Annotated[
        list[str] | None,
        typer.Option("--price", metavar="FIGURE=USD", help="Your own price: s3.standard.storage=0.021; repeated."),
    ] = None,
    delayed_read: Annotated[
        float, typer.Option(metavar="USD", help="What a read costs you that waits for a restore; inf: none may.")
    ] = 0.0,
    restore_speed: Annotated[
        str, typer.Option(metavar="SPEED", help="How archives are read: bulk, standard or expedited.")
    ] = "standard",
    timeline: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all moves there: policy,obj,ts,class.")
    ] = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
) -> None:
    """Replay a trace under every policy, and say what each costs against the clairvoyant optimum.

    Costs count from the split on; policies may learn from what lies before.
    """
    from thermocline.adapters.traces.timelines import write_timeline
    from thermocline.economics.comparisons import Question, compare, policy_names, steps_of

    call = invocation(ctx, config, data, as_json)
    known, wanted = _prices(prices, classes, price or [], restore_speed)
    question = Question(
        classes=wanted,
        policies=policy_names(policies),
        prices=known,
        split=_checked_split(split),
        delayed_read=_checked_price(delayed_read),
        periods=0 if call.as_json else PERIODS,
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
    if call.as_json:
        write_json(_as_json(trace, history, question, comparison, prices, told_sizes))
    else:
        _write_table(trace, history, question, comparison, told_sizes)


def _prices(
    book: str, classes: str | None, own: list[str], speed: str
) -> tuple["dict[str, ClassPrices]", "tuple[ClassPrices, ...]"]:
    from thermocline.economics.price_books import at_speed, chosen, default_classes, with_overrides

    known = dict(with_overrides(_overrides(own)))
    names = default_classes(book) if classes is None else tuple(name.strip() for name in classes.split(","))
    return known, tuple(at_speed(each, speed) for each in chosen(known, names))


def _overrides(own: list[str]) -> dict[str, dict[str, float]]:
    figures: dict[str, dict[str, float]] = {}
    for text in own:
        name, _, value = text.partition("=")
        class_name, _, figure = name.strip().rpartition(".")
        try:
            figures.setdefault(class_name, {})[figure] = float(value)
        except ValueError as exc:
            raise UsageError(f"not a price: {text!r}", "write it as s3.standard.storage=0.021") from exc
    return figures


def _checked_split(split: float) -> float:
    if not 0 <= split < 1:
        raise UsageError(f"a split is at least 0 and below 1, not {split}")
    return split


def _checked_price(price: float) -> Any:
    if not price >= 0:
        raise UsageError(f"the price of a delayed read is not negative, not {price}")
    return price


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


def _by_cost(comparison: "Comparison") -> "list[tuple[str, Outcome]]":
    return sorted(comparison.outcomes.items(), key=lambda each: each[1].bill.total)


def _write_courses(comparison: "Comparison") -> None:
    courses = {"optimum": comparison.optimum_course}
    courses |= {name: outcome.course for name, outcome in _by_cost(comparison)}
    # What is far off must not make everything else look the same.
    highest = max((cost for course in courses.values() for cost in course), default=0.0)
    full = min(highest, FULL_SHARE * max(comparison.optimum_course, default=0.0)) or highest
    if full <= 0:
        return
    bars = BARS if _can_show(BARS) else PLAIN_BARS
    width = max(map(len, courses))
    write_line("")
    write_line(f"{'over time'.ljust(width)}  full: {full:.4g} USD{' or more' if full < highest else ''} a period")
    for name, course in courses.items():
        shown = "".join(bars[min(int(max(cost, 0.0) / full * len(bars)), len(bars) - 1)] for cost in course)
        write_line(f"{name.ljust(width)}  {shown}")


def _can_show(text: str) -> bool:
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


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
        "first_day": _date(history, 0),
        "split_day": _date(history, comparison.first_day),
        "last_day": _date(history, history.days - 1),
        "unverified_prices": [
            {"class": each.class_name, "figure": each.figure, "value": each.value, "source": each.source}
            for each in comparison.unverified
        ],
        "notes": list(trace.notes),
    }


def _date(history: "History", day: int) -> str:
    import numpy as np

    return str(np.datetime64(history.origin + day, "D"))


def _write_table(
    trace: "Trace", history: "History", question: "Question", comparison: "Comparison", sizes: str
) -> None:
    drawn = "sizes of the trace" if sizes == FROM_TRACE else f"sizes drawn, {sizes}"
    write_line(
        f"{trace.accesses} accesses to {history.object_count} objects, {history.sizes.sum() / 1e9:.1f} GB ({drawn})"
    )
    write_line(
        f"paid from {_date(history, comparison.first_day)} to {_date(history, history.days - 1)}, "
        f"in {', '.join(each.name for each in question.classes)}"
    )
    write_line("")
    used = [
        part
        for part in next(iter(comparison.outcomes.values())).bill.parts()
        if any(outcome.bill.parts()[part] for outcome in comparison.outcomes.values())
    ]
    head = ["policy", "USD", "x optimum", *(part.replace("_", " ") for part in used), "moved"]
    rows = [["optimum", f"{comparison.optimum:.4g}", "1.000", *("" for _ in used), ""]]
    for name, outcome in _by_cost(comparison):
        parts = outcome.bill.parts()
        rows.append(
            [
                name,
                f"{outcome.bill.total:.4g}",
                f"{outcome.ratio:.3f}",
                *(f"{parts[part]:.4g}" for part in used),
                str(len(outcome.moves)),
            ]
        )
    for line in table_lines(head, rows, right=range(1, len(head))):
        write_line(line)
    _write_courses(comparison)
    for note in trace.notes:
        write_line(f"note: {note}")
    for name, outcome in comparison.outcomes.items():
        for note in outcome.notes:
            write_line(f"note: {name}: {note}")
    if comparison.unverified:
        figures: dict[str, list[str]] = {}
        for each in comparison.unverified:
            figures.setdefault(each.class_name, []).append(each.figure.replace("_", " "))
        told = "; ".join(f"{name} ({', '.join(names)})" for name, names in figures.items())
        write_line(f"prices not verified in the vendor's page: {told}")
