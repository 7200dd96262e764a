"""`tier`, `restore`, `change`: how content is treated."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thermocline.domain.content import Visibility
from thermocline.domain.errors import StorageError
from thermocline.domain.restores import RestoreSpeed, RestoreStage
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import format_moment
from thermocline.interfaces.cli.commands.contents import ContentIdArgument, entity_tag, parse_life, parse_metadata
from thermocline.interfaces.cli.exits import CommandError, ExitCode, InterruptedCommandError, UsageError, tell
from thermocline.interfaces.cli.opening import open_store, tidy
from thermocline.interfaces.cli.options import (
    ConfigOption,
    DataOption,
    DryRunOption,
    Invocation,
    JsonOption,
    invocation,
)
from thermocline.interfaces.cli.output import write_json, write_line
from thermocline.interfaces.cli.progress import Progress
from thermocline.interfaces.cli.running import run
from thermocline.interfaces.cli.watching import watch_restore, watched

if TYPE_CHECKING:
    from thermocline.orchestrator import StorageOrchestrator
    from thermocline.services.moving import TierOutcome

NoWaitOption = Annotated[bool, typer.Option("--no-wait", help="Only plan a copy, for a service or worker to make.")]


def tier(
    ctx: typer.Context,
    content_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="The content's id.")] = None,
    target: Annotated[str | None, typer.Argument(metavar="TIER", help="hot, warm, cold or archive.")] = None,
    prefix: Annotated[
        str | None, typer.Option(metavar="PREFIX", help="All contents whose id starts with this.")
    ] = None,
    no_wait: NoWaitOption = False,  # noqa: FBT002 - a flag
    dry_run: DryRunOption = False,  # noqa: FBT002 - a flag
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
) -> int:
    """Move a content, or with --prefix many, to another tier; content on hold stays."""
    if prefix is not None and target is None:
        content_id, target = None, content_id
    if target is None or (content_id is None) == (prefix is None):
        raise UsageError("name one content and the tier, or the tier and --prefix", "thermocline tier ID cold")
    if target not in set(StorageTier):
        raise UsageError(f"there is no tier {target!r}", f"the tiers are {', '.join(StorageTier)}")
    call = invocation(ctx, config, data, as_json)
    return run(_tier(call, content_id, prefix, StorageTier(target), wait=not no_wait, dry_run=dry_run))


async def _tier(
    call: Invocation, content_id: str | None, prefix: str | None, target: StorageTier, *, wait: bool, dry_run: bool
) -> ExitCode:
    async with open_store(call) as store:
        if content_id is not None:
            if dry_run:
                record = await store.stat(content_id)
                _tell_dry_run(call, record.content_id, record.tier, target)
                return ExitCode.DONE
            moving = store.set_tier(content_id, target, wait=wait)
            _tell_outcome(call, _checked(await watched(f"move {content_id} to {target}", moving)))
            await tidy(store)
            return ExitCode.DONE
        return await _tier_all(call, store, prefix or "", target, wait=wait, dry_run=dry_run)


async def _tier_all(
    call: Invocation, store: "StorageOrchestrator", prefix: str, target: StorageTier, *, wait: bool, dry_run: bool
) -> ExitCode:
    counts = {"done": 0, "planned": 0, "unchanged": 0, "failed": 0}
    with Progress(f"move to {target}", in_bytes=False) as progress:
        async for record in store.list_content(prefix):
            progress.advance(1)
            if record.tier is target:
                counts["unchanged"] += 1
                continue
            if dry_run:
                _tell_dry_run(call, record.content_id, record.tier, target)
                continue
            try:
                outcome = _checked(await store.set_tier(record.content_id, target, wait=wait))
            except asyncio.CancelledError as exc:
                raise InterruptedCommandError(
                    f"interrupted: {counts['done']} contents are moved; the same command goes on from here"
                ) from exc
            except (StorageError, CommandError) as exc:
                # The others are still moved: what failed is told, and the exit code says so.
                tell(exc, as_json=call.as_json)
                counts["failed"] += 1
                continue
            counts["planned" if outcome.planned else "done"] += 1
    if not dry_run:
        await tidy(store)
        if call.as_json:
            write_json({"prefix": prefix, "target": target.value, **counts})
        else:
            write_line(", ".join(f"{count} {name}" for name, count in counts.items()))
    return ExitCode.FAILED if counts["failed"] else ExitCode.DONE


def _checked(outcome: "TierOutcome") -> "TierOutcome":
    """Return the outcome unless making the move failed. Raises `CommandError`."""
    if outcome.error is None:
        return outcome
    raise CommandError(
        f"content {outcome.record.content_id!r} was not moved to {outcome.target}: {outcome.error}",
        "nothing was lost; the move stays planned, and the same command, a service or a worker tries it again",
    )


def _tell_dry_run(call: Invocation, content_id: str, now: StorageTier, target: StorageTier) -> None:
    if call.as_json:
        write_json(
            {"content_id": content_id, "tier": now.value, "target": target.value, "would_move": now is not target}
        )
    elif now is target:
        write_line(f"{content_id} is {target} already")
    else:
        write_line(f"would move {content_id} from {now} to {target}")


def _tell_outcome(call: Invocation, outcome: "TierOutcome") -> None:
    if call.as_json:
        write_json(outcome.as_dict())
    elif outcome.planned:
        restore = outcome.record.restore
        until = f" for {format_moment(restore.eta)}, after its restore" if restore and restore.eta else ""
        write_line(
            f"{outcome.record.content_id}: {outcome.record.tier}, its move to {outcome.target} is planned{until}"
        )
    else:
        write_line(f"{outcome.record.content_id}: {outcome.record.tier}")


def restore(
    ctx: typer.Context,
    content_id: ContentIdArgument,
    speed: Annotated[RestoreSpeed | None, typer.Option(help="How urgent it is; faster costs more.")] = None,
    days: Annotated[int | None, typer.Option(min=1, metavar="N", help="How long it stays readable.")] = None,
    wait: Annotated[str | None, typer.Option(metavar="DURATION", help="Wait so long until it is readable.")] = None,
    status: Annotated[bool, typer.Option("--status", help="Only say how far it is; ask for nothing.")] = False,  # noqa: FBT002 - a flag
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
) -> None:
    """Make archived content readable for a while; asking again costs nothing."""
    if status and (speed is not None or days is not None or wait is not None):
        raise UsageError("--status asks for nothing", "leave out --speed, --days and --wait")
    call = invocation(ctx, config, data, as_json)
    waiting = 0.0 if wait is None else parse_life(wait)
    run(_restore(call, content_id, speed, days, waiting=waiting, only_status=status))


async def _restore(
    call: Invocation,
    content_id: str,
    speed: RestoreSpeed | None,
    days: int | None,
    *,
    waiting: float,
    only_status: bool,
) -> None:
    async with open_store(call) as store:
        if only_status:
            record = await store.stat(content_id)
            found = await store.services.restoring.status(record)
        else:
            found = await store.restore_content(content_id, speed=speed, days=days)
            if waiting and found.stage is not RestoreStage.READABLE:
                found = await watch_restore(store, content_id, within=waiting)
    if call.as_json:
        write_json({"content_id": content_id, **found.as_dict()})
        return
    until = format_moment(found.readable_until)
    details = f", expected {format_moment(found.eta)}" if found.eta else f" until {until}" if until else ""
    write_line(f"{content_id}: {found.stage}{details}")


def change(
    ctx: typer.Context,
    content_id: ContentIdArgument,
    metadata: Annotated[
        list[str] | None,
        typer.Option("--metadata", "-m", metavar="KEY=VALUE", help="Merge metadata; or a JSON object. Repeat."),
    ] = None,
    visibility: Annotated[Visibility | None, typer.Option(help="Who may read it.")] = None,
    expires_in: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Life span from now on, or 'never'.")
    ] = None,
    hold: Annotated[
        bool | None, typer.Option("--hold/--release", help="On hold it is neither overwritten, deleted nor moved.")
    ] = None,
    pin: Annotated[bool | None, typer.Option("--pin/--unpin", help="Pinned, no policy moves it.")] = None,
    if_match: Annotated[str | None, typer.Option(metavar="ETAG", help="Only in this state; * for any.")] = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
) -> None:
    """Change what is known of a content, not its bytes."""
    call = invocation(ctx, config, data, as_json)
    given: dict[str, Any] = {
        "metadata": parse_metadata(metadata or []),
        "visibility": visibility,
        "expires_in": None if expires_in in {None, "never"} else parse_life(expires_in or ""),
        "never_expires": expires_in == "never",
        "held": hold,
        "pinned": pin,
    }
    if all(value is None for name, value in given.items() if name != "never_expires") and not given["never_expires"]:
        raise UsageError("nothing to change", "give at least one option, such as --hold")
    run(_change(call, content_id, given | {"if_match": entity_tag(if_match)}))


async def _change(call: Invocation, content_id: str, given: dict[str, Any]) -> None:
    async with open_store(call) as store:
        record = await store.update_metadata(content_id, **given)
        if call.as_json:
            write_json(record.as_dict())
        else:
            write_line(f"{record.content_id}: version {record.version}")
        await tidy(store)
