"""What the docstrings below the fields of settings say.

Pydantic can take them in itself (`use_attribute_docstrings`), by parsing the source of every model at import: a seventh
of the time in which a command starts, for what few commands print.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise

from pydantic import BaseModel


@cache
def field_docs(model: type[BaseModel]) -> Mapping[str, str]:
    """Return what is said of each field of a model, in one line, by its name: below it, or by its own `description`."""
    docs: dict[str, str] = {}
    for of in reversed(model.__mro__):
        if issubclass(of, BaseModel) and of is not BaseModel:
            docs |= {name: field.description for name, field in of.model_fields.items() if field.description}
            docs |= dict(_below_fields(of))
    return {name: " ".join(text.split()) for name, text in docs.items()}


def _below_fields(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    try:
        source = textwrap.dedent(inspect.getsource(model))
    except OSError:  # made by a call: its fields have descriptions
        return
    (made,) = ast.parse(source).body
    if not isinstance(made, ast.ClassDef):
        return
    for field, below in pairwise(made.body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            text = ast.literal_eval(below.value) if isinstance(below.value, ast.Constant) else None
            if isinstance(text, str):
                yield field.target.id, text
