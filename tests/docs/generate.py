"""Writes the pages of the reference that are made from the code: `make docs`."""

from collections.abc import Callable

from tests.docs import errors_page, http_page, python_page
from tests.docs.pages import ROOT
from thermocline.wiring.presets.rendering import render_reference

MADE: dict[str, Callable[[], str]] = {
    "errors": errors_page.render,
    "http": http_page.render,
    "python": python_page.render,
    "settings": render_reference,
}


def write() -> None:
    """Make every page anew."""
    for name, render in MADE.items():
        (ROOT / "docs" / "reference" / f"{name}.md").write_text(render())


if __name__ == "__main__":
    write()
