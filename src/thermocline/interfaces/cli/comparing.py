"""What commands that compare policies share: prices as options, and the comparison as text."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from thermocline.interfaces.cli.exits import UsageError
from thermocline.interfaces.cli.output import write_line
from thermocline.interfaces.cli.shapes import table_lines

if TYPE_CHECKING:
    from thermocline.domain.units import Usd
    from thermocline.economics.figures import ClassPrices
    from thermocline.economics.price_books import UnverifiedPrice
    from thermocline.economics.tallies import Standing, Tally
    from thermocline.interfaces.reports.page import Story

PERIODS: Final = 12
"""Of the plots: each is billed by itself."""
FULL_SHARE: Final = 2.5
"""A full bar is at most so many times the highest of the optimum."""
BARS: Final = "▁▂▃▄▅▆▇█"
PLAIN_BARS: Final = "_.-=+*%#"
"""Where the output cannot show the others."""
OPTIMUM: Final = "optimum"

PricesOption = Annotated[str, typer.Option(metavar="BOOK", help="Prices: s3, r2, gcs, azure or b2.")]
PoliciesOption = Annotated[str, typer.Option(metavar="NAMES", help="Which policies, such as idle,age; all for all.")]
OwnPriceOption = Annotated[
    list[str] | None,
    typer.Option("--price", metavar="FIGURE=USD", help="Your own price: s3.standard.storage=0.021; repeated."),
]
DelayedReadOption = Annotated[
    float, typer.Option(metavar="USD", help="What a read costs you that waits for a restore; inf: none may.")
]
RestoreSpeedOption = Annotated[
    str, typer.Option(metavar="SPEED", help="How archives are read: bulk, standard or expedited.")
]
ReportOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Write a report there: one page of HTML.")]


def wanted_prices(
    book: str, classes: str | None, own: Sequence[str], speed: str
) -> tuple["dict[str, ClassPrices]", "tuple[ClassPrices, ...]"]:
    """Return all prices by class, and those of the classes to choose from. Raises `UsageError`, `InvalidInputError`."""
    from thermocline.economics.price_books import at_speed, chosen, default_classes, with_overrides

    known = dict(with_overrides(_overrides(own)))
    names = default_classes(book) if classes is None else tuple(name.strip() for name in classes.split(","))
    return known, tuple(at_speed(each, speed) for each in chosen(known, names))


def _overrides(own: Sequence[str]) -> dict[str, dict[str, float]]:
    figures: dict[str, dict[str, float]] = {}
    for text in own:
        name, _, value = text.partition("=")
        class_name, _, figure = name.strip().rpartition(".")
        try:
            figures.setdefault(class_name, {})[figure] = float(value)
        except ValueError as exc:
            raise UsageError(f"not a price: {text!r}", "write it as s3.standard.storage=0.021") from exc
    return figures


def checked_split(split: float) -> float:
    """Return it. Raises `UsageError` for what is no share of a time."""
    if not 0 <= split < 1:
        raise UsageError(f"a split is at least 0 and below 1, not {split}")
    return split


def checked_delay(price: float) -> "Usd":
    """Return the price of a delayed read. Raises `UsageError` for a negative one."""
    from thermocline.domain.units import Usd

    if not price >= 0:
        raise UsageError(f"the price of a delayed read is not negative, not {price}")
    return Usd(price)


def date_of(day: int) -> str:
    """Return the date of a day counted from 1970-01-01 on."""
    import numpy as np

    return str(np.datetime64(day, "D"))


def period_names(origin: int, start: int, days: int) -> list[str]:
    """Return the first date of each of the periods, of a history that begins on day `origin`."""
    from thermocline.economics.courses import points_of

    return [date_of(origin + begin) for begin in (start, *points_of(start, days, PERIODS)[:-1])]


def write_policies(optimum: "Standing", policies: "Mapping[str, Standing]") -> None:
    """Write a line for each policy, in this order, against the optimum."""
    least = optimum.total
    used = [
        part
        for part in next(iter(policies.values())).parts
        if any(standing.parts[part] for standing in policies.values())
    ]
    head = ["policy", "USD", "x optimum", *(part.replace("_", " ") for part in used), "moved"]
    rows = [[OPTIMUM, f"{least:.4g}", "1.000", *("" for _ in used), ""]]
    rows += [
        [
            name,
            f"{standing.total:.4g}",
            f"{standing.total / least if least else 1.0:.3f}",
            *(f"{standing.parts[part]:.4g}" for part in used),
            str(standing.moves),
        ]
        for name, standing in policies.items()
    ]
    for line in table_lines(head, rows, right=range(1, len(head))):
        write_line(line)


def write_courses(optimum: Sequence[float], policies: "Mapping[str, Standing]") -> None:
    """Write a plot of the cost of each period."""
    courses = {OPTIMUM: optimum} | {name: standing.course for name, standing in policies.items()}
    # What is far off must not make everything else look the same.
    highest = max((cost for course in courses.values() for cost in course), default=0.0)
    full = min(highest, FULL_SHARE * max(optimum, default=0.0)) or highest
    if full <= 0:
        return
    bars = BARS if _can_show(BARS) else PLAIN_BARS
    width = max(map(len, courses))
    write_line("")
    write_line(f"{'over time'.ljust(width)}  full: {full:.4g} USD{' or more' if full < highest else ''} a period")
    for name, course in courses.items():
        shown = "".join(bars[min(int(max(cost, 0.0) / full * len(bars)), len(bars) - 1)] for cost in course)
        write_line(f"{name.ljust(width)}  {shown}")


def write_unverified(prices: "Sequence[UnverifiedPrice]") -> None:
    """Write which prices nobody read in the vendor's page, if there are any."""
    if not prices:
        return
    figures: dict[str, list[str]] = {}
    for each in prices:
        figures.setdefault(each.class_name, []).append(each.figure.replace("_", " "))
    told = "; ".join(f"{name} ({', '.join(names)})" for name, names in figures.items())
    write_line(f"prices not verified in the vendor's page: {told}")


def write_report(path: Path, told: "Tally", story: "Story") -> None:
    """Write the report, whole or not at all. Raises `FileTreeError` if it cannot be written."""
    from thermocline.adapters.files.whole_files import whole_file
    from thermocline.interfaces.reports.page import report

    page = report(told, story)
    with whole_file(path) as file:
        # A name that is no text is shown as such rather than as bytes that no browser reads.
        file.write(page.encode("utf-8", "backslashreplace").decode())


def unverified_as_json(prices: "Sequence[UnverifiedPrice]") -> list[dict[str, object]]:
    """Return them as JSON-ready values."""
    return [
        {
            "class": each.class_name,
            "figure": each.figure,
            "value": each.value,
            "source": each.source,
            "date": each.date,
        }
        for each in prices
    ]


def _can_show(text: str) -> bool:
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
