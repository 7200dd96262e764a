"""`import` and `export`: whole folders in and out, safe to interrupt and to repeat."""

import asyncio
import gc
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from thermocline.domain.content import Visibility
from thermocline.domain.tiers import StorageTier
from thermocline.interfaces.cli.exits import CommandError, ExitCode, InterruptedCommandError
from thermocline.interfaces.cli.opening import open_store, tidy
from thermocline.interfaces.cli.options import (
    ConfigOption,
    DataOption,
    DryRunOption,
    Invocation,
    JsonOption,
    invocation,
)
from thermocline.interfaces.cli.output import flush_output, write_json, write_line
from thermocline.interfaces.cli.progress import Progress
from thermocline.interfaces.cli.running import run
from thermocline.interfaces.cli.shapes import size_text
from thermocline.interfaces.cli.told import tell_more, tell_note, tell_problem

if TYPE_CHECKING:
    from thermocline.services.tree_reports import TreeProgress, TreeReport

SHOWN_EVERY_SECONDS = 0.1
MOST_JOBS = 256

PrefixOption = Annotated[
    str, typer.Option("--prefix", metavar="PREFIX", help="The ids' folder in the store, such as users/42/.")
]
JobsOption = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, max=MOST_JOBS, metavar="N", help="Files under way at once.")
]


def import_(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The folder, or s3://BUCKET/PREFIX, to import.")],
    prefix: PrefixOption = "",
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", "-x", metavar="GLOB", help="Leave out files and folders of this name. Repeat."),
    ] = None,
    tier: Annotated[StorageTier | None, typer.Option(help="Initial tier.")] = None,
    visibility: Annotated[Visibility, typer.Option(help="Who may read it.")] = Visibility.PRIVATE,
    checksum: Annotated[bool, typer.Option("--checksum", help="Skip by digest, not by size and time.")] = False,  # noqa: FBT002 - a flag
    verify: Annotated[bool, typer.Option("--verify", help="Then read both sides again and compare.")] = False,  # noqa: FBT002 - a flag
    in_place: Annotated[  # noqa: FBT002 - a flag
        bool,
        typer.Option(
            "--in-place", help="Leave the bytes in their bucket: read once, never copied; deleted if it is told so."
        ),
    ] = False,
    jobs: JobsOption = None,
    dry_run: DryRunOption = False,  # noqa: FBT002 - a flag
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
) -> int:
    """Store every file of a folder or bucket under its path. What is there already is skipped: repeating it goes on."""
    given: dict[str, Any] = {
        "exclude": exclude or [],
        "visibility": visibility,
        "checksum": checksum,
        "verify": verify,
        "dry_run": dry_run,
        "in_place": in_place,
    }
    if tier is not None:
        given["initial_tier"] = tier
    return run(_import(invocation(ctx, config, data, as_json), source, prefix, jobs, given), is_long=True)


async def _import(call: Invocation, source: str, prefix: str, jobs: int | None, given: dict[str, Any]) -> ExitCode:
    given |= {} if jobs is None else {"jobs": jobs}
    async with open_store(call) as store:
        gc.freeze()  # what is loaded by now stays: no collection need look at it again
        with _Display(call, "import", dry_run=given["dry_run"]) as display:
            try:
                report = await store.import_tree(
                    source, prefix, progress=display.note, count_ahead=display.is_seen, **given
                )
            except asyncio.CancelledError as exc:
                raise display.interrupted() from exc
        if not report.dry_run:
            await tidy(store)
    return _conclude(call, report, "imported")


def export(
    ctx: typer.Context,
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="The folder to export into.")],
    prefix: PrefixOption = "",
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace files that differ.")] = False,  # noqa: FBT002 - a flag
    verify: Annotated[bool, typer.Option("--verify", help="Then read every file again and compare.")] = False,  # noqa: FBT002 - a flag
    jobs: JobsOption = None,
    dry_run: DryRunOption = False,  # noqa: FBT002 - a flag
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
) -> int:
    """Write contents as files into a folder. What is there already is skipped, so repeating it goes on."""
    given: dict[str, Any] = {"replace": force, "verify": verify, "dry_run": dry_run}
    return run(_export(invocation(ctx, config, data, as_json), target, prefix, jobs, given), is_long=True)


