"""The pages that are made from the code are current, and say something of everything."""

import re

import pytest

import thermocline
from tests.docs.generate import MADE
from tests.docs.pages import ROOT
from thermocline.orchestrator import StorageOrchestrator

FOLDER = ROOT / "docs" / "reference"


@pytest.mark.parametrize("name", MADE)
def test_a_page_is_current(name: str) -> None:
    assert (FOLDER / f"{name}.md").read_text() == MADE[name](), "run 'make docs'"


def test_every_public_name_is_explained() -> None:
    pages = (FOLDER / "python.md").read_text() + (FOLDER / "errors.md").read_text()
    assert {name for name in thermocline.__all__ if f"`{name}`" not in pages} == set()
    methods = {name for name in vars(StorageOrchestrator) if not name.startswith("_")}
    assert {name for name in methods if f"def {name}(" not in pages} == set()


def test_every_name_of_an_error_in_the_service_is_in_the_page() -> None:
    page = (FOLDER / "errors.md").read_text()
    folder = ROOT / "src" / "thermocline" / "interfaces" / "http"
    source = "".join(path.read_text() for path in folder.rglob("*.py"))
    named = set(re.findall(r'\b[1-5]\d\d,\s*"([a-z]+(?:-[a-z]+)*)"', source))
    assert {"forbidden", "content-held", "headers-too-large", "not-found"} <= named
    assert {name for name in named if f"`{name}`" not in page} == set()


def test_every_route_is_in_the_page() -> None:
    page = (FOLDER / "http.md").read_text()
    folder = ROOT / "src" / "thermocline" / "interfaces" / "http" / "control"
    source = "".join(path.read_text() for path in folder.rglob("*.py"))
    routes = re.findall(r'@router\.(get|put|post|patch)\("(/(?:v1/|healthz|readyz|metrics)[^"]*)"', source)
    assert len(routes) > len("control")
    for method, path in routes:
        assert f"## `{method.upper()} {path.replace(':path', '')}`" in page
