"""Opening a trace: plain, gzip or zstd, told by its first bytes, not its name. What is cut short is an error."""

import zlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

import zstandard

from thermocline.domain.errors import FileTreeError, InvalidInputError

GZIP_MAGIC: Final = b"\x1f\x8b"
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
PARQUET_MAGIC: Final = b"PAR1"
PIECE_BYTES: Final = 1 << 20
HEAD_BYTES: Final = 1 << 16
"""What is looked at to tell a format."""


class TraceBytes:
    """The bytes of a trace, unpacked, as a file that Arrow and loops over lines can read. Memory holds a few pieces."""

    def __init__(self, path: Path, *, progress: Callable[[int], None] = lambda _: None) -> None:
        self.path = path
        self._progress = progress
        try:
            self._file: IO[bytes] = path.open("rb")
        except OSError as exc:
            raise FileTreeError(f"{str(path)!r} cannot be read: {exc.strerror}") from exc
        self._unpack: _Gzip | _Zstd | None = None
        self._buffer = bytearray()
        self._ended = False
        self.closed = False
        self.is_parquet = False
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def head(self) -> bytes:
        """Return the first bytes, unpacked; reading begins with them all the same."""
        while len(self._buffer) < HEAD_BYTES and not self._ended:
            self._fill()
        return bytes(self._buffer[:HEAD_BYTES])

    def read(self, count: int = -1) -> bytes:
        """Return so many bytes, fewer only at the end. Raises `InvalidInputError` for damaged or cut packed bytes."""
        while (count < 0 or len(self._buffer) < count) and not self._ended:
            self._fill()
        taken = len(self._buffer) if count < 0 else count
        piece = bytes(self._buffer[:taken])
        del self._buffer[:taken]
        return piece

    def close(self) -> None:
        """Close the file."""
        self.closed = True
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self) -> None:
        begin = self._read_file(HEAD_BYTES)
        self.is_parquet = begin.startswith(PARQUET_MAGIC)
        if begin.startswith(GZIP_MAGIC):
            self._unpack = _Gzip(str(self.path))
        elif begin.startswith(ZSTD_MAGIC):
            self._unpack = _Zstd(str(self.path))
        self._take(begin)

    def _fill(self) -> None:
        self._take(self._read_file(PIECE_BYTES))

    def _take(self, piece: bytes) -> None:
        if self._unpack is not None:
            self._buffer += self._unpack.take(piece) if piece else self._unpack.end()
        else:
            self._buffer += piece
        self._ended = not piece

    def _read_file(self, count: int) -> bytes:
        try:
            piece = self._file.read(count)
        except OSError as exc:
            raise FileTreeError(f"{str(self.path)!r} cannot be read: {exc.strerror}") from exc
        self._progress(len(piece))
        return piece


class _Gzip:
    """One or more gzip members."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._member = zlib.decompressobj(wbits=31)

    def take(self, piece: bytes) -> bytes:
        unpacked = bytearray()
        try:
            while piece:
                if self._member.eof:
                    self._member = zlib.decompressobj(wbits=31)
                unpacked += self._member.decompress(piece)
                piece = self._member.unused_data.lstrip(b"\0")  # some tools pad the last member
        except zlib.error as exc:
            raise InvalidInputError(f"{self._name!r} is damaged: {exc}") from exc
        return bytes(unpacked)

    def end(self) -> bytes:
        if not self._member.eof:
            raise InvalidInputError(f"{self._name!r} is cut short: its gzip data does not end")
        return b""


class _Zstd:
    """One or more zstd frames."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._frame = zstandard.ZstdDecompressor().decompressobj()

    def take(self, piece: bytes) -> bytes:
        unpacked = bytearray()
        try:
            while piece:
                if self._frame.eof:
                    self._frame = zstandard.ZstdDecompressor().decompressobj()
                unpacked += self._frame.decompress(piece)
                piece = self._frame.unused_data
        except zstandard.ZstdError as exc:
            raise InvalidInputError(f"{self._name!r} is damaged: {exc}") from exc
        return bytes(unpacked)

    def end(self) -> bytes:
        if not self._frame.eof:
            raise InvalidInputError(f"{self._name!r} is cut short: its zstd data does not end")
        return b""
