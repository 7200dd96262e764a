"""`stat` and `ls`: what there is."""

from typing import TYPE_CHECKING, Annotated

import typer

from thermocline.domain.content import Record
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import format_moment
from thermocline.interfaces.cli.opening import open_store
from thermocline.interfaces.cli.options import ConfigOption, DataOption, Invocation, JsonOption, invocation
from thermocline.interfaces.cli.output import flush_output, write_json, write_line
from thermocline.interfaces.cli.running import run
from thermocline.interfaces.cli.shapes import size_text

if TYPE_CHECKING:
    from thermocline.domain.heat import AccessSummary

PAGE = 1000


def stat(
    ctx: typer.Context,
    content_id: Annotated[str, typer.Argument(metavar="ID", help="The content's id.")],
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
) -> None:
    """Show what is known of a content."""
    run(_stat(invocation(ctx, config, data, as_json), content_id))


async def _stat(call: Invocation, content_id: str) -> None:
    async with open_store(call) as store:
        record = await store.stat(content_id)
    shown = record.as_dict()
    if call.as_json:
        write_json(shown)
        return
    import json

    if record.access is not None:
        del shown["access"]
        shown |= _access(record.access)
    width = max(map(len, shown))
    for name, value in shown.items():
        if value is None:
            continue
        # JSON escapes what users put into metadata, so that it cannot drive the terminal.
        text = json.dumps(value) if isinstance(value, dict | bool) else str(value)
        write_line(f"{name.replace('_', ' '):<{width}}  {text}")


def _access(access: "AccessSummary") -> dict[str, str | None]:
    lately = access.as_dict()["reads_per_day"]
    rates = ", ".join(f"{rate:.3g} ({days})" for days, rate in lately.items()) if isinstance(lately, dict) else ""
    return {
        "reads": f"{access.reads_total} ({access.storage_reads} from storage)",
        "last_read_at": format_moment(access.last_read_at),
        "reads_per_day": rates if access.reads_total else None,
    }


def ls(
    ctx: typer.Context,
    prefix: Annotated[str, typer.Argument(metavar="PREFIX", help="Only ids that start with this.")] = "",
    tier: Annotated[StorageTier | None, typer.Option(help="Only content of this tier.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="At most so many.")] = None,
    long: Annotated[bool, typer.Option("--long", "-l", help="Size, tier, visibility and time, too.")] = False,  # noqa: FBT002 - a flag
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
) -> None:
    """List contents in the order of their ids; as many as there are, in bounded memory."""
    run(_ls(invocation(ctx, config, data, as_json), prefix, tier, limit, long=long))


async def _ls(call: Invocation, prefix: str, tier: StorageTier | None, limit: int | None, *, long: bool) -> None:
    async with open_store(call) as store:
        cursor: str | None = None
        left = limit
        while left is None or left > 0:
            size = PAGE if left is None else min(left, PAGE)
            page = await store.list_page(prefix, tier=tier, limit=size, cursor=cursor)
            for record in page.records:
                if call.as_json:
                    write_json(record.as_dict())
                else:
                    write_line(_long(record) if long else record.content_id)
            flush_output()
            cursor = page.next_cursor
            if cursor is None:
                return
            left = None if left is None else left - len(page.records)


def _long(record: Record) -> str:
    modified = (format_moment(record.modified_at) or "")[:19] + "Z"
    held = "h" if record.held else "-"
    shown = f"{size_text(record.size):>10}  {record.tier:<7}  {record.visibility:<7}  {held}  {modified}"
    return f"{shown}  {record.content_id}"
