"""What runs the pages notices what is wrong with them."""

import os
from pathlib import Path

import pytest

from tests.docs.comparing import differences
from tests.docs.diagrams import faults
from tests.docs.pages import Page, commands
from tests.docs.running import Reader

CAME = """users/42/cat.jpg: 200000 bytes, hot, ETag "661121fa782a5"
until 2026-11-25T04:19:15.767312Z, 3 of 4
last
"""


def page(folder: Path, text: str) -> Page:
    path = folder / "page.md"
    path.write_text(text)
    return Page(path)


def follow(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Page, "name", property(lambda self: self.path.name))
    reader = folder / "reader"
    reader.mkdir()
    Reader(page(folder, text), reader, Path(os.devnull)).follow()


@pytest.mark.parametrize(
    "shown",
    [
        CAME,
        CAME.replace("661121fa782a5", "0123456789abc").replace("2026-11-25T04:19:15.767312Z", "2030-01-01T00:00:00Z"),
        "users/42/cat.jpg: 200000 bytes, ...\n...\nlast\n",
        "...\n" + CAME,
        "...\n",
    ],
)
def test_what_may_differ_may(shown: str) -> None:
    assert differences(shown.splitlines(), CAME) == ""


@pytest.mark.parametrize(
    "shown",
    [
        "",
        CAME.replace("3 of 4", "4 of 4"),
        CAME.replace("661121fa782a5", "661121fa"),
        CAME.replace("last\n", ""),
        CAME + "more\n",
        "...\nfirst\n",
    ],
)
def test_what_may_not_differ_is_told(shown: str) -> None:
    assert "+++ what came" in differences(shown.splitlines(), CAME)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("```python\nprint(1)\n```\n\n```text\n2\n```\n", "the page"),
        ("```python\nassert False, 'no'\n```\n", "no"),
        ("```toml\n[nothing]\nx = 1\n```\n", "nothing"),
        ("```json\n{\n```\n", "Expecting"),
        ("```text\nfrom nowhere\n```\n", "stands below what prints it"),
    ],
)
def test_an_example_that_is_not_true_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str
) -> None:
    with pytest.raises((AssertionError, ValueError), match=told):
        follow(tmp_path, text, monkeypatch)


@pytest.mark.server
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("```console\n$ echo one\ntwo\n```\n", "what came"),
        ("```console\n$ (exit 3)\n```\n", "exit code 3"),
        ("```console\n$ echo 'error: x'\nerror: x\n```\n", "exit code 0"),
        ("```console\n$ (exit 3)\n$ echo $?\n4\n```\n", "what came"),
    ],
)
def test_a_command_that_does_something_else_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str
) -> None:
    with pytest.raises(AssertionError, match=told):
        follow(tmp_path, text, monkeypatch)


@pytest.mark.server
def test_a_shell_stays_open_over_the_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "```console\n$ X=5 && mkdir below && cd below\n$ (exit 3)\n$ echo $?\n3\n```\n"
    text += "```console\n$ echo $X ${PWD##*/}\n5 below\n$ cat; echo nothing to read\nnothing to read\n```\n"
    follow(tmp_path, text, monkeypatch)


def test_a_block_is_found_with_what_is_said_of_it(tmp_path: Path) -> None:
    text = "<!-- not run: why -->\n```console\n$ a \\\n>   b\nshown\n$ c\n```\n1. one\n   ```python\n   x = 1\n   ```\n"
    first, second = page(tmp_path, text).blocks
    assert (first.language, first.line, first.remark, first.value, first.is_run) == (
        "console",
        3,
        "not run",
        "why",
        False,
    )
    assert [(each.line, each.text, each.output) for each in commands(first)] == [
        (3, "a \\\n  b", ["shown"]),
        (6, "c", []),
    ]
    assert (second.language, second.text, second.is_run) == ("python", "x = 1\n", True)


@pytest.mark.parametrize(
    "text",
    [
        "sequenceDiagram\nA->>B: x",
        "sequenceDiagram\nparticipant A\nalt x\nA->>A: y",
        "sequenceDiagram\nparticipant A\nA->>A: y; z",
        "flowchart LR\nA[text] --> B",
        'flowchart LR\nA["text"] -> B',
        "stateDiagram-v2\na -> b",
        "pie\nx",
    ],
)
def test_a_diagram_that_cannot_be_drawn_is_told(text: str) -> None:
    assert faults(text)
