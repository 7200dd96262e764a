"""`config`: the settings as a commented file, and those in force."""

from typing import Annotated

import typer

from thermocline.interfaces.cli.exits import UsageError
from thermocline.interfaces.cli.options import ConfigOption, DataOption, JsonOption, invocation
from thermocline.interfaces.cli.output import write_json, write_line


def config(
    ctx: typer.Context,
    preset: Annotated[
        str, typer.Option(metavar="NAME", help="Print the file of this preset: embedded (the defaults).")
    ] = "embedded",
    effective: Annotated[bool, typer.Option("--effective", help="Print what is in force, secrets hidden.")] = False,  # noqa: FBT002 - a flag
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the reference page of all settings.")] = False,  # noqa: FBT002 - a flag
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
) -> None:
    """Print a commented settings file: every setting, what it means, its default."""
    from thermocline.wiring.presets import PRESETS, read_preset, rendering

    call = invocation(ctx, config, data, as_json)
    if effective:
        settings = call.settings()
        if call.as_json:
            write_json(rendering.effective(settings))
        else:
            write_line(rendering.render_effective(settings).strip("\n"))
        return
    if preset not in PRESETS:
        raise UsageError(f"there is no preset {preset!r}", f"the presets are {', '.join(PRESETS)}")
    if markdown:
        write_line(rendering.render_reference().rstrip("\n"))
    elif call.as_json:
        from thermocline.wiring.settings import Settings

        write_json(rendering.effective(Settings.model_validate(read_preset(preset))))
    else:
        write_line(rendering.render_file(read_preset(preset), name=preset).rstrip("\n"))
