"""The reference page knows every command and option, and no others."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.interfaces.cli.commandline import CommandLine
from thermocline.interfaces.cli.app import app

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "cli.md").read_text()


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, below in getattr(command, "commands", {}).items():
        yield from _commands(below, f"{path} {name}".strip())
    if not hasattr(command, "commands"):
        yield path, command


COMMANDS = dict(_commands(typer.main.get_command(app), ""))
HELP = {"--help"}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_and_its_options_are_in_the_page(name: str) -> None:
    assert re.search(rf"`{name}[ `]", PAGE)
    options = {
        option
        for parameter in COMMANDS[name].params
        if not getattr(parameter, "hidden", False)
        for option in parameter.opts
        if option.startswith("--")
    }
    assert {option for option in options - HELP if option not in PAGE} == set()


def test_the_page_names_no_option_that_is_not_there() -> None:
    known = {
        option
        for command in COMMANDS.values()
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    known |= {"--version", "--install-completion", "--show-completion"} | HELP
    assert set(re.findall(r"--[a-z][a-z0-9-]+", PAGE)) - known == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_explained(name: str, cli: CommandLine) -> None:
    for parameter in COMMANDS[name].params:
        assert parameter.help, f"{name} {parameter.name}"
    shown = cli.ok(*name.split(), "--help").out
    assert shown.startswith(f"Usage: thermocline {name}")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_the_common_options(name: str) -> None:
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert {"--config", "--data", "--json"} <= options
