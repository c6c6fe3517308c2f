"""Memory and CPU time of a process, from /proc."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Memory(NamedTuple):
    """Resident memory of a process in MiB: now, and the most it ever was."""

    resident_mib: float
    peak_mib: float


def parse_status(text: str) -> Memory:
    """Memory from the text of /proc/<pid>/status. Raises KeyError for a process that has ended."""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return Memory(*(int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM")))


def parse_cpu_seconds(text: str) -> float:
    """User and system seconds of all threads, from the text of /proc/<pid>/stat."""
    fields = text.rpartition(")")[2].split()  # the command name before it may hold blanks
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def memory(pid: int) -> Memory:
    return parse_status(Path(f"/proc/{pid}/status").read_text())


def cpu_seconds(pid: int) -> float:
    return parse_cpu_seconds(Path(f"/proc/{pid}/stat").read_text())


def machine() -> str:
    """One line about the machine: processor, cores this process may use, memory, kernel."""
    models = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    total_kib = next(int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal"))
    cores = len(os.sched_getaffinity(0))
    model = models[0] if models else os.uname().machine
    return f"{model}, {cores} cores, {total_kib >> 20} GiB, Linux {os.uname().release}"


def file_system(folder: Path) -> str:
    """Type of the file system that holds `folder`, such as "ext4"; "tmpfs" means that no disk is measured."""
    best, kind = "", "unknown"
    for line in _lines("/proc/mounts"):
        _, mount, fs_type = line.split()[:3]
        inside = mount == "/" or folder.resolve() == Path(mount) or Path(mount) in folder.resolve().parents
        if inside and len(mount) >= len(best):
            best, kind = mount, fs_type
    return kind


def _lines(name: str) -> list[str]:
    return Path(name).read_text().splitlines()
