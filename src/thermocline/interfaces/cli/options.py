"""Options that every command has, before or after its name, and the settings they lead to."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from thermocline.wiring.settings import Settings

ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings file instead of thermocline.toml.")
]
DataOption = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Data folder instead of ./data.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, and errors as JSON on standard error.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")]


@dataclass(frozen=True, slots=True)
class Invocation:
    """What a command was asked for, besides its own arguments."""

    config: Path | None = None
    data: Path | None = None
    as_json: bool = False

    def settings(self, **flags: Any) -> "Settings":
        """Return the settings in force; `flags` are nested like the file. Raises `ConfigurationError`."""
        from thermocline.wiring.settings import Settings

        if self.data is not None:
            flags["data"] = self.data
        return Settings.load(self.config, flags=flags)


def invocation(ctx: typer.Context, config: Path | None, data: Path | None, as_json: bool) -> Invocation:  # noqa: FBT001 - typer's options
    """Return the options given before and after the command's name; those after it win."""
    before = ctx.find_root().obj
    if not isinstance(before, Invocation):
        before = Invocation()
    return Invocation(config or before.config, data or before.data, as_json or before.as_json)
