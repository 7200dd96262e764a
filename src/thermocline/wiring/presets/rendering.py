"""Settings as text: the commented file, what is in force, and the reference page. All come from the model alone."""

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import parse_duration, parse_size
from thermocline.wiring.policy import ClassPricesSettings, OwnPricesSettings
from thermocline.wiring.presets.field_docs import field_docs
from thermocline.wiring.s3_objects import S3ObjectsSettings
from thermocline.wiring.settings import Settings

REDACTED = "**********"
_WIDTH = 100
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
# Up to the last "@": a password that was not encoded may hold one, and slashes.
_PASSWORD = re.compile(r"(?<=://)([^/@:]*):[^?]*@")
_PASSWORD_OPTION = re.compile(r"(?<=[?&])((?:ssl)?password)=[^&]*")
_SIZE_UNITS = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
_DURATION_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))

_HEADER = """\
# Settings of Thermocline{title}.
# Order of precedence: flags, environment, this file, defaults. Lines that begin with '#' show defaults.
# Every setting is also an environment variable: [limits] memory is THERMOCLINE_LIMITS__MEMORY, and
# THERMOCLINE_LIMITS__MEMORY__FILE names a file that holds the value. Unknown keys are refused.
# Sizes: 64KiB, 256MiB, 1GB. Durations: 250ms, 90s, 5m, 24h, 7d.
"""

_EXAMPLES: tuple[tuple[tuple[str, ...], BaseModel, str], ...] = (
    (
        ("objects", "NAME"),
        S3ObjectsSettings(bucket="my-bucket", endpoint="https://s3.example.com"),
        " ".join((S3ObjectsSettings.__doc__ or "").split()),
    ),
    (
        ("prices", "CLASS"),
        ClassPricesSettings.model_validate({"storage": 0.01}),
        " ".join((OwnPricesSettings.__doc__ or "").split()),
    ),
)
"""Kinds of tables that the defaults have none of; told as examples."""


def render_file(preset: Mapping[str, Any], *, name: str | None = None) -> str:
    """Return a commented settings file: what `preset` sets is active, all else shows its default.

    It parses to the same settings as `preset` itself.
    """
    settings = Settings.model_validate(preset)
    title = f", preset '{name}'" if name else ""
    return _HEADER.format(title=title) + "".join(_tables(settings, preset))


def render_effective(settings: Settings) -> str:
    """Return what is in force as a settings file, secrets redacted."""
    return "\n".join(_active_lines(_with_default_tiers(settings))) + "\n"


def effective(settings: Settings) -> dict[str, Any]:
    """Return what is in force as JSON-ready values in their written forms, secrets redacted."""
    return _plain(_with_default_tiers(settings))


def render_reference() -> str:
    """Return the reference page of all settings as Markdown."""
    lines = [
        "# Settings",
        "",
        "Flags, then environment, then `thermocline.toml` (or `--config`, or `THERMOCLINE_CONFIG`), then defaults.",
        "Unknown keys are refused. `[limits] memory` is `THERMOCLINE_LIMITS__MEMORY` in the environment, and",
        "`THERMOCLINE_LIMITS__MEMORY__FILE` names a file that holds the value. This page is made by",
        "`thermocline config --markdown`; `thermocline config` prints the same as a commented file.",
    ]
    for path, model, about in (*_sections(_with_default_tiers(Settings()), ()), *_EXAMPLES):
        lines += ["", f"## `[{'.'.join(path)}]`" if path else "## At the top of the file", "", about, ""]
        lines += ["| setting | default | meaning |", "|---|---|---|"]
        for name, field in _scalars(type(model)):
            value = _toml(_written(field, getattr(model, name)))
            lines.append(f"| `{name}` | `{value}` | {_about(model, name).replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def _with_default_tiers(settings: Settings) -> Settings:
    return settings.model_copy(update={"tiers": {tier: settings.tier(tier) for tier in StorageTier}})


def _tables(settings: Settings, preset: Mapping[str, Any]) -> Iterator[str]:
    described: set[type[BaseModel]] = set()
    for path, model, about in _sections(_with_default_tiers(settings), ()):
        given = _at(preset, path)
        # A default entry of a named table (such as [tiers.hot]) has required keys: it is shown as a whole.
        optional = _is_entry(path) and given is None
        yield "\n"
        if path:
            yield _comment(about)
            yield f"{'#' if optional else ''}[{'.'.join(map(_key, path))}]\n"
        for name, field in _scalars(type(model)):
            if type(model) not in described:
                yield _comment(_about(model, name))
            active = given is not None and name in given
            yield f"{'' if active else '#'}{name} = {_toml(_written(field, getattr(model, name)))}\n"
        described.add(type(model))
    for path, model, about in _EXAMPLES:
        if type(model) not in described:
            yield "\n" + _comment(about) + _comment(f"[{'.'.join(path)}]")
            for name, field in _scalars(type(model)):
                yield _comment(_about(model, name)) + f"# {name} = {_toml(_written(field, getattr(model, name)))}\n"


def _active_lines(settings: Settings) -> Iterator[str]:
    for where, section, _ in _sections(settings, ()):
        if where:
            yield f"\n[{'.'.join(map(_key, where))}]"
        for name, field in _scalars(type(section)):
            yield f"{name} = {_toml(_redacted(_written(field, getattr(section, name))))}"


def _sections(model: BaseModel, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], BaseModel, str]]:
    """Yield every table with its path and what it is about, in the order of the model."""
    if not path:
        yield path, model, _doc(type(model))
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield (*path, name), value, _about(model, name) or _doc(type(value))
            yield from _sections(value, (*path, name))
        elif isinstance(value, dict):
            for key, entry in value.items():
                where = (*path, name, key.value if isinstance(key, Enum) else key)
                yield where, entry, _doc(type(entry))
                yield from _sections(entry, where)


