"""Running a page: its blocks in order, in a fresh folder, as a reader would type them."""

import ast
import asyncio
import configparser
import contextlib
import inspect
import io
import json
import os
import random
import sys
import tomllib
from pathlib import Path
from typing import Any

import structlog

from tests.docs.comparing import differences
from tests.docs.forking import write_client
from tests.docs.pages import ADDRESS, DATABASE, ROOT, Block, Page, commands
from tests.docs.shell import Shell
from tests.service_process import ServiceProcess, running_service
from thermocline.adapters.catalog.postgres_connections import shown_address
from thermocline.wiring.settings import Settings

PICTURE = random.Random(7).randbytes(200_000)
"""What readers have at hand as `cat.jpg`."""
FOLDERS = {"photos/2023/dog.jpg": 1_000, "photos/2024/cat.jpg": 2_000, "photos/notes.txt": 300}
"""And as a folder to import."""


class Reader:
    """Somebody who follows one page in a folder that is theirs."""

    def __init__(self, page: Page, folder: Path, program: Path, database: str = DATABASE) -> None:
        self._page = page
        self._folder = folder
        self._database = database
        self._open = contextlib.ExitStack()
        self._names: dict[str, Any] = {"__name__": "__page__"}
        self._service: ServiceProcess | None = None
        self._shell: Shell | None = None
        self._printed: tuple[Block, str] | None = None
        _lay_out(folder, program)

    def follow(self) -> None:
        """Do what the page says. Raises `AssertionError` at the first example that is not as shown."""
        self._open.callback(structlog.reset_defaults)
        with self._open, contextlib.chdir(self._folder):
            for block in self._page.blocks:
                if block.language == "text":
                    self._compare_printed(block)
                    continue
                self._printed = None
                if block.is_run:
                    self._do(block)

    def _do(self, block: Block) -> None:
        if block.language == "toml":
            Settings.model_validate(tomllib.loads(block.text))
        elif block.language == "json":
            json.loads(block.text)
        elif block.language == "ini":
            configparser.ConfigParser(strict=False).read_string(block.text)
        if block.remark == "save as":
            target = self._folder / block.value
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text.replace(DATABASE, self._database))
        elif block.language == "console":
            self._type(block)
        elif block.language == "python":
            self._execute(block)

    def _type(self, block: Block) -> None:
        typed = commands(block)
        for command, following in zip(typed, [*typed[1:], None], strict=True):
            code, came = self._in_shell().run(self._with_port(command.text))
            if self._service is not None:
                came = came.replace(self._service.url, ADDRESS)
            came = came.replace(shown_address(self._database), shown_address(DATABASE))
            where = f"{self._page.name}:{command.line}: $ {command.text}\n{came}"
            fails = any(line.startswith("error: ") for line in command.output)
            shows_code = following is not None and following.text == "echo $?"
            assert shows_code or (code != 0) == fails, f"exit code {code} from {where}"
            if command.output:
                wrong = differences(command.output, came)
                assert not wrong, f"{where}\n{wrong}"

    def _execute(self, block: Block) -> None:
        source = "\n" * (block.line - 1) + self._with_port(block.text)
        code = compile(source, self._page.name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            result = eval(code, self._names)  # noqa: S307 - the page's own example
            if inspect.iscoroutine(result):
                asyncio.run(result)
        self._printed = block, printed.getvalue()

    def _compare_printed(self, block: Block) -> None:
        assert self._printed is not None, f"{self._page.name}:{block.line}: text stands below what prints it"
        wrong = differences(block.text.splitlines(), self._printed[1])
        assert not wrong, f"{self._page.name}:{block.line}\n{wrong}"

    def _in_shell(self) -> Shell:
        if self._shell is None:
            kept = {name: value for name, value in os.environ.items() if not name.startswith("THERMOCLINE_")}
            path = f"{self._folder / '.venv' / 'bin'}{os.pathsep}{kept['PATH']}"
            self._shell = self._open.enter_context(
                Shell(self._folder, kept | {"PATH": path, "HOME": str(self._folder), "LC_ALL": "C.UTF-8"})
            )
        return self._shell

    def _with_port(self, text: str) -> str:
        """Return the text with the address of a service that is really there: it starts where a page first needs it."""
        if ADDRESS not in text:
            return text
        if self._service is None:
            settings = self._folder / "thermocline.toml"
            environment = {"THERMOCLINE_CONFIG": str(settings)} if settings.exists() else {}
            self._service = self._open.enter_context(running_service(self._folder / "data", environment=environment))
        return text.replace(ADDRESS, self._service.url)


def _lay_out(folder: Path, program: Path) -> None:
    """Put there what readers have: the program, a picture, a folder, and no progress meters in pipes."""
    binaries = folder / ".venv" / "bin"
    binaries.mkdir(parents=True)
    write_client(binaries / "thermocline", program)
    python = binaries / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (folder / ".curlrc").write_text("no-progress-meter\n")
    for name in ("README.md", "tests"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "cat.jpg").write_bytes(PICTURE)
    for name, size in FOLDERS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.Random(name).randbytes(size))
