"""The record of a run, as it is written to JSON and read back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

SCHEMA = 1


@dataclass
class Measurement:
    """One implementation in one case: ``seconds`` a call, one figure for each round.

    ``peak_bytes`` is the most memory a call needed beyond its inputs, ``instructions`` what
    callgrind counted for a call; None where not measured.
    """

    name: str
    library: str
    role: str
    output: str
    seconds: list[float]
    calls_per_turn: int
    peak_bytes: int | None = None
    instructions: int | None = None
    note: str = ""

    @property
    def median(self) -> float:
        """Median seconds over the rounds."""
        return float(np.median(self.seconds))

    @property
    def quartiles(self) -> tuple[float, float]:
        """First and third quartile of the seconds."""
        low, high = np.percentile(self.seconds, (25, 75))
        return float(low), float(high)

    def ratio_to(self, other: Measurement) -> float:
        """How many times as long as ``other``: ratio in each round, then their median."""
        return float(np.median(np.divide(self.seconds, other.seconds)))


@dataclass
class CaseResult:
    """All implementations of one case; ``refused`` says why one was not timed.

    ``foreign_cores`` is what other processes took of the CPUs while the case was timed.
    """

    name: str
    operation: str
    rows: int
    classes: int
    dtype: str
    bytes_moved: int
    measurements: list[Measurement]
    refused: dict[str, str]
    foreign_cores: float
    discarded_rounds: int
    goals: list[dict[str, Any]] = field(default_factory=list)
    limit_seconds: float | None = None

    def find(self, name: str) -> Measurement | None:
        """The measurement of that name."""
        return next((m for m in self.measurements if m.name == name), None)

    def floor(self, output: str) -> Measurement | None:
        """The memory floor for that kind of output."""
        floors = [m for m in self.measurements if m.library == "floor"]
        return next((m for m in floors if m.output == output), None)

    def best_peer(self, output: str = "fresh") -> Measurement | None:
        """The fastest peer with that kind of output."""
        peers = [m for m in self.measurements if m.role == "peer" and m.output == output]
        return min(peers, key=lambda m: m.median, default=None)


@dataclass
class Run:
    """A whole run. ``busy`` lists why the machine was not quiet; empty in an unforced report."""

    date: str
    threads: int
    rounds: int
    seed: int
    quick: bool
    forced: bool
    machine: dict[str, Any]
    versions: dict[str, str]
    fastxent: dict[str, Any]
    load: dict[str, Any]
    busy: list[str]
    missing: dict[str, str]
    cases: list[CaseResult]
    schema: int = SCHEMA


def save(run: Run, path: Path) -> None:
    """Write a run as JSON."""
    path.write_text(json.dumps(asdict(run), indent=1, default=str) + "\n")


def load(path: Path) -> Run:
    """Read a run; ValueError if the file is something else."""
    try:
        record = json.loads(path.read_text())
        schema = record["schema"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not written by `python -m benchmarks --json`") from error
    if schema != SCHEMA:
        raise ValueError(f"{path}: schema {schema}; this version reads {SCHEMA}")
    cases = [
        CaseResult(**{**case, "measurements": [Measurement(**m) for m in case["measurements"]]})
        for case in record["cases"]
    ]
    return Run(**{**record, "cases": cases})
