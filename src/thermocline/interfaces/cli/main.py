"""The entry point: whatever happens becomes an exit code and at most one line; never a traceback."""

import os
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

TRACEBACK_VARIABLE = "THERMOCLINE_TRACEBACK"
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. `argv` is without the program's name; None takes the process's.

    Ctrl-C at any moment, also during the imports, ends with code 130 and one line.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(arguments)
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        code = INTERRUPTED
    if code == INTERRUPTED:
        # An interrupt that passed through code run from text (dataclasses do that at import) leaves a mark by which
        # the interpreter would end itself with the signal, although it was handled. Running text anew takes it away.
        eval("0")  # noqa: S307 - a constant
    return code


def _run(arguments: list[str]) -> int:
    # Imported here, so that an interrupt during the imports is met by `main`.
    from thermocline.domain.errors import StorageError
    from thermocline.interfaces.cli.exits import CommandError, ExitCode, code_of, tell
    from thermocline.interfaces.cli.output import close_output

    as_json = "--json" in arguments
    try:
        code = _invoke(arguments)
        close_output()
    except BrokenPipeError:
        return ExitCode.FAILED
    except (StorageError, CommandError) as exc:
        _show_traceback_if_asked()
        tell(exc, as_json=as_json)
        return code_of(exc)
    except Exception as exc:  # noqa: BLE001 - the last line of defence between a bug and the user
        _show_traceback_if_asked()
        tell(_unexpected(exc), as_json=as_json)
        return ExitCode.FAILED
    finally:
        _let_go_of_output()
    return code


def _invoke(arguments: list[str]) -> int:
    import typer

    from thermocline.interfaces.cli.exits import ExitCode, InterruptedCommandError, UsageError

    try:
        result = _command()(arguments, prog_name="thermocline", standalone_mode=False)
    except typer.TyperException as exc:
        raise UsageError(exc.format_message().rstrip("."), "'thermocline --help' shows how") from exc
    except typer.Abort as exc:
        raise InterruptedCommandError from exc
    code = int(result) if isinstance(result, int) else ExitCode.DONE
    if code == ExitCode.INTERRUPTED:  # typer's answer to a Ctrl-C that came before the command's own work
        raise InterruptedCommandError
    return code


@cache
def _command() -> Any:
    """Return all commands as one. Whoever runs several in one process waits for it once."""
    from typer.main import get_command

    from thermocline.interfaces.cli.app import app

    return get_command(app)


def _unexpected(exc: Exception) -> Exception:
    from thermocline.interfaces.cli.exits import CommandError

    if isinstance(exc, MemoryError):
        return CommandError("there is not enough memory", "lower [limits] memory and [cache] memory")
    what = " ".join(str(exc).split())
    return CommandError(
        f"unexpected {type(exc).__name__}: {what}" if what else f"unexpected {type(exc).__name__}",
        f"this is a bug: please report it with the output of the same command under {TRACEBACK_VARIABLE}=1",
    )


def _show_traceback_if_asked() -> None:
    if os.environ.get(TRACEBACK_VARIABLE, "") not in {"", "0"}:
        import traceback

        traceback.print_exc()


def _let_go_of_output() -> None:
    """Keep the interpreter's own flush at exit from failing, and telling so, when ours has failed already."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        _send_output_nowhere()


def _send_output_nowhere() -> None:
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        return
