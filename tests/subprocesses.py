"""Python programs run on their own, for what a test cannot do to its own process."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

# Settings of the caller that would change what is tested.
SETTINGS = (
    "FASTXENT_ISA",
    "FASTXENT_KEPT_MEMORY",
    "OMP_NUM_THREADS",
    "OMP_THREAD_LIMIT",
    "GOMP_CPU_AFFINITY",
    "OMP_PROC_BIND",
)


def run(code: str, *arguments: str, timeout: float = 60, **environment: str) -> subprocess.CompletedProcess[str]:
    """The program's exit status and output. It starts in the root directory: no source folder shadows the package."""
    settings = {name: value for name, value in os.environ.items() if name not in SETTINGS} | environment
    command = [sys.executable, code] if code.endswith(".py") else [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(
        [*command, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=settings,
        cwd=os.path.abspath(os.sep),
    )


def output(code: str, *arguments: str, timeout: float = 60, **environment: str) -> str:
    """What a program that must succeed has printed; the code itself, or the path of a file."""
    child = run(code, *arguments, timeout=timeout, **environment)
    assert child.returncode == 0, f"exit status {child.returncode}\n{child.stdout}\n{child.stderr}"
    return child.stdout.strip()
