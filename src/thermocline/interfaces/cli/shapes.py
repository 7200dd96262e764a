"""How records look: as JSON (stable, documented in docs/reference/cli.md) and for people."""

from collections.abc import Collection, Sequence
from typing import Any

from thermocline.domain.access import Token
from thermocline.domain.units import Timestamp, format_moment

_STEP = 1024
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def token_as_json(token: Token, now: Timestamp) -> dict[str, Any]:
    """Return a token, never its secret, as JSON-ready values."""
    return {
        "token_id": token.token_id,
        "scopes": sorted(scope.value for scope in token.scopes),
        "prefix": token.prefix,
        "state": state_of(token, now),
        "created_at": format_moment(token.created_at),
        "expires_at": format_moment(token.expires_at),
        "revoked_at": format_moment(token.revoked_at),
    }


def state_of(token: Token, now: Timestamp) -> str:
    """Return `valid`, `expired` or `revoked`."""
    if token.revoked_at is not None:
        return "revoked"
    return "valid" if token.is_valid(now) else "expired"


def table_lines(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[int] = ()) -> list[str]:
    """Return a table's lines, its columns aligned: those of `right` to the right."""
    cells = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def size_text(size: int) -> str:
    """Return a size for people, such as `1.4 MiB`."""
    value = float(size)
    for unit in _UNITS[:-1]:
        if value < _STEP:
            return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= _STEP
    return f"{value:.1f} {_UNITS[-1]}"
