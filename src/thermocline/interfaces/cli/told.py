"""Lines on standard error about single files and contents, beside the one error that a command ends with."""

import sys


def tell_problem(name: str, reason: str) -> None:
    """Say why this one could not be done."""
    _write(f"error: {name!r}: {reason}")


def tell_note(name: str, reason: str) -> None:
    """Say what was left out on purpose."""
    _write(f"note: {name!r}: {reason}")


def tell_more(count: int) -> None:
    """Say how many more there are."""
    _write(f"... and {count} more")


def _write(line: str) -> None:
    # A closed standard error must not turn a told problem into another one.
    if sys.stderr is not None:
        try:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()
        except OSError:
            return
