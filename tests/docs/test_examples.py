"""Every example of the documentation is run, page by page, and shows what the page says it shows.

Blocks are run by their language: `console` (lines after `$ `, and below each what it shows), `python` (whose output
stands in a `text` block below), `toml` (settings), `json`, `ini`; `py` are signatures. A command fails only where the
page shows an `error: `, or its exit code by `echo $?`. A comment just above a block can say more:

    <!-- save as: thermocline.toml -->            the reader saves it under this name
    <!-- from: examples/fastapi_mount.py -->      part of a file that is tested by itself
    <!-- not run: why -->                         shown only; `NOT_RUN` counts them
"""

import os
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, Page
from tests.docs.running import Reader

LANGUAGES = {"console", "python", "text", "toml", "json", "ini", "promql", "mermaid", "py"}
NOT_RUN = {
    "README.md": 1,  # make run, make test
    "docs/tutorial.md": 1,  # git clone, make run
    "docs/how-to/run-as-a-service.md": 1,  # systemctl
    "docs/how-to/import-and-export.md": 1,  # a bucket
    "docs/how-to/run-on-postgresql.md": 1,  # createdb as an administrator
    "docs/how-to/use-s3-r2-or-ceph.md": 1,  # a bucket
    "docs/how-to/share-a-cache.md": 1,  # a Redis
    "docs/how-to/plan-your-savings.md": 1,  # a bucket
}


def _as_parameter(page: Page) -> object:
    return pytest.param(page, id=page.name, marks=[pytest.mark.server] if page.starts_processes else [])


@pytest.mark.parametrize("page", [_as_parameter(page) for page in PAGES])
def test_a_page_is_true(page: Page, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    program = request.getfixturevalue("program") if page.starts_processes else Path(os.devnull)
    if not page.needs_database:
        Reader(page, tmp_path, program).follow()
        return
    server = request.getfixturevalue("postgres")
    database = server.create_database()
    try:
        Reader(page, tmp_path, program, database).follow()
    finally:
        server.drop_database(database)


def test_every_block_says_its_language() -> None:
    wrong = [f"{page.name}:{each.line}" for page in PAGES for each in page.blocks if each.language not in LANGUAGES]
    assert wrong == []


def test_few_examples_are_not_run() -> None:
    counted = {page.name: sum(block.remark == "not run" for block in page.blocks) for page in PAGES}
    assert {name: count for name, count in counted.items() if count} == NOT_RUN


@pytest.mark.parametrize(
    ("page", "line", "source", "text"),
    [
        pytest.param(page.name, block.line, block.value, block.text, id=f"{page.name}:{block.line}")
        for page in PAGES
        for block in page.blocks
        if block.remark == "from"
    ],
)
def test_what_comes_from_a_file_is_in_it(page: str, line: int, source: str, text: str) -> None:
    assert text in (ROOT / source).read_text(), f"{page}:{line}"
