"""A whole run: every case with every library, from the arrays to the record."""

from __future__ import annotations

import gc
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import harness, machine, peers, probe
from benchmarks.cases import Case, make_inputs
from benchmarks.implementation import Implementation
from benchmarks.results import CaseResult, Run
from benchmarks.verify import expect


@dataclass(frozen=True)
class Settings:
    """How to run; ``libraries`` may name files of ``peers/`` or plug-ins ``path.py:function``."""

    libraries: list[str]
    threads: int
    rounds: int
    seed: int = 0
    quick: bool = False
    force: bool = False
    memory: bool = True
    instructions: bool = False
    wait: float = 0.0


class Busy(Exception):
    """The machine is not quiet; ``reasons`` says why."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


def run(cases: list[Case], settings: Settings, console: Console) -> Run:
    """Measure; raise Busy, before or after, if the machine was busy and ``force`` is not set."""
    busy = machine.wait_until_quiet(settings.threads, settings.wait)
    if busy and not settings.force:
        raise Busy(busy)
    before = machine.load_average()
    pace, _ = machine.calibrate(settings.threads)
    libraries, missing = _installed(settings.libraries)
    versions, facts = _versions(libraries), _fastxent_facts(libraries)
    results = []
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        for case in cases:
            task = progress.add_task(case.name, total=settings.rounds)
            result = _run_case(case, libraries, settings, lambda t=task: progress.advance(t))
            results.append(result)
            progress.remove_task(task)
            if result.foreign_cores > machine.FOREIGN_CORES:
                reason = f"{case.name}: other processes used {result.foreign_cores:.2f} CPUs"
                busy.append(reason)
                if not settings.force:
                    raise Busy(busy)
    drift = machine.calibrate(settings.threads)[0] / pace
    if not 1 / machine.CALIBRATION_DRIFT < drift < machine.CALIBRATION_DRIFT:
        busy.append(f"equal arithmetic took {drift:.2f} times as long after the run as before")
        if not settings.force:
            raise Busy(busy)
    return Run(
        date=datetime.now().astimezone().isoformat(timespec="seconds"),
        threads=settings.threads,
        rounds=settings.rounds,
        seed=settings.seed,
        quick=settings.quick,
        forced=settings.force,
        machine=machine.describe(),
        versions=versions,
        fastxent=facts,
        load={
            "before": before,
            "after": machine.load_average(),
            "foreign_cores": max((r.foreign_cores for r in results), default=0.0),
            "calibration_drift": drift,
        },
        busy=busy,
        missing=missing,
        cases=results,
    )


def _run_case(case: Case, libraries: list[str], settings: Settings, on_round: Any) -> CaseResult:
    """Prepare, check and time one case; then memory and instructions in fresh processes."""
    inputs = make_inputs(case, settings.seed)
    implementations: list[Implementation] = []
    refused: dict[str, str] = {}
    if case.targets == "options":
        libraries = [library for library in libraries if library == peers.OURS]
    for library in (peers.FLOOR, *libraries):
        try:
            implementations += peers.prepare(library, case, inputs, settings.threads)
        except Exception as error:  # noqa: BLE001  (a result, not the end of the run)
            refused[library.rpartition(":")[2]] = harness.in_one_line(error)
    right, wrong = harness.warm_up(case, expect(case, inputs), implementations)
    measurements, foreign_cores, discarded = harness.run_rounds(
        right, settings.rounds, settings.seed, on_round, force=settings.force
    )
    del implementations, right, inputs
    gc.collect()
    for m in measurements:
        if settings.memory:
            m.peak_bytes = probe.peak_bytes(case, m.library, m.name, settings.threads)
        if settings.instructions:
            m.instructions = probe.instructions(case, m.library, m.name, settings.threads)
        if ":" in m.library:
            m.library = "plug-in"  # where the file lies is nobody's business
    return CaseResult(
        name=case.name,
        operation=case.operation,
        rows=case.rows,
        classes=case.classes,
        dtype=case.dtype,
        bytes_moved=case.bytes_moved,
        measurements=measurements,
        refused=refused | wrong,
        foreign_cores=foreign_cores,
        discarded_rounds=discarded,
        goals=[asdict(goal) for goal in case.goals],
        limit_seconds=case.limit_seconds,
    )


def _installed(libraries: list[str]) -> tuple[list[str], dict[str, str]]:
    """The libraries that can be imported, and why the others cannot."""
    found, missing = [], {}
    for library in libraries:
        try:
            if ":" not in library:
                peers.load(library)
        except ImportError as error:
            missing[library] = str(error)
        else:
            found.append(library)
    return found, missing


def _versions(libraries: list[str]) -> dict[str, str]:
    """Versions of the libraries, and of NumPy, which the floor uses."""
    versions = {library: peers.version(library) for library in libraries if ":" not in library}
    return {"numpy": np.__version__} | versions


def _fastxent_facts(libraries: list[str]) -> dict[str, Any]:
    """What ``fastxent.info()`` says of the build and the instruction set, as plain text."""
    if peers.OURS not in libraries:
        return {}
    import fastxent

    facts = {"isa": fastxent.isa()} if hasattr(fastxent, "isa") else {}
    info = fastxent.info() if hasattr(fastxent, "info") else {}
    if isinstance(info, dict):
        facts |= {name: str(value) for name, value in info.items()}
    return facts
