"""Content types by the ends of names, the same on every machine of one Python."""

import mimetypes
from functools import lru_cache

from thermocline.domain.content import DEFAULT_CONTENT_TYPE

_PACKED = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "compress": "application/x-compress",
}
"""What mimetypes calls encodings: the bytes are sent as they are, so these are their types."""
_NEWER = {
    ".avif": "image/avif",
    ".flac": "audio/flac",
    ".heic": "image/heic",
    ".jxl": "image/jxl",
    ".md": "text/markdown",
    ".mkv": "video/matroska",
    ".opus": "audio/ogg",
    ".parquet": "application/vnd.apache.parquet",
    ".toml": "application/toml",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zst": "application/zstd",
}
"""Registered with IANA and known to newer versions of mimetypes only (November 2026, Python 3.11)."""


def guess_content_type(name: str) -> str:
    """Return the content type of what has this name, by its end alone."""
    last = name.rpartition("/")[2]
    stem, dot, end = last.rpartition(".")
    return _type_of_end(dot + end) if stem and dot else DEFAULT_CONTENT_TYPE


@lru_cache(maxsize=4096)
def _type_of_end(end: str) -> str:
    newer = _NEWER.get(end.lower())
    if newer is not None:
        return newer
    guessed, encoding = _tables().guess_type("x" + end, strict=False)
    if encoding is not None:
        return _PACKED.get(encoding, DEFAULT_CONTENT_TYPE)
    return guessed or DEFAULT_CONTENT_TYPE


@lru_cache(maxsize=1)
def _tables() -> mimetypes.MimeTypes:
    """Return Python's own tables, without those of the system, which differ from one to the next."""
    return mimetypes.MimeTypes()
