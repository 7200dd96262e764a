"""Layers of settings: the file and the environment, read, merged, and explained when they are wrong."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from thermocline.domain.errors import ConfigurationError

ENVIRONMENT_PREFIX = "THERMOCLINE_"


def completed(given: Any, defaults: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return named tables completed by their defaults; what is no table is left for the model to refuse."""
    if not isinstance(given, Mapping):
        return given
    named = {str(name): table for name, table in given.items()}
    completed = {
        name: {**defaults.get(name, {}), **table} if isinstance(table, Mapping) else table
        for name, table in named.items()
    }
    return {**defaults, **completed}


def read_file(path: Path, *, must_exist: bool) -> dict[str, Any]:
    """Return what a settings file says; nothing if there is none, unless it must exist. Raises `ConfigurationError`."""
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError as exc:
        if must_exist:
            raise ConfigurationError(f"there is no settings file {str(path)!r}") from exc
        return {}
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"the settings file {str(path)!r} cannot be read: {exc}") from exc
    except tomllib.TOMLDecodeError as exc:
        raise ConfigurationError(f"{path}: not valid TOML: {exc}") from exc


def read_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return what variables with our prefix say, nested like the file. Raises `ConfigurationError`."""
    layer: dict[str, Any] = {}
    for key, value in sorted(environment.items()):
        names = key.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        text = value
        if names[-1] == "file":
            names.pop()
            try:
                text = Path(value).read_text().rstrip("\n")
            except OSError as exc:
                raise ConfigurationError(f"{key}: the file {value!r} cannot be read: {exc.strerror}") from exc
            except UnicodeDecodeError as exc:
                raise ConfigurationError(f"{key}: the file {value!r} is not UTF-8 text") from exc
        section = layer
        for name in names[:-1]:
            section = section.setdefault(name, {})
            if not isinstance(section, dict):
                raise ConfigurationError(f"{key}: {name!r} is set as a single value by another variable; remove one")
        if not names or isinstance(section.get(names[-1]), dict):
            raise ConfigurationError(f"{key} does not name one setting; write THERMOCLINE_SECTION__KEY")
        section[names[-1]] = _parse_value(text)
    return layer


def _parse_value(text: str) -> Any:
    """Return lists and tables written as TOML (`["a", "b"]`); everything else stays text, which the model converts."""
    if text[:1] in {"[", "{"}:
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            return text
    return text


def merge(base: Mapping[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with what `layer` says in its place, table by table."""
    merged = dict(base)
    for key, value in layer.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def explain(exc: ValidationError) -> str:
    """Return which keys are wrong and why, for whoever wrote them."""
    lines = []
    for error in exc.errors(include_url=False, include_input=False):
        path = error["loc"]
        if path[:1] == ("objects",):
            path = path[:2] + path[3:]  # behind a store's name stands its kind, which nobody wrote there
        where = ".".join(str(part) for part in path) or "settings"
        message = error["msg"].removeprefix("Value error, ")
        if error["type"] == "extra_forbidden":
            message = "there is no such setting; 'thermocline config' prints all of them"
        lines.append(f"{where}: {message}")
    return "; ".join(lines)
