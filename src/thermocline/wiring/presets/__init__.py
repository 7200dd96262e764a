"""Presets: complete settings for common installations, printed as commented files."""

import tomllib
from importlib import resources
from typing import Any

PRESETS = ("embedded", "cloudflare", "aws", "ceph")


def read_preset(name: str) -> dict[str, Any]:
    """Return what a preset sets, nested like a settings file. `name` is one of `PRESETS`."""
    text = resources.files(__name__).joinpath(f"{name}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
