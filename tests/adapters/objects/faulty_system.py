"""System calls that are recorded, fail on demand, or end with the death of the process."""

import os
from collections.abc import Callable
from typing import Any

from thermocline.adapters.objects.local_system import System

CALLS = (
    "open", "fstat", "stat", "mkdir", "rmdir", "link", "rename", "unlink", "fsync", "flock", "writev", "pread",
    "scandir",
)  # fmt: skip


class Died(BaseException):
    """The process was killed between two system calls."""


class FaultySystem(System):
    """Passes calls on; `fail` maps a call to the errors of its next times; `fail_at` and `die_at` strike the n-th call.

    Closing always works: the kernel does it for the dead too.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        """What was called, like `fsync a/b`: the call and the last path or descriptor, by name."""
        self.fail: dict[str, list[int | None]] = {}
        self.fail_at: tuple[int, int] | None = None
        """Which call of all fails, and with which error."""
        self.die_at: int | None = None
        for name in CALLS:
            setattr(self, name, self._watched(name, getattr(System, name)))
        self.scandir = self._watched("scandir", os.scandir)  # type: ignore[method-assign]

    def _watched(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.die_at is not None and len(self.calls) >= self.die_at:
                raise Died
            self.calls.append(f"{name} {_named(name, args)}")
            planned = self.fail.get(name)
            code = planned.pop(0) if planned else None
            if self.fail_at is not None and len(self.calls) == self.fail_at[0] + 1:
                code = self.fail_at[1]
            if code is not None:
                raise OSError(code, os.strerror(code), args[0] if isinstance(args[0], str) else None)
            return function(*args, **kwargs)

        return call

    def always(self, name: str, code: int) -> None:
        """Let every call of `name` fail."""
        self.fail[name] = [code] * 1000


def _named(name: str, args: tuple[Any, ...]) -> str:
    what = args[1] if name in {"link", "rename"} else args[0]
    if isinstance(what, int):
        return os.path.basename(os.readlink(f"/proc/self/fd/{what}"))  # noqa: PTH115, PTH119 - not a file's path
    return str(os.path.basename(what))  # noqa: PTH119