def _scalars(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        if _is_scalar(field):
            yield name, field


def _is_scalar(field: FieldInfo) -> bool:
    """Whether a setting is neither a section, nor one that may be left out, nor several with names."""
    return not any(isinstance(kind, type) and issubclass(kind, BaseModel) for kind in _kinds(field.annotation))


def _kinds(annotation: Any) -> Iterator[Any]:
    """Yield an annotation and everything that it is made of."""
    yield annotation
    for part in get_args(annotation):
        yield from _kinds(part)


def _is_entry(path: tuple[str, ...]) -> bool:
    """Whether the path ends in a name that users choose, rather than in a section of the model."""
    model: type[BaseModel] = Settings
    for name in path:
        field = model.model_fields[name]
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return True
        model = field.annotation
    return False


def _at(given: Mapping[str, Any], path: tuple[str, ...]) -> Mapping[str, Any] | None:
    for name in path:
        below = given.get(name)
        if not isinstance(below, Mapping):
            return None
        given = below
    return given


def _plain(model: BaseModel) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            values[name] = _plain(value)
        elif isinstance(value, dict):
            if value:  # a table without entries has no line in the file either
                values[name] = {str(key): _plain(entry) for key, entry in value.items()}
        elif _is_scalar(field):
            values[name] = _redacted(_written(field, value))
    return values


def _written(field: FieldInfo, value: Any) -> Any:
    """Return the value as people write it: sizes and durations with their units, nothing as `none`."""
    if value is None:
        return "none"
    parsers = {getattr(part, "func", None) for part in field.metadata}
    if parse_size in parsers:
        return write_size(value)
    if parse_duration in parsers:
        return write_duration(value)
    if isinstance(value, Path):
        return "" if value == Path() else str(value)
    if isinstance(value, SecretStr):
        return REDACTED if value.get_secret_value() else ""
    if isinstance(value, Enum):
        return value.value
    return list(value) if isinstance(value, tuple) else value


def write_size(size: int) -> str:
    """Return a size as text that `parse_size` reads back exactly."""
    for unit, factor in _SIZE_UNITS:
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B"


def write_duration(duration: float) -> str:
    """Return a duration as text that `parse_duration` reads back exactly."""
    for unit, factor in _DURATION_UNITS:
        if duration and duration % factor == 0:
            return f"{int(duration // factor)}{unit}"
    return f"{duration:f}".rstrip("0").rstrip(".") + "s"


def _redacted(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return _PASSWORD_OPTION.sub(rf"\1={REDACTED}", _PASSWORD.sub(rf"\1:{REDACTED}@", value))


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's escapes are TOML's too; DEL is the one character that only TOML forbids.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return repr(value)


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _toml(name)


def _about(model: BaseModel, name: str) -> str:
    return field_docs(type(model)).get(name, "")


def _doc(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


def _comment(text: str) -> str:
    return "".join(f"# {line}\n" for line in textwrap.wrap(text, _WIDTH - 2))
