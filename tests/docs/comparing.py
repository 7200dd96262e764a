"""What a page shows of an output against what came: equal, but for `...` and what differs from run to run."""

import re
from difflib import unified_diff

_VARYING = (
    r"\.\.\.",  # the page's own: anything
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z",
    r"\d{8}T\d{6}\.\d+Z",
    r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT",
    r"(?<=retry-after: )\d+",
    r"tc_[0-9a-f]{12}_[0-9a-f]{48}",
    r"\b[0-9]{16}\b",  # revisions and versions
    r'\\?"[0-9a-f]{13}\\?"',  # entity tags
    r"\b[0-9a-z]{26}\b",  # object tokens
    r"\b[0-9a-f]{16}\b",  # installations
    r"\b[0-9a-f]{12}\b",  # tokens' ids
)
_EACH = re.compile("|".join(f"({pattern})" for pattern in _VARYING))


def differences(expected: list[str], came: str) -> str:
    """Return how `came` differs from the lines expected, or nothing."""
    lines = [line.rstrip() for line in came.replace("\r", "").splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    pattern = "".join(_line_pattern(line) for line in expected)
    if re.fullmatch(pattern, "".join(f"{line}\n" for line in lines)):
        return ""
    return "\n".join(unified_diff(expected, lines, "the page", "what came", lineterm=""))


def _line_pattern(line: str) -> str:
    if line.strip() == "...":
        return r"(?:.*\n)*?"
    parts, position = [], 0
    for found in _EACH.finditer(line):
        parts.append(re.escape(line[position : found.start()]))
        varying = _VARYING[(found.lastindex or 1) - 1]
        parts.append(".*" if varying == _VARYING[0] else f"(?:{varying})")
        position = found.end()
    return "".join(parts) + re.escape(line[position:].rstrip()) + r" *\n"
