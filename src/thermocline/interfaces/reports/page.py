"""The report on a comparison of policies: a table of everything, plots of it, and where each policy loses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Any, Final

import jinja2
import numpy as np

from thermocline.economics.bills import PARTS
from thermocline.economics.losses import READ_BINS, SIZE_BINS, Losses
from thermocline.economics.tallies import Standing, Tally
from thermocline.interfaces.reports.amounts import amount_of_bytes, usd
from thermocline.interfaces.reports.charts import bar_chart, line_chart

TEMPLATE: Final = "report.html.jinja"
OPTIMUM: Final = "optimum"
STAYING: Final = "stay"
READ_WORDS: Final = (
    "never read",
    "read on less than one day a month",
    "read on 1 to 3 days a month",
    "read on 3 to 10 days a month",
    "read on 10 days a month and more",
)
STRONGEST_TINT: Final = 70
"""Per cent of the colour, in the cell with the largest loss."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the report; what stands in it is text, escaped by the template. Numbers stand right of the first."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: str = ""
    """What to know about it."""
    left: Sequence[int] = (0,)
    """Columns of words."""


@dataclass(frozen=True, slots=True)
class Story:
    """What a report tells beside the figures of the comparison."""

    title: str
    verdict: str
    """What it comes to, in a sentence or two."""
    setting: Mapping[str, str]
    """What was asked, and of what."""
    periods: Sequence[str]
    """What the parts of the time are called."""
    notes: Sequence[str] = ()
    first: Sequence[Table] = field(default_factory=list)
    """Tables that stand before all others."""


def report(tally: Tally, story: Story) -> str:
    """Return the whole page as HTML."""
    by_cost = tally.by_cost()
    names = [OPTIMUM, *(name for name, _ in by_cost)]
    standings = {OPTIMUM: tally.optimum, **dict(by_cost)}
    used = [part for part in PARTS if any(standing.parts[part] for standing in standings.values())]
    return _template().render(
        story=story,
        version=version("thermocline"),
        styles={name: number for number, name in enumerate(names)},
        parts={part: (PARTS.index(part), _words(part)) for part in used},
        policies=_policies(tally, standings, used),
        costs=line_chart({name: standing.course for name, standing in standings.items()}, story.periods),
        course_table=_course_table(standings, story.periods),
        saved=_saved(standings, story.periods),
        bars=bar_chart({name: standing.parts for name, standing in standings.items()}, used),
        objects=_objects(tally.losses),
        losses=[_loss(tally, name, standing, used) for name, standing in by_cost],
        unverified=tally.unverified,
        usd=usd,
    )


def verdict(tally: Tally) -> str:
    """Return what the comparison comes to, in words."""
    name, best = tally.by_cost()[0]
    told = f"Of the policies, {name} is the cheapest: {usd(best.total)} USD, {tally.ratio(name):.3f} times the optimum"
    staying = tally.policies.get(STAYING)
    if staying is None or name == STAYING or not staying.total:
        return f"{told}."
    share = 1 - best.total / staying.total
    return f"{told}, and {share:.1%} less than moving nothing ({usd(staying.total)} USD)."


def _policies(tally: Tally, standings: Mapping[str, Standing], used: Sequence[str]) -> Table:
    head = ["policy", "USD", "x optimum", *map(_words, used), "moved"]
    rows = [
        [
            name,
            usd(standing.total),
            "1.000" if name == OPTIMUM else f"{tally.ratio(name):.3f}",
            *(usd(standing.parts[part]) for part in used),
            "" if name == OPTIMUM else f"{standing.moves:,}",
        ]
        for name, standing in standings.items()
    ]
    return Table("Policies", head, rows)


def _course_table(standings: Mapping[str, Standing], periods: Sequence[str]) -> Table:
    rows = [
        [label, *(usd(standing.course[number]) for standing in standings.values())]
        for number, label in enumerate(periods)
    ]
    return Table("Cost over time, USD a period", ["from", *standings], rows)


def _saved(standings: Mapping[str, Standing], periods: Sequence[str]) -> Any:
    """Return the chart of what had been saved against moving nothing, None where nobody asked what that costs."""
    staying = standings.get(STAYING)
    if staying is None or len(standings) <= 2:  # noqa: PLR2004 - besides it, only the optimum
        return None
    return line_chart(
        {
            name: np.cumsum(np.subtract(staying.course, standing.course)).tolist()
            for name, standing in standings.items()
            if name != STAYING
        },
        periods,
    )


def _bins(losses: Losses) -> tuple[list[int], list[int]]:
    """Return the rows and columns that have objects."""
    there = losses.objects > 0
    return np.flatnonzero(there.any(axis=1)).tolist(), np.flatnonzero(there.any(axis=0)).tolist()


def _objects(losses: Losses) -> Table:
    rows, columns = _bins(losses)
    return Table(
        "Objects, by size and days with reads a month",
        ["size", *(READ_BINS[column] for column in columns)],
        [
            [
                SIZE_BINS[row],
                *(
                    f"{losses.objects[row, column]:,} ({amount_of_bytes(losses.sizes[row, column])})"
                    if losses.objects[row, column]
                    else ""
                    for column in columns
                ),
            ]
            for row in rows
        ],
    )


def _loss(tally: Tally, name: str, standing: Standing, used: Sequence[str]) -> dict[str, Any]:
    losses = tally.losses
    beyond = losses.beyond[name]
    rows, columns = _bins(losses)
    most = float(np.abs(beyond).max(initial=0.0)) or 1.0
    cells = [
        [
            {
                "usd": usd(float(beyond[row, column])),
                "tint": round(STRONGEST_TINT * abs(float(beyond[row, column])) / most),
                "is_loss": bool(beyond[row, column] >= 0),
                "is_empty": not losses.objects[row, column],
            }
            for column in columns
        ]
        for row in rows
    ]
    worst = np.unravel_index(int(beyond.argmax()), beyond.shape)
    return {
        "name": name,
        "total": usd(standing.total - tally.optimum.total),
        "is_cheaper": standing.total < tally.optimum.total,
        "worst": f"{SIZE_BINS[int(worst[0])]}, {READ_WORDS[int(worst[1])]}",
        "worst_usd": usd(float(beyond.max(initial=0.0))),
        "has_loss": bool(beyond.max(initial=0.0) > 0),
        "parts": Table(
            f"By part, {name} and the optimum",
            ["part", name, OPTIMUM, "difference"],
            [
                [
                    _words(part),
                    usd(standing.parts[part]),
                    usd(tally.optimum.parts[part]),
                    _signed(standing.parts[part] - tally.optimum.parts[part]),
                ]
                for part in used
            ],
        ),
        "columns": [READ_BINS[column] for column in columns],
        "rows": [(SIZE_BINS[row], cells[number]) for number, row in enumerate(rows)],
    }


def _signed(value: float) -> str:
    return f"+{usd(value)}" if value > 0 else usd(value).replace("-", "\N{MINUS SIGN}")


def _words(part: str) -> str:
    return part.replace("_", " ")


@cache
def _template() -> jinja2.Template:
    """Return the template; whatever is put into it is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("thermocline.interfaces.reports", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE)
