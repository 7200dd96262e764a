"""`fsck`, `doctor`, `migrate`: is everything as it should be, and mending it."""

from typing import TYPE_CHECKING, Annotated

import typer

from thermocline.interfaces.cli.commands import mending
from thermocline.interfaces.cli.exits import ExitCode, UsageError
from thermocline.interfaces.cli.opening import open_store, quieten_logs
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

if TYPE_CHECKING:
    from thermocline.orchestrator import StorageOrchestrator
    from thermocline.services.checking import CheckProgress, Finding
    from thermocline.services.sweep_plans import SweepReport


ConfirmOption = Annotated[
    bool,
    typer.Option(
        "--confirm", help="Let the sweep take any share of the objects; ends the recovery of a restored backup."
    ),
]
RepairOption = Annotated[
    bool,
    typer.Option(
        "--repair", help="Mend what is broken from other copies; after a restored backup, adopt what it does not know."
    ),
]
RebuildOption = Annotated[
    bool,
    typer.Option("--rebuild-catalog", help="Where no catalog is left: make it anew from the object stores."),
]


def fsck(
    ctx: typer.Context,
    quick: Annotated[bool, typer.Option("--quick", help="Look objects up without reading their bytes.")] = False,  # noqa: FBT002 - a flag
    sweep: Annotated[bool, typer.Option("--sweep", help="Then quarantine objects that nothing names.")] = False,  # noqa: FBT002 - a flag
    confirm: ConfirmOption = False,  # noqa: FBT002 - a flag
    repair: RepairOption = False,  # noqa: FBT002 - a flag
    rebuild_catalog: RebuildOption = False,  # noqa: FBT002 - a flag
    dry_run: DryRunOption = False,  # noqa: FBT002 - a flag
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
) -> int:
    """Read and verify everything that is stored; list what is wrong. Exit code 1 if anything is."""
    if confirm and not sweep:
        raise UsageError("--confirm belongs to --sweep", "add --sweep")
    call = invocation(ctx, config, data, as_json)
    if repair or rebuild_catalog:
        if sweep:
            raise UsageError("look at what a repair tells before you sweep", "run it without --sweep first")
        if rebuild_catalog and dry_run:
            raise UsageError("--rebuild-catalog has no --dry-run", "it refuses where a catalog knows any content")
        work = mending.rebuild(call, quick=quick) if rebuild_catalog else None
        return run(work or mending.repair(call, quick=quick, dry_run=dry_run))
    return run(_fsck(call, quick=quick, sweep=sweep and not dry_run, confirm=confirm))


async def _fsck(call: Invocation, *, quick: bool, sweep: bool, confirm: bool) -> ExitCode:
    from thermocline.services.checking import CheckProgress

    last = CheckProgress()
    async with open_store(call) as store:
        with Progress("fsck", in_bytes=False) as progress:

            def note(state: CheckProgress) -> None:
                nonlocal last
                last = state
                progress.reach(state.contents)

            async for finding in store.services.checking.check(read_bytes=not quick, progress=note):
                _tell_finding(call, finding)
        _tell_summary(call, last)
        if not confirm and await store.services.recovering.is_recovering():
            _tell_recovery(call)
        refused = await _sweep(call, store, confirm=confirm) if sweep else False
    return ExitCode.FAILED if last.findings or refused else ExitCode.DONE


async def _sweep(call: Invocation, store: "StorageOrchestrator", *, confirm: bool) -> bool:
    """Sweep every placement; whether any of them refused."""
    reports = await store.services.sweep.run(confirmed=confirm)
    for report in reports:
        _tell_sweep(call, report)
    return any(report.refused for report in reports)


def _tell_finding(call: Invocation, finding: "Finding") -> None:
    if call.as_json:
        shown = {"content_id": finding.content_id, "object_key": finding.object_key, "detail": finding.detail}
        write_json({"kind": "finding", "damage": finding.damage.value} | shown)
    else:
        write_line(f"{finding.damage:<11}  {finding.content_id or finding.object_key or '-'}  {finding.detail}")
    flush_output()


