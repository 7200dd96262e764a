"""`docs/reference/errors.md`, from the tree of errors and the tables that tell them to clients and shells."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path
from typing import Any

import thermocline.interfaces.cli
import thermocline.interfaces.http
from thermocline.domain import errors
from thermocline.domain.errors import StorageError
from thermocline.domain.units import Timestamp
from thermocline.interfaces.cli.exits import CommandError, code_of, slug_of
from thermocline.interfaces.http.error_table import problem_of
from thermocline.interfaces.http.problems import TYPE_PREFIX

HEAD = """# Errors

Made from the code by `make docs`; a test compares.

Every failure has one name, wherever it is seen: the class in Python (all descend from `StorageError`), the end of
`type` in a problem document (`{prefix}NAME`, RFC 9457), `error` in what a command prints with `--json`.
Messages say what to do; names, statuses and exit codes are stable, messages are not.

## Everywhere

"retry" marks errors after which the same call may succeed without any change; in HTTP they carry `Retry-After`.

| Python | name | HTTP | exit code | retry | means |
|---|---|--:|--:|---|---|
"""
SERVICE = """
## Only from the service

| name | HTTP | title |
|---|--:|---|
"""
COMMANDS = """
## Only from the command line

| name | exit code | means |
|---|--:|---|
"""
_ARGUMENTS: dict[str, dict[str, Any]] = {
    "InvalidRangeError": {"size": 1},
    "ContentArchivedError": {"eta": Timestamp(1)},
    "PreconditionFailedError": {"current_etag": None},
    "IntegrityError": {"object_key": "k", "detail": "d"},
}
_DECLARED = {"Problem", "Refusal"}


def render() -> str:
    """Return the page."""
    everywhere = [
        _row(kind) for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, StorageError)
    ]
    told = {row.split("`")[3] for row in everywhere}
    service = [f"| `{slug}` | {status} | {title} |" for status, slug, title in sorted(_declared()) if slug not in told]
    kinds = [kind for kind in _kinds_of_command_errors() if kind.slug not in told]
    commands = [f"| `{kind.slug}` | {int(kind.code)} | {_first_sentence(kind)} |" for kind in kinds]
    return "\n".join(
        [
            HEAD.format(prefix=TYPE_PREFIX) + "\n".join(everywhere),
            SERVICE + "\n".join(service),
            COMMANDS + "\n".join(commands),
            "",
        ]
    )


def _kinds_of_command_errors() -> list[type[CommandError]]:
    """Return the command line's own errors, in the order of their exit codes, whatever was imported before."""
    for module in pkgutil.walk_packages(thermocline.interfaces.cli.__path__, "thermocline.interfaces.cli."):
        importlib.import_module(module.name)
    kinds = [kind for kind in CommandError.__subclasses__() if kind.__module__.startswith("thermocline.")]
    return sorted([CommandError, *kinds], key=lambda kind: (kind.code, kind.slug))


def _row(kind: type[StorageError]) -> str:
    error = kind("x", **_ARGUMENTS.get(kind.__name__, {}))
    problem = problem_of(error, now=Timestamp(0))
    depth = len(kind.__mro__) - len(StorageError.__mro__)
    name = slug_of(error)
    # What clients are not told by name is "internal" to them.
    status = f"{problem.status}" if problem.slug == name else f"{problem.status} `{problem.slug}`"
    retry = "yes" if error.retryable else ""
    return (
        f"| {'&nbsp;' * 3 * depth}`{kind.__name__}` | `{name}` | {status} | {int(code_of(error))} | {retry} | "
        f"{_first_sentence(kind)} |"
    )


def _declared() -> set[tuple[int, str, str]]:
    """Return status, slug and title of every problem that the service's code writes down."""
    found: dict[str, tuple[int, str, str]] = {}
    folder = Path(thermocline.interfaces.http.__path__[0])
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _DECLARED:
                match [each.value for each in node.args if isinstance(each, ast.Constant)]:
                    case [int(status), str(slug), str(title), *_]:
                        # One name may be given at several places: the page shows one title, the same each time.
                        found[slug] = min(found.get(slug, (status, slug, title)), (status, slug, title))
                    case _:
                        pass  # made with values of the moment, from one that is written down
    return set(found.values())


def _first_sentence(kind: type) -> str:
    return " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())
