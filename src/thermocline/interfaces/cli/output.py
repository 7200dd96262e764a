"""Standard output: results for people or as JSON, whole lines, and errors of writing told as ours."""

import json
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from thermocline.interfaces.cli.exits import CommandError


def write_line(text: str) -> None:
    """Write one line for people. Raises `BrokenPipeError` if the reader has left."""
    _write(text + "\n")


def write_json(value: Mapping[str, Any]) -> None:
    """Write one JSON object on one line, in ASCII, whatever the terminal's encoding."""
    _write(json.dumps(value) + "\n")


def flush_output() -> None:
    """Hand everything written so far to the system."""
    try:
        _stdout().flush()
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise _unwritable(exc) from exc


def close_output() -> None:
    """Flush; a full disk or a closed pipe is told now rather than lost at the interpreter's exit."""
    if sys.stdout is not None:
        flush_output()


def _write(text: str) -> None:
    stream = _stdout()
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise _unwritable(exc) from exc


def _stdout() -> TextIO:
    if sys.stdout is None:
        raise CommandError("standard output is closed", "redirect it to /dev/null instead")
    return sys.stdout


def _unwritable(exc: OSError) -> CommandError:
    return CommandError(f"the output cannot be written: {exc.strerror}")
