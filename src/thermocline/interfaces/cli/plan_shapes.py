"""A plan as text, as JSON (stable, documented in docs/reference/cli.md), and as what its report tells."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from thermocline.interfaces.cli.comparing import (
    date_of,
    period_names,
    unverified_as_json,
    write_courses,
    write_policies,
    write_unverified,
)
from thermocline.interfaces.cli.output import write_line
from thermocline.interfaces.cli.planned import GB, STAYING, Plan, left_out, notes
from thermocline.interfaces.cli.shapes import table_lines

if TYPE_CHECKING:
    from thermocline.adapters.inventories.readings import Joined, LoggedReads
    from thermocline.economics.guesses import Guess
    from thermocline.economics.plans import Replayed, Saving
    from thermocline.economics.present_bills import ClassBill
    from thermocline.interfaces.reports.page import Story

LONGEST_DAYS: Final = 60
"""Longer times are told in months."""
DAYS_PER_MONTH: Final = 30.4375
BILL_HEAD: Final = ("class", "objects", "GB", "USD a month", "storage", "monitoring", "requests", "retrieval")
SAVING_HEAD: Final = ("policy", "saved a month", "moves cost", "pay back after", "net")
GUESS_HEAD: Final = ("written before", "objects", "GB", "saved a month", "moves cost", "pay back after", "nothing at")


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """Return a plan as JSON-ready values."""
    told: dict[str, Any] = {
        "bucket": plan.bucket,
        "prefix": plan.prefix,
        "inventory_day": date_of(plan.day),
        "usd_month": plan.usd_month,
        "bill": [_bill_as_json(each) for each in plan.bill],
        "noncurrent": [_bill_as_json(each) for each in plan.noncurrent],
        "prices": plan.book,
        "classes": [each.name for each in plan.question.classes],
    }
    if plan.replayed is not None and plan.logged is not None and plan.joined is not None:
        told |= _replayed_as_json(plan.replayed, plan.logged, plan.joined)
    else:
        told["guesses"] = [
            {
                "age_days": each.age,
                "objects": each.objects,
                "bytes": each.bytes,
                "saved_usd_month": each.monthly,
                "moving_usd": each.once,
                "payback_months": _finite(_payback(each)),
                "break_even_days": each.break_even_days,
            }
            for each in plan.guesses
        ]
    return told | {
        "left_out": left_out(plan),
        "unverified_prices": unverified_as_json(plan.unverified),
        "notes": list(notes(plan)),
    }


def _replayed_as_json(replayed: "Replayed", logged: "LoggedReads", joined: "Joined") -> dict[str, Any]:
    tally = replayed.tally
    policies = {}
    for name, standing in tally.by_cost():
        saving = replayed.saving(name, STAYING)
        policies[name] = {
            "usd": standing.total,
            "ratio": tally.ratio(name),
            "moves": standing.moves,
            "parts": dict(standing.parts),
            "reasons": dict(standing.reasons),
            "saved_usd_month": saving.monthly,
            "moving_usd": saving.once,
            "payback_months": _finite(saving.payback_months),
            "net_usd": saving.net,
        }
    return {
        "accesses": logged.counts.accesses,
        "first_day": date_of(joined.reads.origin),
        "split_day": date_of(replayed.first_day),
        "last_day": date_of(joined.reads.origin + joined.reads.days - 1),
        "objects": tally.objects,
        "bytes": tally.bytes,
        "optimum_usd": tally.optimum.total,
        "policies": policies,
    }


def _bill_as_json(bill: "ClassBill") -> dict[str, Any]:
    return {
        "class": bill.class_name,
        "objects": bill.objects,
        "bytes": bill.bytes,
        "usd_month": None if bill.parts is None else bill.total,
        "parts": None if bill.parts is None else dict(bill.parts),
    }


def write_plan(plan: Plan) -> None:
    """Write a plan for people."""
    count = len(plan.inventory.current.sizes)
    size = int(plan.inventory.current.sizes.sum()) / GB
    write_line(
        f"s3://{plan.bucket}/{plan.prefix}: {count} objects, {size:.1f} GB by the inventory of {date_of(plan.day)}"
    )
    write_line("")
    _write_table(BILL_HEAD, _bill_rows(plan))
    write_line("")
    if plan.replayed is not None and plan.logged is not None and plan.joined is not None:
        _write_replayed(plan, plan.replayed, plan.logged, plan.joined)
    else:
        _write_guesses(plan)
    for note in notes(plan):
        write_line(f"note: {note}")
    write_unverified(plan.unverified)


def _write_replayed(plan: Plan, replayed: "Replayed", logged: "LoggedReads", joined: "Joined") -> None:
    tally = replayed.tally
    first, last = joined.reads.origin, joined.reads.origin + joined.reads.days - 1
    write_line(
        f"{logged.counts.accesses} reads from {date_of(first)} to {date_of(last)}; {tally.objects} objects "
        f"({tally.bytes / GB:.1f} GB) may be moved"
    )
    write_line(
        f"paid from {date_of(replayed.first_day)} on, in {', '.join(each.name for each in plan.question.classes)}"
    )
    write_line("")
    policies = dict(tally.by_cost())
    write_policies(tally.optimum, policies)
    write_line("")
    _write_table(SAVING_HEAD, _saving_rows(replayed))
    write_courses(tally.optimum.course, policies)


def _write_guesses(plan: Plan) -> None:
    write_line("without logs this is a guess, by age alone: saved if nothing is ever read again, down to nothing if")
    write_line("each object is read as often as the last column says; add --logs")
    write_line("")
    _write_table(GUESS_HEAD, _guess_rows(plan))


def _write_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for line in table_lines(head, rows, right=range(1, len(head))):
        write_line(line)


def _bill_rows(plan: Plan) -> list[list[str]]:
    rows = [_bill_row(each.class_name, each) for each in plan.bill]
    rows += [_bill_row(f"{each.class_name}, noncurrent", each) for each in plan.noncurrent]
    everything = [*plan.bill, *plan.noncurrent]
    objects, size = sum(each.objects for each in everything), sum(each.bytes for each in everything)
    sums = [sum(each.parts[part] for each in everything if each.parts is not None) for part in BILL_HEAD[4:]]
    rows.append(["all", str(objects), f"{size / GB:.1f}", f"{plan.usd_month:.4g}", *(f"{value:.4g}" for value in sums)])
    return rows


def _bill_row(name: str, bill: "ClassBill") -> list[str]:
    told = [name, str(bill.objects), f"{bill.bytes / GB:.1f}"]
    if bill.parts is None:
        return [*told, "no price", *("" for _ in BILL_HEAD[4:])]
    return [*told, f"{bill.total:.4g}", *(f"{bill.parts[part]:.4g}" for part in BILL_HEAD[4:])]


def _saving_rows(replayed: "Replayed") -> list[list[str]]:
    return [
        [
            name,
            f"{saving.monthly:.4g}",
            f"{saving.once:.4g}",
            _time(saving.payback_months),
            f"{saving.net:.4g}",
        ]
        for name, saving in _savings(replayed)
    ]


def _savings(replayed: "Replayed") -> "list[tuple[str, Saving]]":
    return [(name, replayed.saving(name, STAYING)) for name, _ in replayed.tally.by_cost() if name != STAYING]


def _guess_rows(plan: Plan) -> list[list[str]]:
    return [
        [
            f"{each.age} days" if each.age else "today",
            str(each.objects),
            f"{each.bytes / GB:.1f}",
            f"{each.monthly:.4g}",
            f"{each.once:.4g}",
            _time(_payback(each)),
            f"a read in {each.break_even_days:.0f} days" if each.objects else "",
        ]
        for each in plan.guesses
    ]


def _payback(guess: "Guess") -> float:
    if guess.once <= 0:
        return 0.0
    return guess.once / guess.monthly if guess.monthly > 0 else math.inf


def _time(months: float) -> str:
    if not math.isfinite(months):
        return "never"
    days = math.ceil(months * DAYS_PER_MONTH)
    return f"{days} day{'s' if days != 1 else ''}" if days <= LONGEST_DAYS else f"{months:.1f} months"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def plan_story(plan: Plan) -> "Story":
    """Return what the report of a plan with logs tells beside the figures."""
    from thermocline.interfaces.reports.amounts import usd
    from thermocline.interfaces.reports.page import Story, Table

    if plan.replayed is None or plan.joined is None:
        raise AssertionError("only what was replayed is reported")
    replayed, reads = plan.replayed, plan.joined.reads
    first = [
        Table(
            "Today's bill",
            BILL_HEAD,
            _bill_rows(plan),
            f"US dollars a month, as it lay on {date_of(plan.day)}, with every read that was logged.",
        ),
        Table(
            "What is saved",
            SAVING_HEAD,
            _saving_rows(replayed),
            "US dollars, against leaving everything where it is. What moves cost, early deletion included, is "
            "paid in the time that was replayed; net is what is saved in that time after it.",
        ),
    ]
    name, saving = _savings(replayed)[0] if len(replayed.tally.policies) > 1 else (STAYING, None)
    verdict = f"It costs {usd(plan.usd_month)} USD a month today."
    if saving is not None and saving.net > 0:
        verdict += (
            f" With {name} it would have been {usd(saving.monthly)} USD a month less; the moves cost "
            f"{usd(saving.once)} USD and pay back after {_time(saving.payback_months)}."
        )
    else:
        verdict += " No policy would have saved anything in the time of the logs."
    start = replayed.first_day - reads.origin
    return Story(
        title=f"What tiering would save: s3://{plan.bucket}/{plan.prefix}",
        verdict=verdict,
        setting={
            "inventory": f"of {date_of(plan.day)}: {len(plan.inventory.current.sizes):,} objects, "
            f"{int(plan.inventory.current.sizes.sum()) / GB:,.1f} GB",
            "logs": f"{date_of(reads.origin)} to {date_of(reads.origin + reads.days - 1)}",
            "paid from": f"{date_of(replayed.first_day)} on (split {plan.question.split:g}); before it is the past, "
            "which policies may learn from",
            "compared": f"{replayed.tally.objects:,} objects, {replayed.tally.bytes / GB:,.1f} GB, "
            "each beginning in the class that the inventory says",
            "classes": ", ".join(each.name for each in plan.question.classes),
            "delayed read": f"{plan.question.delayed_read:g} USD",
        },
        periods=period_names(reads.origin, start, reads.days),
        notes=list(notes(plan)),
        first=first,
    )
