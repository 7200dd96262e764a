"""The command tree."""

from typing import Annotated

import typer

from thermocline.interfaces.cli.commands import (
    backing_up,
    caching,
    configuration,
    contents,
    listing,
    optimizing,
    planning,
    repair,
    service,
    simulating,
    statistics,
    tiers,
    tokens,
    trees,
    warming,
)
from thermocline.interfaces.cli.options import ConfigOption, DataOption, Invocation, JsonOption


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer's callback
    if wanted:
        from importlib.metadata import version

        from thermocline.interfaces.cli.output import write_line

        write_line(f"thermocline {version('thermocline')}")
        raise typer.Exit


app = typer.Typer(
    name="thermocline",
    help=(
        "Store, serve and look after content.\n\n"
        "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 archived, 130 interrupted."
    ),
    rich_markup_mode=None,  # rich would double the time to start
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def begin(
    ctx: typer.Context,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
    version: Annotated[  # noqa: ARG001, FBT002 - a flag whose callback does the work
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Remember the options given before the command's name."""
    ctx.obj = Invocation(config, data, as_json)


app.command("serve", short_help="Start the service.")(service.serve)
app.command("worker", short_help="Do the background work without the service.")(service.worker)
app.command("put", short_help="Store a file or standard input.")(contents.put)
app.command("get", short_help="Write a content to a file or standard output.")(contents.get)
app.command("stat", short_help="Show what is known of a content.")(listing.stat)
app.command("ls", short_help="List contents.")(listing.ls)
app.command("rm", short_help="Delete contents.")(contents.rm)
app.command("change", short_help="Change metadata, visibility, expiry, hold or pin.")(tiers.change)
app.command("tier", short_help="Move contents to another tier.")(tiers.tier)
app.command("optimize", short_help="Move content to where the policy wants it, if that pays.")(optimizing.optimize)
app.command("explain", short_help="Say why a content has its tier, and what would change it.")(optimizing.explain)
app.command("restore", short_help="Make archived content readable.")(tiers.restore)
app.command("invalidate", short_help="Evict from the caches by pattern.")(caching.invalidate)
app.command("warm", short_help="Bring what is likely to be read into the caches.")(warming.warm)
app.command("stats", short_help="Show what is stored, and what the background work does.")(statistics.stats)
app.command("simulate", short_help="Replay a trace: what each policy would have cost.")(simulating.simulate)
app.command("plan", short_help="Say what tiering would save on a bucket.")(planning.plan)
app.command("import", short_help="Store every file of a folder.")(trees.import_)
app.command("export", short_help="Write contents into a folder.")(trees.export)
app.command("fsck", short_help="Verify everything that is stored.")(repair.fsck)
app.command("backup", short_help="Back up the catalog, or restore a backup.")(backing_up.backup)
app.command("doctor", short_help="Try every part; say how to fix what is wrong.")(repair.doctor)
app.command("migrate", short_help="Upgrade the catalog.")(repair.migrate)
app.command("config", short_help="Print a commented settings file.")(configuration.config)
app.add_typer(tokens.app, name="token")
