"""What more threads cost where others compute: `python -m benchmarks.contention`.

Mean times of `softmax_cross_entropy` with its gradient: alone; right after a matrix product, whose library's threads
still spin; and in two processes at once. With one thread, with two, and with the default, which learns.
"""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np

from benchmarks.environment import leave_checkout

SHAPES = ((500, 1000), (6000, 100), (60000, 100))
SECONDS = 1.0


def mean_time(rows: int, classes: int, threads: int | None, matmul: bool) -> float:
    """Milliseconds a call."""
    leave_checkout()
    import fastxent as fx

    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, classes), np.float32)
    labels, grad = rng.integers(0, classes, rows), np.empty_like(x)
    square = rng.standard_normal((400, 400), np.float32)
    taken, calls = 0.0, 0
    # What the default has learnt from the last measurement is forgotten after a second.
    time.sleep(1.1)
    until = time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        if matmul:
            square @ square
        began = time.perf_counter()
        fx.softmax_cross_entropy(x, labels, grad=grad, n_threads=threads)
        taken += time.perf_counter() - began
        calls += 1
    return 1e3 * taken / calls


def in_two_processes(rows: int, classes: int, threads: int | None) -> float:
    call = f"from benchmarks.contention import mean_time; print(mean_time({rows}, {classes}, {threads}, False))"
    both = [subprocess.Popen([sys.executable, "-c", call], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    return sum(float(process.communicate()[0]) for process in both) / 2


def main() -> None:
    print(f"{'ms a call':30}{'one thread':>12}{'two':>12}{'default':>12}")
    for rows, classes in SHAPES:
        for name, measure in (
            ("alone", lambda *case: mean_time(*case, False)),
            ("after a product", lambda *case: mean_time(*case, True)),
            ("two processes", in_two_processes),
        ):
            times = "".join(f"{measure(rows, classes, threads):12.2f}" for threads in (1, 2, None))
            print(f"{rows:6} x {classes:<5}{name:16}{times}")


if __name__ == "__main__":
    main()
