"""`invalidate`: evicting from the caches by pattern."""

import asyncio
from typing import Annotated

import typer

from thermocline.interfaces.cli.exits import InterruptedCommandError
from thermocline.interfaces.cli.opening import open_store
from thermocline.interfaces.cli.options import ConfigOption, DataOption, Invocation, JsonOption, invocation
from thermocline.interfaces.cli.output import write_json, write_line
from thermocline.interfaces.cli.progress import Progress
from thermocline.interfaces.cli.running import run

TOLD = "every process of this catalog was told to evict what matches; without a shared cache nobody knows how much"


def invalidate(
    ctx: typer.Context,
    pattern: Annotated[str, typer.Argument(metavar="PATTERN", help="A Redis glob over ids, such as 'users/42/*'.")],
    cache_type: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="Only values of this cache type.")
    ] = None,
    everything: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--everything", help="Allow a pattern that matches everything.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what matches.")] = False,  # noqa: FBT002
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
) -> None:
    """Evict what matches a pattern from the shared cache, and from the memory of every process."""
    call = invocation(ctx, config, data, as_json)
    run(_invalidate(call, pattern, cache_type, everything=everything, dry_run=dry_run), is_long=True)


async def _invalidate(
    call: Invocation, pattern: str, cache_type: str | None, *, everything: bool, dry_run: bool
) -> None:
    async with open_store(call) as store:
        is_shared = store.services.adapters.shared is not None
        with Progress(f"invalidate {pattern}", in_bytes=False) as progress:
            try:
                evicted = await store.services.evicting.run(
                    pattern, cache_type, everything=everything, dry_run=dry_run, progress=progress.reach
                )
            except asyncio.CancelledError as exc:
                raise InterruptedCommandError("interrupted: a part is evicted; the same command does the rest") from exc
    if call.as_json:
        write_json({"invalidated": evicted if is_shared else None, "dry_run": dry_run})
    elif not is_shared:
        write_line("the memory of other processes cannot be looked into; leave out --dry-run" if dry_run else TOLD)
    else:
        write_line(f"{'would evict' if dry_run else 'evicted'} {evicted} values")
