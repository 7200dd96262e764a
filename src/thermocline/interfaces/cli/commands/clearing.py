"""`rm --prefix`: everything under a prefix, after a look at how much that is."""

import asyncio
import sys
from typing import TYPE_CHECKING

from thermocline.domain.content import Record
from thermocline.interfaces.cli.blocking import BlockingThread
from thermocline.interfaces.cli.exits import CommandError, ExitCode, InterruptedCommandError, UsageError
from thermocline.interfaces.cli.opening import open_store, tidy
from thermocline.interfaces.cli.options import Invocation
from thermocline.interfaces.cli.output import flush_output, write_json, write_line
from thermocline.interfaces.cli.progress import Progress
from thermocline.interfaces.cli.running import run
from thermocline.interfaces.cli.shapes import size_text
from thermocline.interfaces.cli.told import tell_problem

if TYPE_CHECKING:
    from thermocline.orchestrator import StorageOrchestrator
    from thermocline.services.clearing import ClearReport

_YES = frozenset({"y", "yes"})


def clear(call: Invocation, prefix: str, *, erase: bool, yes: bool, dry_run: bool) -> ExitCode:
    """Delete everything under the prefix. On a terminal that is asked for first; elsewhere it takes `yes`."""
    if not prefix:
        raise UsageError("an empty prefix would delete everything", "name a prefix, such as --prefix users/42/")
    asks = not (yes or dry_run)
    if asks and not _can_ask():
        raise UsageError("nobody can be asked whether to delete all that", "add --yes; --dry-run shows what it is")
    return run(_clear(call, prefix, erase=erase, asks=asks, dry_run=dry_run), is_long=True)


async def _clear(call: Invocation, prefix: str, *, erase: bool, asks: bool, dry_run: bool) -> ExitCode:
    async with open_store(call) as store:
        if dry_run:
            report = await store.delete_prefix(prefix, dry_run=True, progress=lambda record: _tell(call, record))
        else:
            if asks and not await _is_wanted(store, prefix, erase=erase):
                raise CommandError("nothing was deleted", "answer y, or add --yes")
            report = await _delete(store, prefix, erase=erase)
            await tidy(store)
    _summarize(call, report, erase=erase)
    if report.stopped_by is not None:
        raise report.stopped_by
    return ExitCode.DONE if report.is_complete else ExitCode.FAILED


async def _delete(store: "StorageOrchestrator", prefix: str, *, erase: bool) -> "ClearReport":
    done = 0
    with Progress(f"rm {prefix}", in_bytes=False) as progress:

        def note(_: Record) -> None:
            nonlocal done
            done += 1
            progress.reach(done)

        try:
            return await store.delete_prefix(prefix, erase=erase, progress=note)
        except asyncio.CancelledError as exc:
            raise InterruptedCommandError(
                f"interrupted: {done} contents were deleted; the same command deletes the rest"
            ) from exc


async def _is_wanted(store: "StorageOrchestrator", prefix: str, *, erase: bool) -> bool:
    found = await store.delete_prefix(prefix, dry_run=True)
    if not found.deleted:
        return True
    what = f"{found.deleted} contents ({size_text(found.deleted_bytes)}) under {prefix!r}"
    sys.stderr.write(f"{'Erase' if erase else 'Delete'} {what}? [y/N] ")
    sys.stderr.flush()
    answer = await BlockingThread().call(sys.stdin.readline)
    return answer.strip().lower() in _YES


def _tell(call: Invocation, record: Record) -> None:
    if call.as_json:
        write_json({"content_id": record.content_id, "would_delete": True, "size": record.size})
    else:
        write_line(f"would delete {record.content_id} ({size_text(record.size)})")


def _summarize(call: Invocation, report: "ClearReport", *, erase: bool) -> None:
    if call.as_json:
        write_json(report.as_dict())
    else:
        done = "would delete" if report.dry_run else "erased" if erase else "deleted"
        kept = f"; {report.kept} kept" if report.kept else ""
        write_line(f"{done} {report.deleted} contents ({size_text(report.deleted_bytes)}){kept}")
        flush_output()
        for problem in report.problems:
            tell_problem(problem.content_id, problem.reason)


def _can_ask() -> bool:
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))
