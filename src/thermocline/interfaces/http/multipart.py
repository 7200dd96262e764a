"""Several ranges in one body: `multipart/byteranges` (RFC 9110 §14.6). Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MultipartFrame:
    """What stands around the ranges of a multipart body; its length is known before the first byte is sent."""

    boundary: str
    content_type: str
    size: int
    ranges: tuple[tuple[int, int], ...]

    @property
    def media_type(self) -> bytes:
        """The body's own type."""
        return b"multipart/byteranges; boundary=%b" % self.boundary.encode()

    @property
    def length(self) -> int:
        """How many bytes the whole body has."""
        parts = sum(len(self.head(index)) + end - start for index, (start, end) in enumerate(self.ranges))
        return parts + len(self.tail())

    def head(self, index: int) -> bytes:
        """Return what comes before the bytes of the range number `index`."""
        start, end = self.ranges[index]
        lines = (
            ("\r\n" if index else "") + f"--{self.boundary}",
            f"Content-Type: {self.content_type}",
            f"Content-Range: {content_range(start, end, self.size)}",
            "",
            "",
        )
        return "\r\n".join(lines).encode()

    def tail(self) -> bytes:
        """Return what comes after the last range."""
        return f"\r\n--{self.boundary}--\r\n".encode()


def content_range(start: int, end: int, size: int) -> str:
    """Return the value of `Content-Range` for a half-open range."""
    return f"bytes {start}-{end - 1}/{size}"
