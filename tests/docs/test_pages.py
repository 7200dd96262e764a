"""Pages hold together: links lead somewhere, diagrams can be drawn, alerts name metrics that there are."""

import re
from pathlib import Path

import pytest

from tests.docs.diagrams import faults
from tests.docs.pages import PAGES, ROOT, Page

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
INDEX = ROOT / "docs" / "README.md"


def _anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.replace("`", "")).strip().lower().replace(" ", "-") for heading in headings}


def _broken(page: Page) -> list[str]:
    broken = []
    for link in LINK.findall(page.prose):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.path.parent / path).resolve() if path else page.path
        if not target.exists() or (anchor and anchor not in _anchors(target.read_text())):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Page) -> None:
    assert _broken(page) == []


def test_every_page_can_be_reached() -> None:
    reached: set[Path] = set()
    ahead = [ROOT / "README.md"]
    while ahead:
        path = ahead.pop()
        if path in reached or path.suffix != ".md":
            continue
        reached.add(path)
        links = [link.partition("#")[0] for link in LINK.findall(Page(path).prose) if not re.match(r"[a-z]+:", link)]
        ahead += [(path.parent / link).resolve() for link in links if link]
    assert {page.name for page in PAGES if page.path not in reached} == set()


@pytest.mark.parametrize(
    ("where", "text"),
    [
        pytest.param(f"{page.name}:{block.line}", block.text, id=f"{page.name}:{block.line}")
        for page in PAGES
        for block in page.blocks
        if block.language == "mermaid"
    ],
)
def test_a_diagram_can_be_drawn(where: str, text: str) -> None:
    assert faults(text) == [], where


def test_alerts_name_metrics_that_there_are() -> None:
    known = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    named = {
        name
        for page in PAGES
        for block in page.blocks
        if block.language == "promql"
        for name in re.findall(r"thermocline_[a-z_]+", block.text)
    }
    assert named
    assert {name for name in named if f"`{name}`" not in known} == set()
