"""`backup`: copying the catalog while it is in use, and putting a copy back."""

from pathlib import Path
from typing import Annotated

import typer

from thermocline.interfaces.cli.exits import ExitCode, UsageError
from thermocline.interfaces.cli.opening import quieten_logs
from thermocline.interfaces.cli.options import ConfigOption, DataOption, Invocation, JsonOption, invocation
from thermocline.interfaces.cli.output import write_json, write_line
from thermocline.interfaces.cli.progress import Progress
from thermocline.interfaces.cli.running import run
from thermocline.interfaces.cli.shapes import size_text

RestoredOption = Annotated[
    bool, typer.Option("--restored", help="PostgreSQL put an older catalog back: begin its recovery.")
]
NEXT_STEPS = ("thermocline fsck --repair", "thermocline fsck --sweep --confirm")


def backup(
    ctx: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="Where the backup goes. Without it: a new file in DATA/backups."),
    ] = None,
    restore: Annotated[
        Path | None, typer.Option("--restore", metavar="FILE", help="Put this backup in the catalog's place.")
    ] = None,
    restored: RestoredOption = False,  # noqa: FBT002 - a flag
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,  # noqa: FBT002 - a flag
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
) -> int:
    """Copy the catalog, as it is in one moment, while it is in use; or put such a copy back.

    A backup of the catalog belongs to the object stores, which are not copied. Restoring takes that no process has
    the catalog open, and keeps the catalog that was there. After it nothing is deleted until you confirm.
    """
    call = invocation(ctx, config, data, as_json)
    if restored:
        if file is not None or restore is not None or force:
            raise UsageError("--restored takes no FILE and no other option", "write 'thermocline backup --restored'")
        return run(_begin_recovery(call))
    if restore is None:
        return run(_back_up(call, file, replace=force))
    if file is not None or force:
        raise UsageError("--restore takes no other FILE and no --force", "write 'thermocline backup --restore FILE'")
    return run(_restore(call, restore))


async def _back_up(call: Invocation, target: Path | None, *, replace: bool) -> ExitCode:
    from thermocline.domain.units import format_moment
    from thermocline.wiring.backing_up import back_up_catalog

    settings = call.settings()
    quieten_logs(settings)
    with Progress("backup") as progress:
        done = await back_up_catalog(
            settings, target, replace=replace, note=lambda copied, total: progress.reach(copied, total=total)
        )
    made = done.made
    if call.as_json:
        write_json(
            {
                "path": str(made.path),
                "size": made.size,
                "contents": made.contents,
                "installation": made.installation,
                "taken_at": format_moment(made.taken_at),
                "whole_until": format_moment(done.whole_until),
            }
        )
        return ExitCode.DONE
    write_line(f"backed up {made.contents} contents to {str(made.path)!r} ({size_text(made.size)})")
    write_line(
        f"restored before {format_moment(done.whole_until)} it finds every object where it was; later, what was "
        "replaced or deleted meanwhile is gone, and the newest object of each content is re-adopted ([limits] "
        "object_grace sets this time)"
    )
    return ExitCode.DONE


async def _begin_recovery(call: Invocation) -> ExitCode:
    from thermocline.wiring.backing_up import begin_recovery

    settings = call.settings()
    quieten_logs(settings)
    begun = await begin_recovery(settings)
    if call.as_json:
        write_json({"contents": begun.contents, "installation": begun.installation, "next": list(NEXT_STEPS)})
        return ExitCode.DONE
    write_line(
        f"the recovery of a catalog of {begun.contents} contents has begun: until it is confirmed nothing is deleted"
    )
    write_line(f"next: '{NEXT_STEPS[0]}', look at what it tells, then '{NEXT_STEPS[1]}'")
    return ExitCode.DONE


async def _restore(call: Invocation, source: Path) -> ExitCode:
    from thermocline.wiring.backing_up import restore_catalog

    settings = call.settings()
    quieten_logs(settings)
    with Progress("restore") as progress:
        done = await restore_catalog(settings, source, note=lambda copied, total: progress.reach(copied, total=total))
    aside = None if done.aside is None else str(done.aside)
    if call.as_json:
        shown = {"contents": done.contents, "installation": done.installation, "replaced_catalog": aside}
        write_json(shown | {"next": list(NEXT_STEPS)})
        return ExitCode.DONE
    write_line(f"restored a catalog of {done.contents} contents from {str(source)!r}")
    if aside is not None:
        write_line(f"the catalog that was there is kept as {aside!r}")
    write_line("nothing is deleted by itself until you have confirmed this; next:")
    for step in NEXT_STEPS:
        write_line(f"  {step}")
    return ExitCode.DONE
