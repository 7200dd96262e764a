import pytest

from thermocline.domain.exclusions import Exclusions


@pytest.mark.parametrize(
    ("pattern", "path", "is_folder", "excluded"),
    [
        ("*.tmp", "a/b/x.tmp", False, True),
        ("*.tmp", "x.tmpl", False, False),
        (".git", "deep/.git", True, True),
        (".git", "deep/.github", True, False),
        ("cache/", "a/cache", True, True),
        ("cache/", "a/cache", False, False),
        ("build/*", "build/x/y", False, True),
        ("build/*", "src/build/x", False, False),
        ("/build", "build", True, True),
        ("/build", "src/build", True, False),
        ("a/*.o", "a/b/c.o", False, True),
        ("*", "\udcff", False, True),
        ("*", "a\udcffb", False, True),
        ("x[ab]", "xa", False, True),
        ("", "a", False, False),
    ],
)
def test_patterns(pattern: str, path: str, *, is_folder: bool, excluded: bool) -> None:
    assert Exclusions([pattern]).excludes(path, is_folder) is excluded
    assert Exclusions(["nothing", pattern]).excludes(path, is_folder) is excluded


def test_no_pattern_excludes_nothing() -> None:
    assert not Exclusions([]).excludes("a", False)
