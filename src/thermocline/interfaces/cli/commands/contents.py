"""`put`, `get`, `rm`: content in, out and away."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thermocline.domain.content import DEFAULT_CONTENT_TYPE, Visibility
from thermocline.domain.errors import ContentArchivedError, ContentNotFoundError, StorageError
from thermocline.domain.tiers import StorageTier
from thermocline.interfaces.cli.commands.clearing import clear
from thermocline.interfaces.cli.exits import CommandError, ExitCode, UsageError, code_of, tell
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
from thermocline.interfaces.cli.shapes import size_text
from thermocline.interfaces.cli.sinks import new_file, standard_output
from thermocline.interfaces.cli.sources import Source, open_source
from thermocline.interfaces.cli.watching import watch_restore

if TYPE_CHECKING:
    from thermocline.services.deleting import Erasure

SHA256_BYTES = 32
_RANGE = re.compile(r"(\d*)-(\d*)")

ContentIdArgument = Annotated[str, typer.Argument(metavar="ID", help="The content's id.")]


def put(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A file, or - for standard input.")],
    content_id: ContentIdArgument,
    metadata: Annotated[
        list[str] | None,
        typer.Option("--metadata", "-m", metavar="KEY=VALUE", help="Attach metadata; or a whole JSON object. Repeat."),
    ] = None,
    content_type: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="Content type; guessed from the names otherwise.")
    ] = None,
    tier: Annotated[StorageTier | None, typer.Option(help="Initial tier.")] = None,
    visibility: Annotated[Visibility, typer.Option(help="Who may read it.")] = Visibility.PRIVATE,
    expires_in: Annotated[str | None, typer.Option(metavar="DURATION", help="Life span, such as 90s, 24h, 7d.")] = None,
    cache_control: Annotated[str | None, typer.Option(metavar="VALUE", help="Kept and replayed.")] = None,
    content_disposition: Annotated[str | None, typer.Option(metavar="VALUE", help="Kept and replayed.")] = None,
    if_match: Annotated[str | None, typer.Option(metavar="ETAG", help="Only over this state; * for any.")] = None,
    if_none_match: Annotated[str | None, typer.Option(metavar="ETAG", help="Only over another; * if absent.")] = None,
    sha256: Annotated[str | None, typer.Option(metavar="HEX", help="The digest that the bytes must have.")] = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
) -> None:
    """Store a file, or standard input, as a content; all or nothing."""
    call = invocation(ctx, config, data, as_json)
    given: dict[str, Any] = {
        "metadata": parse_metadata(metadata or []),
        "content_type": content_type or _guess_type(source, content_id),
        "visibility": visibility,
        "expires_in": None if expires_in is None else parse_life(expires_in),
        "cache_control": cache_control,
        "content_disposition": content_disposition,
        "if_match": entity_tag(if_match),
        "if_none_match": entity_tag(if_none_match),
        "sha256": _digest(sha256),
    }
    if tier is not None:
        given["initial_tier"] = tier
    run(_put(call, source, content_id, given))


async def _put(call: Invocation, path: str, content_id: str, given: dict[str, Any]) -> None:
    async with open_store(call) as store, open_source(path) as source:
        with Progress(f"put {content_id}", total=source.size) as progress:
            body = _counted(source, progress)
            receipt = await store.store_content(content_id, body, size=source.size, **given)
        if call.as_json:
            write_json(receipt.as_dict())
        else:
            write_line(f"{receipt.content_id}: {receipt.size} bytes, {receipt.tier}, ETag {receipt.etag}")
        await tidy(store)


async def _counted(source: Source, progress: Progress) -> AsyncIterator[bytes]:
    async for piece in source.pieces():
        progress.advance(len(piece))
        yield piece


def get(
    ctx: typer.Context,
    content_id: ContentIdArgument,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="A file, or - for standard output (the default)."),
    ] = None,
    byte_range: Annotated[
        str | None, typer.Option("--range", metavar="A-B", help="Bytes A to B, both included; A- or -LAST as well.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace an existing file.")] = False,  # noqa: FBT002 - a flag
    wait: Annotated[
        str | None, typer.Option(metavar="DURATION", help="If it is archived, wait so long for its restore.")
    ] = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
) -> None:
    """Write a content to standard output or to a file, which appears whole or not at all."""
    call = invocation(ctx, config, data, as_json)
    to_stdout = output in {None, "-"}
    if call.as_json and to_stdout:
        raise UsageError("--json cannot share standard output with the content", "name a file with -o FILE")
    waiting = 0.0 if wait is None else parse_life(wait)
    run(_get(call, content_id, output, _parse_range(byte_range), force=force, waiting=waiting))


async def _get(
    call: Invocation,
    content_id: str,
    output: str | None,
    wanted: tuple[int, int | None],
    *,
    force: bool,
    waiting: float,
) -> None:
    async with AsyncExitStack() as opened:
        store = await opened.enter_async_context(open_store(call))
        start, end = wanted
        try:
            content = await opened.enter_async_context(store.open_content(content_id, start=start, end=end))
        except ContentArchivedError:
            if not waiting:
                raise
            await watch_restore(store, content_id, within=waiting)
            content = await opened.enter_async_context(store.open_content(content_id, start=start, end=end))
        if output is None or output == "-":
            target = standard_output(asked_for=output == "-")
        else:
            target = new_file(Path(output), force=force)
        with Progress(f"get {content_id}", total=content.end - content.start) as progress:
            async with target as sink:
                async for chunk in content:
                    await sink.write(chunk)
                    progress.advance(len(chunk))
        size, etag = content.end - content.start, content.record.etag
    if output is not None and output != "-":
        if call.as_json:
            write_json({"content_id": content_id, "path": output, "size": size, "etag": etag})
        else:
            write_line(f"{output}: {size} bytes")


def rm(
    ctx: typer.Context,
    content_ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="The ids of the contents.")] = None,
    prefix: Annotated[
        str | None, typer.Option("--prefix", metavar="PREFIX", help="Instead, all whose ids start with this.")
    ] = None,
    erase: Annotated[bool, typer.Option("--erase", help="Skip the grace and clear every trace.")] = False,  # noqa: FBT002 - a flag
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --prefix: do not ask.")] = False,  # noqa: FBT002 - a flag
    dry_run: DryRunOption = False,  # noqa: FBT002 - a flag
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
) -> int:
    """Delete contents. Deleting what is not there is no error."""
    call = invocation(ctx, config, data, as_json)
    if (prefix is None) == (not content_ids):
        raise UsageError("rm takes either ids or --prefix", "'thermocline rm --help' shows how")
    if prefix is not None:
        return clear(call, prefix, erase=erase, yes=yes, dry_run=dry_run)
    return run(_rm(call, content_ids or [], erase=erase, dry_run=dry_run))


async def _rm(call: Invocation, content_ids: list[str], *, erase: bool, dry_run: bool) -> ExitCode:
    codes: list[ExitCode] = []
    async with open_store(call) as store:
        for content_id in content_ids:
            try:
                if dry_run:
                    record = await store.stat(content_id)
                    _tell_removal(call, content_id, "would_delete", done=True, size=record.size)
                elif erase:
                    _tell_erasure(call, await store.erase_content(content_id))
                else:
                    _tell_removal(call, content_id, "deleted", done=await store.delete_content(content_id))
            except ContentNotFoundError:
                _tell_removal(call, content_id, "would_delete", done=False)
            except StorageError as exc:
                # The others are still deleted: what failed is told, and the exit code says so.
                tell(exc, as_json=call.as_json)
                codes.append(code_of(exc))
        if not dry_run:
            await tidy(store)
    return codes[0] if codes and len(content_ids) == 1 else ExitCode.FAILED if codes else ExitCode.DONE


def _tell_removal(call: Invocation, content_id: str, what: str, *, done: bool, size: int | None = None) -> None:
    if call.as_json:
        write_json({"content_id": content_id, what: done} | ({} if size is None else {"size": size}))
    elif not done:
        write_line(f"{content_id}: there was nothing to delete")
    else:
        write_line(f"{what.replace('_', ' ')} {content_id}" + ("" if size is None else f" ({size_text(size)})"))


def _tell_erasure(call: Invocation, erasure: "Erasure") -> None:
    if call.as_json:
        write_json({"content_id": erasure.content_id, "erased": erasure.existed, "removed": dict(erasure.steps)})
        return
    _tell_removal(call, erasure.content_id, "erased", done=erasure.existed)
    for name, count in erasure.steps.items():
        if count and name != "record":
            write_line(f"  {name.replace('_', ' ')}: {count}")


def parse_metadata(pairs: list[str]) -> dict[str, Any] | None:
    """Return metadata of KEY=VALUE and JSON objects, the later ones winning; None of nothing. Raises `UsageError`."""
    metadata: dict[str, Any] = {}
    for pair in pairs:
        if pair.startswith("{"):
            try:
                metadata |= json.loads(pair)
            except ValueError as exc:
                raise UsageError(f"--metadata {pair!r} is not JSON: {exc}", "write KEY=VALUE or a JSON object") from exc
            continue
        key, found, value = pair.partition("=")
        if not found or not key:
            raise UsageError(f"--metadata {pair!r} has no key", "write KEY=VALUE or a JSON object")
        metadata[key] = value
    return metadata or None


def _guess_type(source: str, content_id: str) -> str:
    """Return the content type by the id's name, else by the file's."""
    from thermocline.services.content_types import guess_content_type

    guessed = guess_content_type(content_id)
    return guess_content_type(source) if guessed == DEFAULT_CONTENT_TYPE else guessed


def parse_life(text: str) -> float:
    """Return a life span in seconds. Raises `UsageError` unless it is a positive duration."""
    from thermocline.domain.units import parse_duration

    try:
        seconds = parse_duration(text)
    except ValueError as exc:
        raise UsageError(str(exc)) from exc
    if seconds <= 0:
        raise UsageError(f"a life span must be longer than nothing, not {text!r}")
    return seconds


def entity_tag(text: str | None) -> str | None:
    """Return an entity tag as HTTP writes it: shells eat the quotes, so they may be left out."""
    if text is None or text.strip() == "*" or '"' in text:
        return text
    return f'"{text}"'


def _digest(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != SHA256_BYTES:
        raise UsageError(f"--sha256 {text!r} is not a SHA-256 digest", "write 64 hexadecimal digits, as sha256sum does")
    return digest


def _parse_range(text: str | None) -> tuple[int, int | None]:
    if text is None:
        return 0, None
    match = _RANGE.fullmatch(text.removeprefix("bytes="))
    if match is None or match[0] == "-" or not text.isascii():
        raise UsageError(f"--range {text!r} is not a range of bytes", "write 0-99, 100- or -50")
    first, last = match.groups()
    if not first:
        if int(last) == 0:
            raise CommandError("--range -0 asks for no byte", "write 0-99, 100- or -50")
        return -int(last), None
    if last and int(last) < int(first):
        raise UsageError(f"--range {text!r} ends before it begins", "write 0-99, 100- or -50")
    return int(first), int(last) + 1 if last else None