def _tell_summary(call: Invocation, state: "CheckProgress") -> None:
    if call.as_json:
        shown = {"contents": state.contents, "read_bytes": state.read_bytes, "objects": state.objects}
        write_json({"kind": "summary"} | shown | {"findings": state.findings})
        return
    read = f", {size_text(state.read_bytes)} read" if state.read_bytes else ""
    found = f"{state.findings} findings" if state.findings else "nothing is wrong"
    write_line(f"{state.contents} contents{read}, {state.objects} objects: {found}")


def _tell_recovery(call: Invocation) -> None:
    from thermocline.services.recovering import ADVICE

    if call.as_json:
        write_json({"kind": "recovery", "recovering": True, "advice": ADVICE})
    else:
        write_line(ADVICE)


def _tell_sweep(call: Invocation, report: "SweepReport") -> None:
    if call.as_json:
        shown = {"listed": report.listed, "unnamed": report.unnamed, "quarantined": report.quarantined}
        write_json({"kind": "sweep", "placement": report.placement} | shown | {"refused": report.refused})
    elif report.refused:
        write_line(f"sweep of {report.placement}: refused: {report.refused}")
    else:
        write_line(f"sweep of {report.placement}: {report.quarantined} of {report.listed} objects quarantined")


def doctor(
    ctx: typer.Context,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
) -> int:
    """Try every configured part; say what is wrong and how to fix it. Exit code 1 if something is."""
    return run(_doctor(invocation(ctx, config, data, as_json)))


async def _doctor(call: Invocation) -> ExitCode:
    from thermocline.wiring.diagnosis import diagnose
    from thermocline.wiring.examination import Health

    settings = call.settings()
    quieten_logs(settings)
    examinations = []
    async for examination in diagnose(settings):
        examinations.append(examination)
        if not call.as_json:
            write_line(f"{examination.health:<5}  {examination.part}: {examination.detail}")
            if examination.remedy:
                write_line(f"       -> {examination.remedy}")
            flush_output()
    failed = any(examination.health is Health.FAIL for examination in examinations)
    if call.as_json:
        parts = [
            {
                "part": examination.part,
                "health": examination.health.value,
                "detail": examination.detail,
                "remedy": examination.remedy,
            }
            for examination in examinations
        ]
        write_json({"healthy": not failed, "parts": parts})
    return ExitCode.FAILED if failed else ExitCode.DONE


def migrate(
    ctx: typer.Context,
    check: Annotated[bool, typer.Option("--check", help="Only look; exit code 1 if an upgrade is due.")] = False,  # noqa: FBT002 - a flag
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
) -> int:
    """Bring the catalog to the schema of this program, after a backup.

    Opening a store does the same by itself, except in PostgreSQL: a database that others use is only changed by this.
    """
    call = invocation(ctx, config, data, as_json)
    return run(_check_schema(call) if check else _migrate(call))


async def _check_schema(call: Invocation) -> ExitCode:
    from thermocline.wiring.upgrading import catalog_status

    settings = call.settings()
    status = await catalog_status(settings)
    is_shared = settings.catalog_url().startswith("postgres")
    if call.as_json:
        write_json({"current": status.current, "newest": status.newest, "is_current": status.is_usable})
    elif status.current is None:
        made = "'thermocline migrate' makes one" if is_shared else "it will be made"
        write_line(f"there is no catalog yet; {made} with schema {status.newest}")
    elif status.is_usable:
        write_line(f"the catalog is current: schema {status.current}")
    else:
        write_line(f"the catalog has schema {status.current}, this program needs {status.newest}")
    by_itself = status.current is None and not is_shared
    return ExitCode.DONE if status.is_usable or by_itself else ExitCode.FAILED


async def _migrate(call: Invocation) -> ExitCode:
    from thermocline.wiring.upgrading import upgrade_catalog

    done = await upgrade_catalog(call.settings())
    if call.as_json:
        backup = None if done.backup is None else str(done.backup)
        write_json({"before": done.before, "after": done.after, "backup": backup})
    elif done.before == done.after:
        write_line(f"the catalog is current: schema {done.after}")
    elif done.before is None:
        write_line(f"made a catalog with schema {done.after}")
    else:
        kept = "" if done.backup is None else f"; the old one is {str(done.backup)!r}"
        write_line(f"upgraded the catalog from schema {done.before} to {done.after}{kept}")
    return ExitCode.DONE
