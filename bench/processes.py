"""Processor time and peak memory of processes, from Linux's `/proc`; nothing is known of them on other systems."""

import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

KIB_PER_MIB = 1024
# Positions in /proc/<pid>/stat behind the name, which may hold blanks: parent, then user and system time of the process
# and of those of its children that have ended.
PARENT, TIMES = 1, slice(11, 15)
# Written to clear_refs, it makes the peak of the resident memory begin anew.
RESET_PEAK = "5"


@dataclass(slots=True)
class Cost:
    """What an operation took: seconds that passed, and seconds of processor time of the service and of PostgreSQL.

    Attributes:
        children: processor time of the processes started in this one and ended meanwhile, such as peers.
    """

    seconds: float = 0.0
    cpu: float = 0.0
    database_cpu: float = 0.0
    children: float = 0.0


@contextmanager
def measure_cost(pid: int, postmaster: int | None = None) -> Iterator[Cost]:
    """Measure the block.

    Args:
        pid: the process that does the work.
        postmaster: PostgreSQL's first process; None where it is not on this machine.
    """
    cost = Cost()
    before = (time.perf_counter(), cpu_seconds(pid), tree_cpu_seconds(postmaster), _children_seconds())
    yield cost
    cost.seconds = time.perf_counter() - before[0]
    cost.cpu = cpu_seconds(pid) - before[1]
    cost.database_cpu = tree_cpu_seconds(postmaster) - before[2]
    cost.children = _children_seconds() - before[3]


def cpu_seconds(pid: int) -> float:
    """Return the seconds of processor time that a process has used; 0 on a system that does not tell."""
    if pid == os.getpid():
        return time.process_time()
    fields = _stat(pid)
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def tree_cpu_seconds(pid: int | None) -> float:
    """Return the seconds of processor time that a process and its children, ended ones too, have used."""
    if pid is None or sys.platform != "linux":
        return 0.0
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    family = [fields for each in pids if (fields := _stat(each)) and (each == pid or int(fields[PARENT]) == pid)]
    return sum(int(ticks) for fields in family for ticks in fields[TIMES]) / os.sysconf("SC_CLK_TCK")


def parent_of(pid: int) -> int | None:
    """Return the id of a process's parent; None on a system that does not tell."""
    fields = _stat(pid)
    return int(fields[PARENT]) if fields else None


def reset_peak_memory(pid: int) -> None:
    """Let the peak of a process's resident memory begin anew."""
    Path(f"/proc/{pid}/clear_refs").write_text(RESET_PEAK, encoding="ascii")


def peak_memory(pid: int) -> float:
    """Return the peak of a process's resident memory since `reset_peak_memory`, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / KIB_PER_MIB


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _stat(pid: int) -> list[str]:
    """Return the fields behind the process's name; empty when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()
