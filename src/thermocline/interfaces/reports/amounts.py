"""Money and sizes as people read them."""

from typing import Final

_WHOLE_FROM: Final = 1000.0
_CENTS_FROM: Final = 1.0
_SMALLEST: Final = 0.0001
_STEP: Final = 1000
_UNITS: Final = ("B", "KB", "MB", "GB", "TB", "PB")


def usd(value: float) -> str:
    """Return dollars, without their sign: `12,345`, `12.34`, `0.00123`, `<0.0001` (near nothing)."""
    if abs(value) >= _WHOLE_FROM:
        return f"{value:,.0f}"
    if abs(value) >= _CENTS_FROM:
        return f"{value:.2f}"
    if 0 < abs(value) < _SMALLEST:
        return "<0.0001"
    return f"{float(f'{value:.3g}'):.10f}".rstrip("0") if value else "0"


def amount_of_bytes(size: float) -> str:
    """Return bytes in powers of ten, as prices count them: `1.4 GB`."""
    value = float(size)
    for unit in _UNITS[:-1]:
        if abs(value) < _STEP:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= _STEP
    return f"{value:,.1f} {_UNITS[-1]}"
