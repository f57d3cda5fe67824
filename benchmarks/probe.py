"""One implementation alone in a fresh process: its peak memory, or its instructions.

``python -m benchmarks.probe`` is the child; ``peak_bytes`` and ``instructions`` are the parent.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.environment import CHECKOUT, leave_checkout, set_threads

if TYPE_CHECKING:
    from benchmarks.cases import Case
    from benchmarks.implementation import Implementation

PROBE_SECONDS = 600

# Under callgrind everything is some 50 times slower, importing above all.
CALLGRIND_ELEMENTS = 100_000
CALLGRIND_CALLS = 100


def peak_bytes(case: Case, library: str, name: str, threads: int) -> int | None:
    """The most memory one warm call needs beyond its inputs; None if it cannot be known."""
    output = _child([], case, library, name, threads, "--peak")
    return None if output is None else json.loads(output.stdout.splitlines()[-1])


def instructions(case: Case, library: str, name: str, threads: int) -> int | None:
    """Instructions of one warm call, averaged over CALLGRIND_CALLS.

    valgrind has no AVX-512, so libraries run their AVX2 code here. The child calls the otherwise
    unused ``getppid`` before and after the calls; callgrind writes its counts and starts anew.
    """
    valgrind = shutil.which("valgrind")
    if valgrind is None or case.rows * case.classes > CALLGRIND_ELEMENTS:
        return None
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "counts"
        prefix = [valgrind, "--tool=callgrind", f"--callgrind-out-file={out}"]
        prefix.append("--dump-before=getppid")
        if _child(prefix, case, library, name, threads, "--calls", str(CALLGRIND_CALLS)) is None:
            return None
        counted = re.search(r"^totals: (\d+)", Path(f"{out}.2").read_text(), re.MULTILINE)
    return None if counted is None else int(counted.group(1)) // CALLGRIND_CALLS


def _child(
    prefix: list[str], case: Case, library: str, name: str, threads: int, *what: str
) -> subprocess.CompletedProcess[str] | None:
    """Run this module on one implementation; None if it fails or takes too long."""
    record = asdict(case) | {"goals": ()}
    command = [*prefix, sys.executable, "-m", "benchmarks.probe", json.dumps(record)]
    command += [library, name, "--threads", str(threads), *what]
    try:
        return subprocess.run(
            command,
            cwd=CHECKOUT,
            # What fastxent keeps of the warm-up's result would hide the next one's need.
            env=os.environ | {"PYTHONHASHSEED": "0", "FASTXENT_KEPT_MEMORY": "0"},
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            check=True,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None


def main() -> None:
    """Prepare one implementation, warm it up, and do what the parent asks."""
    leave_checkout()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.probe")
    parser.add_argument("case")
    parser.add_argument("library")
    parser.add_argument("name")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--peak", action="store_true")
    parser.add_argument("--calls", type=int, default=0)
    arguments = parser.parse_args()
    set_threads(arguments.threads)
    implementation = _prepare(arguments)
    implementation.call()
    if arguments.peak:
        print(json.dumps(_measure_peak(implementation)))
    if arguments.calls:
        os.getppid()
        for _ in range(arguments.calls):
            implementation.call()
        os.getppid()


def _prepare(arguments: argparse.Namespace) -> Implementation:
    from benchmarks import peers
    from benchmarks.cases import Case, make_inputs

    case = Case(**json.loads(arguments.case))
    prepared = peers.prepare(arguments.library, case, make_inputs(case), arguments.threads)
    return next(i for i in prepared if i.name == arguments.name)


def _measure_peak(implementation: Implementation) -> int | None:
    """Growth of the resident set during one call; Linux can reset its high-water mark."""
    try:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # memory kept from the warm-up would hide a new need
        Path("/proc/self/clear_refs").write_text("5")
        before = _status_bytes("VmRSS")
        implementation.call()
        return max(0, _status_bytes("VmHWM") - before)
    except (OSError, AttributeError):
        return None


def _status_bytes(field: str) -> int:
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"{field}:\s*(\d+) kB", status)
    if found is None:
        raise OSError(f"no {field} in /proc/self/status")
    return int(found.group(1)) * 1024


if __name__ == "__main__":
    main()
