"""The machine: what it is, and whether it is quiet enough to be believed."""

from __future__ import annotations

import os
import platform
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

# More than this of one core taken by others, and a round does not count. Work that only wakes up
# now and then (a shell, a monitor) stays below; one busy process is 1.0.
FOREIGN_CORES = 0.15

# One process running all the time brings the load average to 1; half a process is not quiet.
LOAD_LIMIT = 0.5

# The slow tenth of equal pieces of arithmetic may take this much longer than the fastest, and the
# median after a run may differ this much from the one before.
CALIBRATION_SPREAD = 1.3
CALIBRATION_DRIFT = 1.15

# Enough passes over a cache-sized array for a piece to last about a millisecond: shorter ones
# measure how Python hands its lock around.
CALIBRATION_PASSES = 20

TICK = 0.01


def describe() -> dict[str, Any]:
    """CPU, caches, memory, governor and system; what cannot be read is left out."""
    facts = {
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "caches": _caches(),
        "memory_bytes": _memory(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "huge_pages": _read("/sys/kernel/mm/transparent_hugepage/enabled"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }
    return {name: value for name, value in facts.items() if value}


class ForeignCpu:
    """How many CPUs processes other than this one used since the last look.

    On Linux, from the machine's counters less our own; elsewhere always 0.0, and only the load
    average and the calibration speak.
    """

    def __init__(self) -> None:
        self._wall, self._foreign = time.perf_counter(), _foreign_seconds()

    def look(self) -> float:
        """CPUs in use by others, on average since the last look."""
        wall, foreign = time.perf_counter(), _foreign_seconds()
        elapsed = max(wall - self._wall, TICK)
        # The machine counts whole ticks, we exactly: one tick of difference means nothing.
        cores = max(0.0, foreign - self._foreign - TICK) / elapsed
        self._wall, self._foreign = wall, foreign
        return cores


def load_average() -> float | None:
    """Load average of the last minute, if the system has one."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def calibrate(threads: int, pieces: int = 60) -> tuple[float, float]:
    """Seconds for a piece of arithmetic that fits a cache, and slow tenth over fastest.

    Sees what the counters do not: a neighbour on the same host, a frequency that moves.
    """

    def work(_: int) -> list[float]:
        x = np.linspace(0, 1, 1 << 16)
        y = np.empty_like(x)
        seconds = []
        for _ in range(pieces):
            start = time.perf_counter()
            for _ in range(CALIBRATION_PASSES):
                np.exp(x, out=y)
            seconds.append(time.perf_counter() - start)
        return seconds[pieces // 4 :]  # the first warm the cache up and the clock

    with ThreadPoolExecutor(threads) as pool:
        seconds = np.array(list(pool.map(work, range(threads))))
    return float(np.median(seconds)), float(np.percentile(seconds, 90) / seconds.min())


def not_quiet(threads: int) -> list[str]:
    """Why the machine is too busy to measure on; empty if it is quiet."""
    reasons = []
    load = load_average()
    if load is not None and load > LOAD_LIMIT:
        reasons.append(f"load average {load:.2f}, quiet is below {LOAD_LIMIT}")
    foreign = ForeignCpu()
    time.sleep(1)
    cores = foreign.look()
    if cores > FOREIGN_CORES:
        reasons.append(f"other processes use {cores:.2f} CPUs, quiet is below {FOREIGN_CORES}")
    _, spread = calibrate(threads)
    if spread > CALIBRATION_SPREAD:
        reasons.append(f"equal arithmetic differs by {spread:.2f} times, quiet is below {CALIBRATION_SPREAD}")
    return reasons


def wait_until_quiet(threads: int, seconds: float) -> list[str]:
    """Look again until the machine is quiet or the time is over; the last reasons."""
    end = time.monotonic() + seconds
    while (reasons := not_quiet(threads)) and time.monotonic() < end:
        time.sleep(min(5.0, max(0.0, end - time.monotonic())))
    return reasons


def _foreign_seconds() -> float:
    """CPU seconds spent since boot by everyone but us and our children."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    ticks = [int(field) for field in fields]
    # user nice system idle iowait irq softirq steal; guest time is inside user.
    busy = sum(ticks[:3]) + sum(ticks[5:8])
    ours = os.times()
    return busy / os.sysconf("SC_CLK_TCK") - sum(ours[:4])


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip() or None
    except OSError:
        return None


def _cpu_model() -> str:
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _caches() -> dict[str, str]:
    caches = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = (_read(str(index / name)) for name in ("level", "type", "size"))
        if kind in ("Data", "Unified") and level and size:
            caches[f"L{level}"] = size
    return caches


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None
