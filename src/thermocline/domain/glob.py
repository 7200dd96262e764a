r"""Patterns as Redis understands them: `*`, `?`, `[a-z]`, `[^x]`, and `\` before a character that means itself.

`*` matches `/` too. As in Redis, patterns and keys are matched byte by byte of their UTF-8: `?` is one byte.
"""

import re
from collections.abc import Callable, Iterator

_SPECIAL = str.maketrans({char: f"\\{char}" for char in "*?[]^-\\"})
_ANY_BYTE = b"."
_STAR = object()


def glob_matcher(pattern: str) -> Callable[[str], bool]:
    """Return whether-it-matches for keys, in time proportional to the lengths of key and pattern, never exponential.

    Agrees with Redis's `stringmatchlen` (util.c, 7.0) on every pattern, also broken ones, except that here `*` and
    what consists of it match the empty key too.
    """
    match = re.compile(_translate(pattern.encode()), re.DOTALL).fullmatch
    return lambda key: match(key.encode()) is not None


def escape_glob(text: str) -> str:
    """Return the pattern that matches `text` and nothing else, wherever in a pattern it stands but in brackets."""
    return text.translate(_SPECIAL)


def is_sweeping(pattern: str) -> bool:
    """Whether no byte of what the pattern matches is given, and it has a `*`: such a pattern matches most keys."""
    pieces = list(_pieces(pattern.encode()))
    return _STAR in pieces and not any(isinstance(piece, bytes) and not _is_class(piece) for piece in pieces)


def literal_prefix(pattern: str) -> str:
    """Return what everything that matches begins with: the pattern up to its first special character, unquoted."""
    found: list[str] = []
    characters = iter(pattern)
    for character in characters:
        if character in "*?[":
            break
        found.append(next(characters, character) if character == "\\" else character)
    return "".join(found)


def _is_class(piece: bytes) -> bool:
    return piece == _ANY_BYTE or piece.startswith((b"[", b"(?!"))


def _translate(pattern: bytes) -> bytes:
    """Return a regular expression that never tries a `*` twice.

    What stands between two `*` has a fixed length, so if it matches anywhere, taking its first place is never
    wrong: the group is atomic, and there is nothing to backtrack into.
    """
    segments: list[list[bytes]] = [[]]
    for piece in _pieces(pattern):
        if isinstance(piece, bytes):
            segments[-1].append(piece)
        elif segments[-1] or len(segments) == 1:
            segments.append([])
    first, *rest = (b"".join(segment) for segment in segments)
    if not rest:
        return first
    middle = b"".join(b"(?>.*?" + segment + b")" for segment in rest[:-1])
    return first + middle + b".*" + rest[-1]


def _pieces(pattern: bytes) -> Iterator[bytes | object]:
    at = 0
    while at < len(pattern):
        byte = pattern[at : at + 1]
        at += 1
        if byte == b"*":
            yield _STAR
        elif byte == b"?":
            yield _ANY_BYTE
        elif byte == b"[":
            members, at = _read_class(pattern, at)
            yield members
        elif byte == b"\\" and at < len(pattern):
            yield re.escape(pattern[at : at + 1])
            at += 1
        else:
            yield re.escape(byte)


def _read_class(pattern: bytes, at: int) -> tuple[bytes, int]:
    """Return the class that begins at `at` as a regular expression, and where the pattern goes on.

    As Redis reads it: the first `]` ends it, a missing one is forgiven, ranges may be backwards.
    """
    negated = pattern[at : at + 1] == b"^"
    at += negated
    members: set[int] = set()
    while at < len(pattern):
        rest = pattern[at : at + 3]
        if rest[0] == ord("\\") and len(rest) > 1:
            members.add(rest[1])
            at += 2
        elif rest[0] == ord("]"):
            at += 1
            break
        elif len(rest) > 2 and rest[1] == ord("-"):  # noqa: PLR2004 - a range takes three bytes
            members.update(_range(rest[0], rest[2]))
            at += 3
        else:
            members.add(rest[0])
            at += 1
    if negated:
        members = set(range(256)) - members
    if not members:
        return b"(?!)", at
    return b"[" + b"".join(b"\\x%02x" % member for member in sorted(members)) + b"]", at


def _range(start: int, end: int) -> Iterator[int]:
    # Redis compares plain C chars, which are signed on x86-64: bytes from 0x80 on come before the others.
    first, last = sorted(byte - 256 if byte > 127 else byte for byte in (start, end))  # noqa: PLR2004
    return (byte % 256 for byte in range(first, last + 1))
