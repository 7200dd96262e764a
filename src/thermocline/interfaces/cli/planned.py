"""What `plan` found: the bill, the policies on what was read, and what was left out, with the reason."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from thermocline.adapters.inventories.reading import Inventory
    from thermocline.adapters.inventories.readings import Joined, LoggedReads
    from thermocline.economics.comparisons import Question
    from thermocline.economics.guesses import Guess
    from thermocline.economics.plans import Replayed
    from thermocline.economics.present_bills import ClassBill
    from thermocline.economics.price_books import UnverifiedPrice

STAYING: Final = "stay"
"""The policy that moves nothing."""
GB: Final = 1e9


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that the command found."""

    bucket: str
    prefix: str
    question: "Question"
    book: str
    inventory: "Inventory"
    day: int
    """As of which the bill is, from 1970-01-01 on."""
    bill: "Sequence[ClassBill]"
    noncurrent: "Sequence[ClassBill]"
    logged: "LoggedReads | None"
    joined: "Joined | None"
    replayed: "Replayed | None"
    guesses: "Sequence[Guess]"
    """Where there are no logs."""

    @property
    def usd_month(self) -> float:
        """Return what everything that has a price costs a month today."""
        return sum(each.total for each in (*self.bill, *self.noncurrent))

    @property
    def unverified(self) -> "Sequence[UnverifiedPrice]":
        """Return the prices that this rests on and that nobody read in the vendor's page."""
        from thermocline.economics.price_books import unverified

        names = dict.fromkeys(each.name for each in self.question.classes)
        if self.replayed is not None:
            names |= dict.fromkeys(each.class_name for each in self.replayed.tally.unverified)
        names |= dict.fromkeys(each.class_name for each in self.bill if each.parts is not None)
        return unverified(self.question.prices[name] for name in names)


def left_out(plan: Plan) -> dict[str, int]:
    """Return what was not understood, or does not count in the comparison, by reason."""
    inventory = plan.inventory
    counts = {
        "delete_markers": inventory.markers,
        "noncurrent_versions": len(inventory.noncurrent.sizes),
        "rows_elsewhere": inventory.outside,
        "duplicate_keys": inventory.duplicates,
        "unpriced_objects": sum(each.objects for each in (*plan.bill, *plan.noncurrent) if each.parts is None),
    }
    if plan.replayed is not None and plan.logged is not None and plan.joined is not None:
        logs = plan.logged.counts
        counts |= {
            "objects_in_other_classes": plan.replayed.elsewhere,
            "objects_written_later": plan.replayed.too_young,
            "unknown_names": plan.joined.unknown_objects,
            "unknown_reads": plan.joined.unknown_reads,
            "log_lines_no_reads": logs.skipped,
            "log_lines_other_buckets": logs.elsewhere,
            "log_lines_unreadable": logs.unreadable,
            "empty_log_files": logs.empty_files,
        }
    return counts


def notes(plan: Plan) -> Iterator[str]:
    """Yield what was not understood, does not count, or has to be known to read the figures."""
    inventory = plan.inventory
    if len(inventory.noncurrent.sizes):
        yield (
            f"{len(inventory.noncurrent.sizes)} objects are noncurrent versions: they are in the bill, and not moved"
        )
    if inventory.markers:
        yield f"{inventory.markers} delete markers do not count"
    if inventory.outside:
        yield f"{inventory.outside} rows of the inventory are not of s3://{plan.bucket}/{plan.prefix} and do not count"
    if inventory.duplicates:
        yield f"{inventory.duplicates} rows of the inventory have a key that stands above; the first one counts"
    unpriced: dict[str, list[int]] = {}
    for each in (*plan.bill, *plan.noncurrent):
        if each.parts is None:
            sums = unpriced.setdefault(each.class_name, [0, 0])
            sums[0] += each.objects
            sums[1] += each.bytes
    for name, (count, size) in unpriced.items():
        yield f"{count} objects ({size / GB:.1f} GB) are {name}, which has no price here: they are missing in the bill"
    chosen = {each.name for each in plan.question.classes}
    for each in plan.bill:
        if each.parts is not None and each.class_name not in chosen:
            yield (
                f"{each.objects} objects ({each.bytes / GB:.1f} GB) stay in {each.class_name}; name it in --classes "
                "to let policies move them"
            )
    if plan.joined is not None and plan.logged is not None and plan.replayed is not None:
        yield from _notes_on_logs(plan, plan.replayed, plan.logged, plan.joined)
        yield from plan.replayed.tally.notes


def _notes_on_logs(plan: Plan, replayed: "Replayed", logged: "LoggedReads", joined: "Joined") -> Iterator[str]:
    counts = logged.counts
    if replayed.too_young:
        yield f"{replayed.too_young} objects were written after the last read of the logs: in the bill alone"
    if joined.unknown_objects:
        yield (
            f"{joined.unknown_reads} reads of {joined.unknown_objects} names that the inventory does not list (deleted "
            f"since, or not under s3://{plan.bucket}/{plan.prefix}) do not count"
        )
    if counts.skipped:
        yield f"{counts.skipped} log lines are no storage reads and do not count"
    if counts.elsewhere:
        yield f"{counts.elsewhere} log lines are of other buckets and do not count"
    if counts.unreadable:
        yield f"{counts.unreadable} log lines could not be read and do not count; are files cut short?"
    if counts.empty_files:
        yield f"{counts.empty_files} of {counts.files} log files are empty"
    yield "the bill counts every read of the logs, the policies one of each object and day: caches answer the others"
