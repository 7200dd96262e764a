"""What processes and the machine used, as the kernel counts it. Linux only."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_KIB = 1024


def tree(pid: int) -> tuple[int, ...]:
    """Return a process and all its descendants."""
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        children += map(int, (task / "children").read_text(encoding="ascii").split())
    return (pid, *(found for child in children for found in tree(child)))


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return user and system time of the processes so far (fields 14 and 15 of /proc/PID/stat)."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS_PER_SECOND


def cpu_seconds_with_ended(pid: int) -> float:
    """Return user and system time of a process, its children, and all that it has waited for (fields 16 and 17)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    ended = (int(fields[13]) + int(fields[14])) / _TICKS_PER_SECOND
    return ended + cpu_seconds(tree(pid))


def peak_memory_bytes(pids: Iterable[int]) -> int:
    """Return the sum of the highest resident sizes (VmHWM) that the processes ever had."""
    total = 0
    for pid in pids:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        total += int(line.split()[1]) * _KIB
    return total


@dataclass(frozen=True)
class MachineTime:
    """CPU seconds over all cores since boot."""

    busy: float
    idle: float
    waiting_for_disk: float

    @classmethod
    def now(cls) -> Self:
        fields = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0].split()[1:9]
        user, nice, system, idle, io_wait, irq, soft_irq, steal = (int(field) / _TICKS_PER_SECOND for field in fields)
        return cls(user + nice + system + irq + soft_irq + steal, idle, io_wait)

    def __sub__(self, earlier: "MachineTime") -> "MachineTime":
        return MachineTime(
            self.busy - earlier.busy, self.idle - earlier.idle, self.waiting_for_disk - earlier.waiting_for_disk
        )

    @property
    def total(self) -> float:
        return self.busy + self.idle + self.waiting_for_disk
