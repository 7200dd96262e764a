"""Where in the folder an object lies: keys to paths and back, from names alone.

    <installation>/<placement>/<shard>/<content id, escaped>~<token>     keys as Thermocline makes them
    .free/<shard>/<key, escaped>~                                        any other key
    .uploads/<key, escaped>~                                             unfinished uploads of either
    .restores/<key, escaped>~                                            how far the restore of an archived object is
    .restores/<key, escaped>~~                                           the same, being written

Escaped: `a-z 0-9 . _ -` stand for themselves, every other byte of the UTF-8 is written `%xx` in lower case. So
case-only differences survive file systems that ignore case, non-ASCII those that normalise, and no name is `.`
or `..`. A name of more than 200 characters continues in folders: each piece but the last is a folder whose name
ends in `+`, which no file's name does.
"""

import re
import zlib
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from thermocline.adapters.objects.key_rules import encode_key
from thermocline.domain.keys import is_name

FREE: Final = ".free"
UPLOADS: Final = ".uploads"
RESTORES: Final = ".restores"
MARKER: Final = ".installation"
PIECE_CHARACTERS: Final = 200
"""File systems allow 255 bytes a name; some that encrypt or version names need a part of it."""
CONTINUED: Final = "+"
_END: Final = "~"

_OURS = re.compile(
    r"([a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?)/([a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?)/(.+)/([0-9a-hjkmnp-tv-z]{26})",
    re.DOTALL,
)
_TOKEN = re.compile(r"[0-9a-hjkmnp-tv-z]{26}")
_SPECIAL = re.compile(r"[^a-z0-9._-]")
_ESCAPED = re.compile(r"(?:[a-z0-9._-]|%[0-9a-f]{2})*")
_SHARD = re.compile(r"[0-9a-f]{2}")
_ASCII_ESCAPES = {chr(code): f"%{code:02x}" for code in range(128)}
_TRANSLATION = {ord(special): escaped for special, escaped in _ASCII_ESCAPES.items() if _SPECIAL.match(special)}


class Place(NamedTuple):
    """Where a file lies below the root."""

    trunk: tuple[str, ...]
    """The first folders: few in a store."""
    branch: tuple[str, ...]
    """The folders below them: the shard, and the pieces of a long name."""
    name: str


def object_place(key: str) -> Place:
    """Return where the finished object of `key` lies. Raises `ValueError` for what is not a key."""
    encode_key(key)
    ours = _OURS.fullmatch(key)
    if ours is None:
        return _place((FREE,), key, "")
    installation, placement, content_id, token = ours.groups()
    return _place((installation, placement), content_id, token)


def upload_place(key: str) -> Place:
    """Return where the unfinished upload of `key` lies. Raises `ValueError` for what is not a key."""
    encode_key(key)
    pieces = _pieces(escape(key) + _END)
    return Place((UPLOADS,), tuple(pieces[:-1]), pieces[-1])


def restore_place(key: str) -> Place:
    """Return where the restore of `key` is marked. Raises `ValueError` for what is not a key."""
    return _restore_place(key, _END)


def new_restore_place(key: str) -> Place:
    """Return where a new mark of the restore of `key` is written before it replaces the old one."""
    return _restore_place(key, _END + _END)


def object_key(trunk: tuple[str, ...], shard: str, pieces: tuple[str, ...]) -> str | None:
    """Return the key of the file at this place, or None if no key has this place: then the file is foreign."""
    text, _, token = _joined(pieces).rpartition(_END)
    plain = unescape(text)
    if not plain or shard != _shard_of(plain):
        return None
    if trunk == (FREE,):
        key = plain if not token and _OURS.fullmatch(plain) is None else None
    else:
        key = "/".join((*trunk, plain, token)) if _TOKEN.fullmatch(token) else None
    return key if key is not None and _is_canonical(text, pieces) and _is_key(key) else None


def upload_key(pieces: tuple[str, ...]) -> str | None:
    """Return the key of the unfinished upload at this place, or None if the file is foreign."""
    text, _, end = _joined(pieces).rpartition(_END)
    key = unescape(text)
    return key if key and not end and _is_canonical(text, pieces) and _is_key(key) else None


def is_shard(name: str) -> bool:
    """Whether `name` can name a shard."""
    return _SHARD.fullmatch(name) is not None


def is_trunk_part(name: str) -> bool:
    """Whether `name` can name an installation or a placement."""
    return is_name(name)


def is_continued(name: str) -> bool:
    """Whether `name` can be a folder that holds the rest of a long name."""
    return len(name) == PIECE_CHARACTERS + 1 and name[-1] == CONTINUED


def escape(text: str) -> str:
    """Return `text` in the characters that every file system keeps apart."""
    if text.isascii():
        return text.translate(_TRANSLATION)
    return _SPECIAL.sub(_escape_one, text)


def unescape(text: str) -> str | None:
    """Return what `escape` made `text` of, or None if it did not."""
    if "%" not in text:
        return text if _ESCAPED.fullmatch(text) else None
    if not _ESCAPED.fullmatch(text):
        return None
    try:
        plain = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        return None
    # `%61` would be a second name of `a`.
    return plain if escape(plain) == text else None


def _place(trunk: tuple[str, ...], text: str, token: str) -> Place:
    name = escape(text) + _END + token
    if len(name) <= PIECE_CHARACTERS:
        return Place(trunk, (_shard_of(text),), name)
    pieces = _pieces(name)
    return Place(trunk, (_shard_of(text), *pieces[:-1]), pieces[-1])


def _restore_place(key: str, end: str) -> Place:
    encode_key(key)
    # The folder is part of the branch, so that it is looked up anew each time: one that was removed and made again
    # by another process must not be missed.
    pieces = _pieces(escape(key) + end)
    return Place((), (RESTORES, *pieces[:-1]), pieces[-1])


def _pieces(name: str) -> list[str]:
    starts = range(0, len(name), PIECE_CHARACTERS)
    last = starts[-1]
    return [name[start : start + PIECE_CHARACTERS] + (CONTINUED if start != last else "") for start in starts]


def _joined(pieces: tuple[str, ...]) -> str:
    return pieces[0] if len(pieces) == 1 else "".join(piece.removesuffix(CONTINUED) for piece in pieces)


def _is_canonical(text: str, pieces: tuple[str, ...]) -> bool:
    """Whether a name of this length is split exactly like this."""
    return (
        len(pieces[-1]) <= PIECE_CHARACTERS
        and CONTINUED not in text
        and all(is_continued(piece) for piece in pieces[:-1])
    )


def _is_key(key: str) -> bool:
    try:
        encode_key(key)
    except ValueError:
        return False
    return True


def _shard_of(text: str) -> str:
    # Of the content id alone, so that all revisions of a content share a shard, and most a folder.
    return f"{zlib.crc32(text.encode()) & 0xFF:02x}"


def _escape_one(match: re.Match[str]) -> str:
    character = match[0]
    known = _ASCII_ESCAPES.get(character)
    return known if known is not None else "".join(f"%{byte:02x}" for byte in character.encode())
