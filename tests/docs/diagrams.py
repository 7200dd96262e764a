"""The part of Mermaid that our diagrams use, line by line: enough to know that a viewer can draw them."""

import re

_NAME = r"[A-Za-z][A-Za-z0-9_]*"
_SEQUENCE = (
    re.compile(rf"(?:participant|actor) (?P<declared>{_NAME})(?: as [^;#]+)?"),
    re.compile(rf"(?P<source>{_NAME})(?:-->>|->>|-x|--x|-\)|--\))(?P<target>{_NAME}): [^;#]+"),
    re.compile(rf"Note (?:over|left of|right of) (?P<source>{_NAME})(?:,(?P<target>{_NAME}))?: [^;#]+"),
    re.compile(r"autonumber"),
)
_OPENING = re.compile(r"(?:alt|opt|loop|par|critical|break|rect)(?: [^;#]+)?")
_BETWEEN = re.compile(r"(?:else|and|option)(?: [^;#]+)?")
_STATES = (
    re.compile(rf"(?:{_NAME}|\[\*\]) --> (?:{_NAME}|\[\*\])(?:: [^;#:]+)?"),
    re.compile(rf'state "[^"]+" as {_NAME}'),
    re.compile(rf"{_NAME}: [^;#:]+"),
    re.compile(r"direction (?:LR|TB)"),
)
_BOX = rf'{_NAME}(?:\["[^"]+"\]|\("[^"]+"\)|\[\("[^"]+"\)\]|{{"[^"]+"}})?'
_FLOW = (re.compile(rf'{_BOX}(?: (?:-->|-\.->|---)(?:\|"?[^|"]+"?\|)? {_BOX})*'),)


def faults(text: str) -> list[str]:
    """Return what a viewer would not understand."""
    first, *lines = [line.strip() for line in text.splitlines() if line.strip()]
    if first == "sequenceDiagram":
        return _sequence_faults(lines)
    if first == "stateDiagram-v2":
        return [line for line in lines if not any(form.fullmatch(line) for form in _STATES)]
    if re.fullmatch(r"flowchart (?:LR|TD)", first):
        return [line for line in lines if not any(form.fullmatch(line) for form in _FLOW)]
    return [first]


def _sequence_faults(lines: list[str]) -> list[str]:
    wrong: list[str] = []
    declared: set[str] = set()
    depth = 0
    for line in lines:
        found = next((match for form in _SEQUENCE if (match := form.fullmatch(line))), None)
        if found is not None:
            names = {name: value for name, value in found.groupdict().items() if value}
            declared |= {names.pop("declared")} if "declared" in names else set()
            wrong += [f"{name} is not declared: {line}" for name in names.values() if name not in declared]
        elif _OPENING.fullmatch(line):
            depth += 1
        elif line == "end":
            depth -= 1
        elif not (_BETWEEN.fullmatch(line) and depth > 0):
            wrong.append(line)
    return [*wrong, *(["alt, opt, loop and end do not balance"] if depth else [])]
