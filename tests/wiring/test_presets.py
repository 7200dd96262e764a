"""Every preset is valid, every setting is explained, and what is printed can be read back."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr, ValidationError

from thermocline.domain.units import LARGEST_SIZE, LONGEST_DURATION, parse_duration, parse_size
from thermocline.wiring.deciding import make_decision_rules, placement_prices
from thermocline.wiring.presets import PRESETS, read_preset
from thermocline.wiring.presets.field_docs import field_docs
from thermocline.wiring.presets.rendering import (
    REDACTED,
    effective,
    render_effective,
    render_file,
    render_reference,
    write_duration,
    write_size,
)
from thermocline.wiring.settings import Settings

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_parses_and_its_printed_file_means_the_same(name: str) -> None:
    preset = read_preset(name)
    printed = render_file(preset, name=name)
    assert Settings.model_validate(tomllib.loads(printed)) == Settings.model_validate(preset)


def test_the_embedded_preset_is_the_defaults() -> None:
    assert Settings.model_validate(read_preset("embedded")) == Settings()


def test_a_preset_that_sets_something_keeps_it_active() -> None:
    preset: dict[str, Any] = {
        "http": {"port": 9, "cors_origins": ["https://a.example"]},
        "objects": {"main": {"path": "/a b"}, "second": {"path": "x"}},
        "limits": {"max_wait": 0.25},
    }
    printed = render_file(preset)
    assert "\nport = 9\n" in printed
    assert Settings.model_validate(tomllib.loads(printed)) == Settings.model_validate(preset)


@pytest.mark.parametrize("name", PRESETS)
def test_every_default_becomes_valid_by_taking_its_mark_away(name: str) -> None:
    printed = render_file(read_preset(name), name=name)
    lines = [line[1:] if line.startswith("#") and not line.startswith("# ") else line for line in printed.splitlines()]
    settings = Settings.model_validate(tomllib.loads("\n".join(lines)))
    assert effective(settings) == effective(Settings.model_validate(read_preset(name)))


@pytest.mark.parametrize("name", PRESETS)
def test_every_placement_of_a_preset_has_prices(name: str) -> None:
    settings = Settings.model_validate(read_preset(name))
    assert all(placement_prices(settings, placement) is not None for placement in settings.placements)
    rules = make_decision_rules(settings, "idle")
    assert len(rules.open_places) == (1 if name == "embedded" else 2)


def test_own_prices_are_taken_and_wrong_ones_refused() -> None:
    settings = Settings.model_validate(
        {
            "placements": {"standard": {"objects": "main", "prices": "tape.slow"}},
            "prices": {"tape.slow": {"storage": 0.001, "get": "none"}, "r2.standard": {"storage": 1}},
        }
    )
    prices = placement_prices(settings, "standard")
    assert prices is not None
    assert {name: figure.value for name, figure in prices.figures.items()} == {"storage": 0.001}
    assert "storage = 0.001" in render_effective(settings)
    for wrong in (
        {"r2.standrad": {"storage": 1}},
        {"tape": {"storage": 1}},
        {"a.b": {"storage": -1}},
        {"a.b": {"x": 1}},
    ):
        with pytest.raises(ValidationError):
            Settings.model_validate({"prices": wrong})
    nothing = Settings.model_validate({"placements": {"standard": {"objects": "main", "prices": "none"}}})
    free = placement_prices(nothing, "standard")
    assert free is not None
    assert free.value("storage") == 0
    unknown = Settings.model_validate({"placements": {"standard": {"objects": "main", "prices": "s3.nonsense"}}})
    assert placement_prices(unknown, "standard") is None


@pytest.mark.parametrize(
    "wrong", [{"window": "1-2"}, {"name": "best"}, {"horizon": "1h"}, {"daily_usd": -1}, {"delayed_read": -0.1}]
)
def test_a_policy_that_is_none_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"policy": wrong})


def _sections(model: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    yield path, model
    for name, field in model.model_fields.items():
        for kind in _kinds(field.annotation):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _sections(kind, f"{path}.{name}")


def _kinds(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from _kinds(part)


SECTIONS = dict(_sections(Settings, "settings"))


@pytest.mark.parametrize("path", SECTIONS)
def test_every_section_and_setting_is_explained(path: str) -> None:
    model = SECTIONS[path]
    assert model.__doc__, path
    undocumented = [
        name
        for name in model.model_fields
        if name not in field_docs(model) and not any(f"{path}.{name}" == section for section in SECTIONS)
    ]
    assert undocumented == []


def test_every_setting_is_in_the_printed_file() -> None:
    printed = render_file({})
    for path, model in SECTIONS.items():
        for name in model.model_fields:
            if f"{path}.{name}" not in SECTIONS:
                assert f"{name} = " in printed, f"{path}.{name}"


def test_the_reference_page_is_current() -> None:
    assert REFERENCE.read_text() == render_reference(), "thermocline config --markdown > docs/reference/settings.md"


def test_what_is_in_force_can_be_read_back() -> None:
    settings = Settings.model_validate({"http": {"port": 0}, "data": "/somewhere else/ü"})
    read_back = Settings.model_validate(tomllib.loads(render_effective(settings)))
    assert effective(read_back) == effective(settings)


def test_passwords_in_addresses_are_hidden() -> None:
    settings = Settings.model_validate({"catalog": {"url": "postgresql://user:hunter2@host/db"}})
    for shown in (render_effective(settings), str(effective(settings))):
        assert "hunter2" not in shown
        assert f"postgresql://user:{REDACTED}@host/db" in shown


def test_secrets_are_hidden() -> None:
    class Vault(Settings):
        """Settings with a secret."""

        key: SecretStr = SecretStr("hunter2")

    assert "hunter2" not in render_effective(Vault())
    assert effective(Vault())["key"] == REDACTED


@given(st.integers(0, LARGEST_SIZE) | st.integers(0, 23).map(lambda power: LARGEST_SIZE >> power << power))
def test_a_size_is_written_as_it_is_read(size: int) -> None:
    assert parse_size(write_size(size)) == size


@given(st.floats(0, LONGEST_DURATION) | st.integers(0, 1000) | st.floats(0, 0.001))
def test_a_duration_is_written_as_it_is_read(seconds: float) -> None:
    duration = parse_duration(seconds)
    assert abs(duration - seconds) <= max(5.1e-7, seconds * 1e-15)
    assert parse_duration(write_duration(duration)) == duration
