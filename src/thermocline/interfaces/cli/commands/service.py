"""`serve`: the service, until a signal asks it to stop."""

from typing import Annotated, Any

import typer

from thermocline.interfaces.cli.exits import CommandError
from thermocline.interfaces.cli.options import ConfigOption, DataOption, JsonOption, invocation
from thermocline.interfaces.cli.output import flush_output, write_json, write_line


def serve(
    ctx: typer.Context,
    host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
) -> None:
    """Start the service and its background work; SIGTERM and Ctrl-C let running requests end first."""
    from thermocline.interfaces.http.service import serve_store
    from thermocline.interfaces.http.wire.server import ServerStartError
    from thermocline.interfaces.http.wire.server import run as run_fast
    from thermocline.wiring.logs import configure_logs

    call = invocation(ctx, config, data, as_json)
    http: dict[str, Any] = {}
    if host is not None:
        http["host"] = host
    if port is not None:
        http["port"] = port
    settings = call.settings(http=http)
    configure_logs(settings.log)

    def announce(address: str) -> None:
        if call.as_json:
            write_json({"address": address})
        else:
            write_line(f"Thermocline listens on {address}")
        flush_output()

    try:
        run_fast(serve_store(settings, on_started=announce))
    except ServerStartError as exc:
        raise CommandError(f"the service did not start: {exc.__cause__ or exc}") from exc
