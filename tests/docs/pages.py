"""Markdown pages as their examples: which blocks there are, in which language, and what the page says of each."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
ADDRESS = "http://127.0.0.1:8080"
"""Where pages say that the service listens; tests put a free port in its place."""

DATABASE = "postgresql://thermocline:secret@localhost:5432/thermocline"
"""Where pages say that a database is; tests put an empty one in its place."""

_FENCE = re.compile(r"(?P<indent> *)```(?P<language>\S*)(?P<rest>.*)")
_REMARK = re.compile(r"<!-- (?P<name>not run|save as|from): (?P<value>.+) -->")


@dataclass(frozen=True)
class Block:
    """A fenced block. `remark` is what the comment just above it says, if it is for the tests."""

    line: int
    """Of its first line inside, from 1."""
    language: str
    text: str
    remark: str = ""
    value: str = ""

    @property
    def is_run(self) -> bool:
        return self.remark not in {"not run", "from"}


@dataclass(frozen=True)
class Command:
    """A command of a console block, and the lines that the page shows below it."""

    line: int
    text: str
    output: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Page:
    """One page of the documentation."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def blocks(self) -> list[Block]:
        return list(_blocks(self.text.splitlines()))

    @cached_property
    def prose(self) -> str:
        """The page without its blocks and without code."""
        lines, inside = [], False
        for line in self.text.splitlines():
            if _FENCE.fullmatch(line):
                inside = not inside
            elif not inside:
                lines.append(re.sub(r"`[^`]*`", "", line))
        return "\n".join(lines)

    @property
    def needs_database(self) -> bool:
        return DATABASE in self.text

    @property
    def starts_processes(self) -> bool:
        return any(block.language == "console" and block.is_run for block in self.blocks) or ADDRESS in self.text


def _blocks(lines: list[str]) -> Iterator[Block]:
    position = 0
    while position < len(lines):
        opening = _FENCE.fullmatch(lines[position])
        position += 1
        if opening is None:
            continue
        assert not opening["rest"], f"line {position}: say only the language after the fence"
        above = _REMARK.fullmatch(lines[position - 2].strip()) if position > 1 else None
        first, indent = position, len(opening["indent"])
        while lines[position].strip() != "```":
            position += 1
        text = "".join(line[indent:] + "\n" for line in lines[first:position])
        yield Block(
            first + 1, opening["language"], text, above["name"] if above else "", above["value"] if above else ""
        )
        position += 1


def commands(block: Block) -> list[Command]:
    """Return the commands of a console block: lines that begin with `$ `, each with what stands below it."""
    found: list[Command] = []
    for number, line in enumerate(block.text.splitlines(), block.line):
        if line.startswith("$ "):
            found.append(Command(number, line[2:]))
            continue
        assert found, f"line {number}: a console block begins with '$ '"
        last = found[-1]
        if last.text.endswith("\\") and not last.output:
            found[-1] = Command(last.line, f"{last.text}\n{line.removeprefix('> ')}")
        else:
            last.output.append(line)
    return found


PAGES = [Page(ROOT / "README.md"), *(Page(path) for path in sorted((ROOT / "docs").rglob("*.md")))]
