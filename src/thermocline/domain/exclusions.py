"""Which files of a tree are not wanted, by patterns as `domain.glob` understands them."""

from collections.abc import Callable, Iterable

from thermocline.domain.glob import glob_matcher


class Exclusions:
    """Patterns of what to leave out.

    A pattern without `/` matches the name of a file or folder wherever it lies (`*.tmp`, `.git`); one with `/` the
    whole path from the root of the tree (`build/*`), in which `*` also stands for `/`. One that ends with `/` only
    matches folders. A folder that is left out is left out with all that is in it.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._rules = [_rule(pattern) for pattern in patterns]

    def excludes(self, path: str, is_folder: bool) -> bool:  # noqa: FBT001 - the shape that walks call
        """Whether the file or folder at `path` is left out."""
        if not self._rules:
            return False
        # Names that are not UTF-8 hold lone surrogates; what stands for them here only matches `*`.
        text = path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        name = text.rpartition("/")[2]
        return any(
            matches(text if whole else name)
            for matches, whole, folders_only in self._rules
            if is_folder or not folders_only
        )


def _rule(pattern: str) -> tuple[Callable[[str], bool], bool, bool]:
    bare = pattern.rstrip("/")
    return glob_matcher(bare.lstrip("/")), "/" in bare, bare != pattern
