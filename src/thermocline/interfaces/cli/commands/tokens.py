"""`token create`, `token list`, `token revoke`: who may use the service."""

import sys
from typing import Annotated

import typer

from thermocline.domain.access import Scope, split_token
from thermocline.interfaces.cli.commands.contents import parse_life
from thermocline.interfaces.cli.exits import CommandError, ExitCode, UsageError
from thermocline.interfaces.cli.opening import open_store
from thermocline.interfaces.cli.options import ConfigOption, DataOption, Invocation, JsonOption, invocation
from thermocline.interfaces.cli.output import write_json, write_line
from thermocline.interfaces.cli.running import run
from thermocline.interfaces.cli.shapes import token_as_json

app = typer.Typer(help="Make, list and revoke access tokens.", rich_markup_mode=None)


@app.command()
def create(
    ctx: typer.Context,
    scope: Annotated[str, typer.Option(metavar="SCOPES", help="read, write, admin; several with commas.")] = "read",
    prefix: Annotated[str, typer.Option(metavar="PREFIX", help="Only for content ids that start with this.")] = "",
    expires: Annotated[str | None, typer.Option(metavar="DURATION", help="Life span, such as 24h or 90d.")] = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
) -> None:
    """Make a token and print its text, which is shown only now and stored nowhere."""
    call = invocation(ctx, config, data, as_json)
    run(_create(call, _scopes(scope), prefix, None if expires is None else parse_life(expires)))


async def _create(call: Invocation, scopes: frozenset[Scope], prefix: str, expires_in: float | None) -> None:
    from thermocline.domain.units import Seconds

    async with open_store(call) as store:
        authorizing = store.services.authorizing
        was_open = await authorizing.is_open()
        text = await authorizing.create(
            scopes=scopes, prefix=prefix, expires_in=None if expires_in is None else Seconds(expires_in)
        )
        parts = split_token(text)
        now = store.services.adapters.clock.now()
        stored = [token for token in await authorizing.all() if parts is not None and token.token_id == parts[0]]
    if call.as_json:
        shown = token_as_json(stored[0], now) if stored else {}
        write_json(shown | {"token": text})
        return
    write_line(text)
    if was_open and sys.stderr is not None:
        sys.stderr.write("From now on only public content can be read without a token.\n")


@app.command("list")
def show(
    ctx: typer.Context,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
) -> None:
    """List tokens, also those that are expired or revoked, never their secrets."""
    run(_show(invocation(ctx, config, data, as_json)))


async def _show(call: Invocation) -> None:
    async with open_store(call) as store:
        now = store.services.adapters.clock.now()
        tokens = [token_as_json(token, now) for token in await store.services.authorizing.all()]
    for token in tokens:
        if call.as_json:
            write_json(token)
        else:
            until = f"until {token['expires_at'][:19]}Z" if token["expires_at"] else "no end"
            scopes = ",".join(token["scopes"])
            write_line(f"{token['token_id']}  {token['state']:<7}  {scopes:<16}  {until:<26}  {token['prefix'] or '*'}")


@app.command()
def revoke(
    ctx: typer.Context,
    token_id: Annotated[str, typer.Argument(metavar="TOKEN", help="The token's id, or its whole text.")],
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
) -> None:
    """Revoke a token: nobody gets in with it any more, in no process."""
    run(_revoke(invocation(ctx, config, data, as_json), token_id))


class NoSuchTokenError(CommandError):
    """No token has this id."""

    code = ExitCode.NOT_FOUND
    slug = "token-not-found"


async def _revoke(call: Invocation, token_id: str) -> None:
    parts = split_token(token_id)
    wanted = parts[0] if parts else token_id
    async with open_store(call) as store:
        revoked = await store.services.authorizing.revoke(wanted)
    if not revoked:
        raise NoSuchTokenError("there is no such token", "'thermocline token list' shows their ids")
    if call.as_json:
        write_json({"token_id": wanted, "revoked": True})
    else:
        write_line(f"revoked {wanted}")


def _scopes(text: str) -> frozenset[Scope]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    try:
        scopes = frozenset(Scope(name) for name in names)
    except ValueError as exc:
        raise UsageError(f"{exc}", "the scopes are read, write and admin") from exc
    if not scopes:
        raise UsageError("a token needs at least one scope", "the scopes are read, write and admin")
    return scopes
