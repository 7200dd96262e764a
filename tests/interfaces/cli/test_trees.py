"""`import`, `export`, `rm --prefix`: what they do, print and answer."""

import os
from pathlib import Path

import pytest

from tests.interfaces.cli.commandline import CommandLine
from tests.services.trees import picture, plant

FILES = {"a.txt": b"hello", "b/c.jpg": b"x" * 2048, "b/empty": b""}
REPORT_KEYS = {
    "files", "copied", "replaced", "unchanged", "refused", "failed", "left_out", "excluded", "copied_bytes",
    "verified", "dry_run", "problems", "stopped", "complete",
}  # fmt: skip
CLEAR_KEYS = {"deleted", "deleted_bytes", "kept", "dry_run", "problems", "stopped", "complete"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return plant(tmp_path / "tree", FILES)


def test_a_folder_goes_in_and_comes_back(cli: CommandLine, tree: Path, tmp_path: Path) -> None:
    assert cli.ok("import", str(tree), "--prefix", "u/42").out == "imported 3 files (2.0 KiB)\n"
    assert cli.ok("ls").out == "u/42/a.txt\nu/42/b/c.jpg\nu/42/b/empty\n"
    assert cli.ok("import", str(tree), "--prefix", "u/42/").out == "imported 0 files (0 B), 3 unchanged\n"
    assert cli.ok("export", str(tmp_path / "out"), "--prefix", "u/42").out == "exported 3 files (2.0 KiB)\n"
    assert picture(tmp_path / "out") == picture(tree)
    assert cli.ok("export", str(tmp_path / "out"), "--prefix", "u/42", "--verify", "--jobs", "2").out == (
        "exported 0 files (0 B), 3 unchanged, 3 verified\n"
    )


def test_what_an_import_can_be_told(cli: CommandLine, tree: Path) -> None:
    outcome = cli.ok(
        "import", str(tree), "--tier", "cold", "--visibility", "public", "--exclude", "*.jpg", "-x", "empty", "--verify"
    )
    assert outcome.out == "imported 1 files (5 B), 2 excluded, 1 verified\n"
    record = cli.ok("stat", "a.txt", "--json").json()
    assert (record["tier"], record["visibility"], record["content_type"]) == ("cold", "public", "text/plain")
    assert record["metadata"] == {"source": {"mtime_ns": (tree / "a.txt").stat().st_mtime_ns}}
    os.utime(tree / "a.txt")
    assert (
        cli.ok("import", str(tree), "-x", "b", "--checksum").out == "imported 0 files (0 B), 1 unchanged, 1 excluded\n"
    )


def test_reports_have_the_documented_shape(cli: CommandLine, tree: Path, tmp_path: Path) -> None:
    imported = cli.ok("import", str(tree), "--json").json()
    assert set(imported) == REPORT_KEYS
    assert (imported["copied"], imported["complete"], imported["stopped"]) == (3, True, None)
    assert set(cli.ok("export", str(tmp_path / "out"), "--json").json()) == REPORT_KEYS
    assert set(cli.ok("rm", "--prefix", "b/", "--yes", "--json").json()) == CLEAR_KEYS


def test_a_dry_run_says_what_would_be_done(cli: CommandLine, tree: Path, tmp_path: Path) -> None:
    assert cli.ok("import", str(tree), "--dry-run").out == (
        "would import a.txt (5 B)\nwould import b/c.jpg (2.0 KiB)\nwould import b/empty (0 B)\n"
        "would have imported 3 files (2.0 KiB)\n"
    )
    assert cli.ok("import", str(tree), "--dry-run", "--json").json()["dry_run"] is True
    assert cli.ok("ls").out == ""
    cli.put("a.txt", b"other")
    assert "would import a.txt (5 B) over an older one\n" in cli.ok("import", str(tree), "--dry-run").out
    assert cli.ok("export", str(tmp_path / "out"), "--dry-run").out == (
        "would export a.txt (5 B)\nwould have exported 1 files (5 B)\n"
    )
    assert not (tmp_path / "out").exists()


def test_files_that_cannot_be_stored_are_told_and_the_others_are(cli: CommandLine, tree: Path) -> None:
    plant(tree, {"bad\nname": b"x"})
    (tree / "link").symlink_to("a.txt")
    outcome = cli.run("import", str(tree))
    assert (outcome.code, outcome.out) == (1, "imported 3 files (2.0 KiB), 1 refused, 1 left out\n")
    assert outcome.err == (
        "error: 'bad\\nname': a content id must not have control characters such as '\\n'\n"
        "note: 'link': it is a symbolic link, which is not followed\n"
    )
    assert cli.run("import", str(tree), "--json").code == 1
    (tree / "bad\nname").unlink()
    # A link alone is no failure.
    assert cli.run("import", str(tree)).code == 0


def test_files_in_the_way_are_told(cli: CommandLine, tree: Path, tmp_path: Path) -> None:
    cli.ok("import", str(tree))
    out = plant(tmp_path / "out", {"a.txt": b"mine"})
    outcome = cli.run("export", str(out))
    assert (outcome.code, outcome.out) == (1, "exported 2 files (2.0 KiB), 1 refused\n")
    assert outcome.err == "error: 'a.txt': a file that differs has its name; --force replaces it\n"
    assert cli.ok("export", str(out), "--force").out == ("exported 1 files (5 B), 1 over older ones, 2 unchanged\n")
    assert (out / "a.txt").read_bytes() == b"hello"


def test_nothing_to_export_is_code_3(cli: CommandLine, tmp_path: Path) -> None:
    cli.put("a/b", b"x")
    outcome = cli.run("export", str(tmp_path / "out"), "--prefix", "b", "--json")
    assert (outcome.code, outcome.error()["error"], outcome.out) == (3, "content-not-found", "")
    assert cli.run("export", str(tmp_path / "out"), "--prefix", "a/").code == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["import", "nothing"], 1),
        (["import", "source-file"], 1),
        (["import", "tree", "--prefix", "/a"], 2),
        (["import", "tree", "--prefix", "a/../b"], 2),
        (["import", "tree", "--jobs", "0"], 2),
        (["import", "tree", "--tier", "tepid"], 2),
        (["import"], 2),
        (["import", "data"], 1),
        (["export", "data/objects/x"], 1),
        (["export", "source-file"], 1),
        (["rm"], 2),
        (["rm", "a", "--prefix", "b"], 2),
        (["rm", "--prefix", "", "--yes"], 2),
        (["rm", "--prefix", "a"], 2),
    ],
)
@pytest.mark.usefixtures("tree")
def test_what_cannot_be_is_one_line(cli: CommandLine, arguments: list[str], code: int) -> None:
    cli.put("a", b"x")
    Path("source-file").touch()
    outcome = cli.run(*arguments)
    assert (outcome.code, outcome.out) == (code, "")
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert cli.ok("ls").out == "a\n"


