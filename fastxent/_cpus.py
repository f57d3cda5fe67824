"""Processors that this process may use."""

from __future__ import annotations

import os


def available_cpus() -> int:
    """Processors that affinity and control group leave to this process."""
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:
        cpus = os.cpu_count() or 1
    return min(cpus, _cgroup_cpus() or cpus)


def _cgroup_cpus() -> int:
    """Whole processors that the control group of this process may use, or 0 where there is no limit."""
    cpus = []
    for files in _limit_files():
        try:
            quota, period = " ".join(_text(file) for file in files).split()
            if quota not in ("max", "-1"):
                cpus.append(max(1, -(-int(quota) // int(period))))
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return min(cpus, default=0)


def _limit_files() -> list[tuple[str, ...]]:
    """Files that hold the quota and the period of a limit on this process, which may not exist."""
    try:
        groups = [line.split(":", 2) for line in _text("/proc/self/cgroup").split("\n") if line.count(":") > 1]
    except OSError:
        return []
    files: list[tuple[str, ...]] = []
    for _, controllers, path in groups:
        if controllers == "":
            # Version 2: the limit of every ancestor holds as well.
            parts = [part for part in path.split("/") if part]
            folders = [os.path.join("/sys/fs/cgroup", *parts[:depth]) for depth in range(len(parts) + 1)]
            files += [(os.path.join(folder, "cpu.max"),) for folder in folders]
        elif "cpu" in controllers.split(","):
            folders = [os.path.join("/sys/fs/cgroup/cpu", path.lstrip("/")), "/sys/fs/cgroup/cpu"]
            files += [
                tuple(os.path.join(folder, f"cpu.cfs_{name}_us") for name in ("quota", "period")) for folder in folders
            ]
    return files


def _text(path: str) -> str:
    with open(path, errors="replace") as file:
        return file.read()