async def _export(call: Invocation, target: Path, prefix: str, jobs: int | None, given: dict[str, Any]) -> ExitCode:
    given |= {} if jobs is None else {"jobs": jobs}
    async with open_store(call) as store:
        with _Display(call, "export", dry_run=given["dry_run"]) as display:
            try:
                report = await store.export_tree(
                    target, prefix, progress=display.note, count_ahead=display.is_seen, **given
                )
            except asyncio.CancelledError as exc:
                raise display.interrupted() from exc
    if not report.files and report.stopped_by is None:
        where = f"under {prefix!r}" if prefix else "in the store"
        raise _NothingThereError(f"there is no content {where}", "'thermocline ls' lists what there is")
    return _conclude(call, report, "exported")


class _NothingThereError(CommandError):
    code = ExitCode.NOT_FOUND
    slug = "content-not-found"


class _Display:
    """What is seen while it works: a bar on a terminal, and each file of a dry run."""

    def __init__(self, call: Invocation, doing: str, *, dry_run: bool) -> None:
        self._as_json = call.as_json
        self._doing = doing
        self._dry_run = dry_run
        self._counts: Counter[str] = Counter()
        self._bar = Progress(doing)
        self._show_at = 0.0

    @property
    def is_seen(self) -> bool:
        """Whether anybody sees the bar."""
        return self._bar.is_wanted

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.__exit__(kind, exc, trace)

    def note(self, step: "TreeProgress") -> None:
        """Take one file's outcome."""
        self._counts[step.outcome] += 1
        if self._dry_run:
            if step.outcome in {"copied", "replaced"} and not self._as_json:
                over = " over an older one" if step.outcome == "replaced" else ""
                write_line(f"would {self._doing} {step.path} ({size_text(step.size)}){over}")
        elif (now := time.monotonic()) >= self._show_at:
            self._show_at = now + SHOWN_EVERY_SECONDS
            self._show(step)

    def interrupted(self) -> InterruptedCommandError:
        """Return what to tell whoever interrupted."""
        done = self._counts["copied"] + self._counts["replaced"]
        there = self._counts["unchanged"]
        already = f", {there} were there already" if there else ""
        return InterruptedCommandError(
            f"interrupted: {done} files are {self._doing}ed{already}; the same command goes on from here"
        )

    def _show(self, step: "TreeProgress") -> None:
        of_all = "" if step.total_files is None else f" of {step.total_files}"
        self._bar.relabel(f"{self._doing} {step.files}{of_all} files")
        self._bar.reach(step.done_bytes, total=step.total_bytes)


def _conclude(call: Invocation, report: "TreeReport", done: str) -> ExitCode:
    """Print the report and return the exit code. Raises what ended the work early."""
    if call.as_json:
        write_json(report.as_dict())
    else:
        write_line(_summary(report, done))
        flush_output()
        for problem in report.problems:
            (tell_note if problem.outcome == "left out" else tell_problem)(problem.path, problem.reason)
        untold = report.refused + report.failed + report.left_out - len(report.problems)
        if untold:
            tell_more(untold)
    if report.stopped_by is not None:
        raise report.stopped_by
    return ExitCode.DONE if report.is_complete else ExitCode.FAILED


def _summary(report: "TreeReport", done: str) -> str:
    told = f"would have {done}" if report.dry_run else done
    parts = [f"{told} {report.copied + report.replaced} files ({size_text(report.copied_bytes)})"]
    others = {
        "over older ones": report.replaced,
        "unchanged": report.unchanged,
        "refused": report.refused,
        "failed": report.failed,
        "left out": report.left_out,
        "excluded": report.excluded,
        "verified": report.verified,
    }
    parts += [f"{count} {what}" for what, count in others.items() if count]
    if report.stopped_by is not None:
        parts.append("stopped early: the same command goes on from here")
    return ", ".join(parts)