def test_a_folder_that_holds_the_stores_own_data(cli: CommandLine, tree: Path, tmp_path: Path) -> None:
    """What `import .` means with the default settings."""
    cli.ok("import", str(tree))
    outcome = cli.run("import", str(tmp_path), "--prefix", "all")
    assert outcome.code == 0
    assert outcome.err == "note: 'data': it is this store's own data\n"
    assert cli.ok("ls", "all/").out == "all/tree/a.txt\nall/tree/b/c.jpg\nall/tree/b/empty\n"


def test_rm_by_prefix(cli: CommandLine, tree: Path) -> None:
    cli.ok("import", str(tree))
    assert cli.ok("rm", "--prefix", "b", "--dry-run").out == (
        "would delete b/c.jpg (2.0 KiB)\nwould delete b/empty (0 B)\nwould delete 2 contents (2.0 KiB)\n"
    )
    *contents, report = cli.ok("rm", "--prefix", "b", "--dry-run", "--json").json_lines()
    assert contents[0] == {"content_id": "b/c.jpg", "would_delete": True, "size": 2048}
    assert (len(contents), report["deleted"], report["dry_run"]) == (2, 2, True)
    assert cli.ok("ls").out.count("\n") == 3
    assert cli.ok("rm", "--prefix", "b", "--yes").out == "deleted 2 contents (2.0 KiB)\n"
    assert cli.ok("rm", "--prefix", "b", "-y").out == "deleted 0 contents (0 B)\n"
    assert cli.ok("ls").out == "a.txt\n"
    assert cli.ok("rm", "--prefix", "a", "-y", "--erase").out == "erased 1 contents (5 B)\n"
