"""What each instruction set is worth: `python -m benchmarks.isa`, with `--results` also written to ISA.md.

Losses with their gradient into a buffer, and logsumexp, by the kernels of every instruction set that this machine has
(`fastxent.set_isa`), and by scikit-learn where it has the loss: all in the same rounds of the harness.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks import environment, harness, machine, peers
from benchmarks.cases import CASES, Case, make_inputs
from benchmarks.implementation import Implementation
from benchmarks.report import seconds
from benchmarks.results import Measurement

RESULTS = Path(__file__).with_name("ISA.md")
SKLEARN = "scikit-learn"

# Of the speed with AVX-512, what AVX2 is asked to reach; plain C is asked to be as fast as scikit-learn.
LEAST_OF_AVX512 = 0.6


def implementations(case: Case, isas: tuple[str, ...], threads: int) -> list[Implementation]:
    """Ours once for each instruction set, named after it, and scikit-learn's."""
    import fastxent as fx

    inputs = make_inputs(case)
    output = "buffer" if case.has_gradient else "fresh"

    def on(isa: str, call: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> Any:
            fx.set_isa(isa)
            return call()

        return run

    ours = [i for i in peers.prepare(peers.OURS, case, inputs, threads) if i.output == output]
    theirs = [i for i in peers.prepare("sklearn", case, inputs, threads) if i.output == output]
    return [replace(i, name=isa, call=on(isa, i.call)) for isa in isas for i in ours] + [
        replace(i, name=SKLEARN) for i in theirs
    ]


def row(case: Case, isas: tuple[str, ...], measured: dict[str, Measurement]) -> list[str]:
    """One line of the table: times, then the two ratios."""
    times = [seconds(measured[name].median) if name in measured else "" for name in (*isas, SKLEARN)]
    fraction = against = ""
    if {"avx2", "avx512"} <= measured.keys():
        reached = measured["avx512"].ratio_to(measured["avx2"])
        fraction = f"{100 * reached:.0f} %" if reached >= LEAST_OF_AVX512 else f"**{100 * reached:.0f} %**"
    if SKLEARN in measured:
        faster = measured[SKLEARN].ratio_to(measured["scalar"])
        against = f"{faster:.2f} x" if faster >= 1 else f"**{faster:.2f} x**"
    return [case.name, *times, fraction, against]


def report(rounds: int, threads: int) -> Iterator[str]:
    """The lines of ISA.md, as they become known."""
    import fastxent as fx

    isas = fx.info()["isas"]
    yield "# Instruction sets"
    yield ""
    yield "Written by `python -m benchmarks.isa --results`; how it measures: [README.md](README.md). Medians over the"
    yield "rounds; ratios are taken within a round, then their median. Asked for is that AVX2 reaches at least"
    yield f"{100 * LEAST_OF_AVX512:.0f} % of the speed of AVX-512, and plain C (`scalar`) that of scikit-learn."
    yield "What misses it is bold."
    yield ""
    about = machine.describe()
    caches = ", ".join(f"{level} {size}" for level, size in about.get("caches", {}).items())
    yield f"* {about['cpu']}, {about['cpus']} CPUs, {caches}; {about['system']}"
    versions = ", ".join(f"{name} {peers.version(name)}" for name in ("fastxent", "numpy", "sklearn"))
    yield f"* Python {about['python']}, {versions}; compiler {fx.info()['compiler']}"
    yield f"* {datetime.now().astimezone().isoformat(timespec='seconds')}; {threads} threads, {rounds} rounds"
    yield ""
    columns = ["case", *isas, SKLEARN, "avx2, of avx512", f"scalar, times {SKLEARN}"]
    yield f"| {' | '.join(columns)} |"
    yield "|---" + "|---:" * (len(columns) - 1) + "|"
    foreign, discarded = 0.0, 0
    for case in CASES:
        if case.operation not in peers.BASIC_OPERATIONS or case.targets in ("csr", "options"):
            continue
        measurements, cores, repeated = harness.run_rounds(
            implementations(case, isas, threads), rounds, 0, lambda: None
        )
        foreign, discarded = max(foreign, cores), discarded + repeated
        yield f"| {' | '.join(row(case, isas, {m.name: m for m in measurements}))} |"
    yield ""
    yield f"Other processes used {foreign:.2f} CPUs; {discarded} rounds were disturbed by them and repeated."


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.isa", description=__doc__.partition(":")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=min(2, environment.available_cpus()))
    parser.add_argument("--results", type=Path, nargs="?", const=RESULTS, metavar="FILE", help="write ISA.md")
    arguments = parser.parse_args()
    environment.leave_checkout()
    environment.set_threads(arguments.threads)
    lines = []
    for line in report(arguments.rounds, arguments.threads):
        print(line, flush=True)
        lines.append(f"{line}\n")
    if arguments.results:
        arguments.results.write_text("".join(lines))


if __name__ == "__main__":
    main()
