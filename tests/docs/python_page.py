"""`docs/reference/python.md`, from the public names: signatures, fields and docstrings as the code has them."""

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator
from enum import Enum
from typing import Any

import thermocline
from thermocline.domain.errors import StorageError
from thermocline.domain.heat import AccessSummary
from thermocline.domain.moves import MoveStatus
from thermocline.domain.restores import RestoreSpeed, RestoreStage, RestoreStatus
from thermocline.services.checking import Finding
from thermocline.services.clearing import ClearReport
from thermocline.services.deleting import Erasure
from thermocline.services.listing import Page
from thermocline.services.moving import TierOutcome
from thermocline.services.open_contents import OpenContent
from thermocline.services.tree_reports import Outcome, TreeProblem, TreeProgress, TreeReport

HEAD = """# Python

Made from the code by `make docs`; a test compares. Everything under "public names" is imported from `thermocline`.
Errors are in [errors](errors.md), settings in [settings](settings.md).

Keywords stand after `*`. Sizes are bytes, `float`s of time are seconds, a `Timestamp` is an `int`: microseconds since
1970, UTC.

## Public names
"""
RESULTS = """## What the methods take and return
"""
_RESULTS = (
    *(RestoreSpeed, RestoreStatus, RestoreStage, TierOutcome, MoveStatus, AccessSummary, OpenContent, Page, Erasure),
    *(ClearReport, TreeReport, TreeProgress, TreeProblem, Outcome, Finding),
)
_WIDTH = 100


def render() -> str:
    """Return the page."""
    parts = [HEAD]
    public = [getattr(thermocline, name) for name in thermocline.__all__]
    parts += [_describe(value) for value in public if not _is_error(value)]
    parts += [RESULTS, *(_describe(kind) for kind in _RESULTS)]
    return "\n".join(parts)


def _is_error(value: Any) -> bool:
    return inspect.isclass(value) and issubclass(value, StorageError)


def _describe(value: Any) -> str:
    if not inspect.isclass(value):
        return f"### `{value.__name__}`\n\n{_signature(value)}\n{_doc(value)}\n"
    if value is thermocline.SyncStorageOrchestrator:
        return _section(value, _methods(value, lambda method: method.__module__ == value.__module__))
    if value is thermocline.Settings:
        return _section(value, _methods(value, lambda method: method.__name__ == "load"))
    if issubclass(value, Enum):
        return _section(value, [f"`{', '.join(member.value for member in value)}`\n"])
    if not hasattr(value, "__dataclass_fields__"):
        return _section(value, _methods(value, lambda _: True))
    return _section(value, [*_fields(value), *_methods(value, lambda method: method.__name__ != "as_dict")])


def _section(value: Any, parts: list[str]) -> str:
    return "\n".join([f"### `{value.__name__}`\n\n{_doc(value)}\n", *parts])


def _fields(kind: type) -> list[str]:
    """Return a table of a class's public fields and properties, with what stands below each in the source."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    rows = []
    for node, below in zip(body.body, [*body.body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id[0] != "_":
            said = _text_of(below)
            rows.append(f"| `{node.target.id}` | {_as_code(ast.unparse(node.annotation))} | {_flow(said)} |")
        elif isinstance(node, ast.FunctionDef) and any(ast.unparse(each) == "property" for each in node.decorator_list):
            returned = ast.unparse(node.returns) if node.returns else ""
            rows.append(f"| `{node.name}` | {_as_code(returned)} | {_flow(ast.get_docstring(node) or '')} |")
    return ["\n".join(["| field | type | means |", "|---|---|---|", *rows, ""])]


def _text_of(node: ast.stmt | None) -> str:
    """Return what a bare string says; fields are explained by the one below them."""
    match node:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return text
        case _:
            return ""


def _as_code(annotation: str) -> str:
    return "`" + annotation.strip("'").replace("|", r"\|").replace("'", "") + "`"


def _flow(text: str) -> str:
    return " ".join(text.split())


def _methods(kind: type, is_shown: Any) -> list[str]:
    return [f"{_signature(method)}\n{_doc(method)}\n" for method in _public(kind) if is_shown(method)]


def _public(kind: type) -> Iterator[Any]:
    for name, value in vars(kind).items():
        method = inspect.unwrap(value.__func__ if isinstance(value, classmethod | staticmethod) else value)
        if name[0] != "_" and inspect.isfunction(method):
            yield method


def _signature(function: Any) -> str:
    """Return the signature as the source writes it, its defaults by value, folded where it is long."""
    node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    for defaults in (node.args.defaults, node.args.kw_defaults):
        for position, default in enumerate(defaults):
            if default is not None:
                defaults[position] = ast.Name(_default(default, function.__module__))
    parts = [part.strip().replace("=", " = ", 1) for part in _split(ast.unparse(node.args))]
    given = [part for part in parts if part not in {"self", "cls"}]
    kind = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    decorated = {ast.unparse(each) for each in node.decorator_list}
    before = "".join(
        f"@{name}\n" for name in ("classmethod", "asynccontextmanager", "contextmanager") if name in decorated
    )
    returns = ast.unparse(node.returns).strip("'") if node.returns else "None"
    flat = f"{kind} {node.name}({', '.join(given)}) -> {returns}"
    if len(flat) > _WIDTH:
        flat = f"{kind} {node.name}(\n" + "".join(f"    {part},\n" for part in given) + f") -> {returns}"
    return f"```py\n{before}{flat}\n```\n"


def _default(node: ast.expr, module: str) -> str:
    value = eval(ast.unparse(node), vars(sys.modules[module]))  # noqa: S307 - a default of ours
    return f"{type(value).__name__}.{value.name}" if isinstance(value, Enum) else repr(value)


def _split(arguments: str) -> list[str]:
    """Return the arguments of a signature, split at the commas outside of brackets."""
    parts, depth = [""], 0
    for character in arguments:
        depth += {"[": 1, "(": 1, "]": -1, ")": -1}.get(character, 0)
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _doc(value: Any) -> str:
    return inspect.getdoc(value) or ""
