"""Two runs side by side: what changed, and what is only noise.

Seconds of two runs cannot be compared: the machine was another one, or in another mood. So every
implementation is divided by the memory floor of its own round, and the ratio of the two medians
gets an interval by bootstrap over the rounds. That interval knows the noise within a run. The
noise between runs shows in the peers: their code did not change, so their change is the machine's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchmarks.results import CaseResult, Measurement, Run

Verdict = Literal["slower", "faster", "same"]

RESAMPLES = 4000
INTERVAL = (0.5, 99.5)

# Changes below this are not worth a word, however certain.
LEAST_CHANGE = 0.02

# How often the typical change of unchanged peers a change must be to count as one.
NOISE_FACTOR = 2.0


@dataclass(frozen=True)
class Change:
    """Time of one implementation in B over A, both in units of the floor.

    ``low`` and ``high`` bound it by bootstrap; ``noise`` is the margin around 1 that the machine
    explains. Beyond the margin with the whole interval, it is slower or faster.
    """

    case: str
    name: str
    role: str
    ratio: float
    low: float
    high: float
    noise: float

    @property
    def verdict(self) -> Verdict:
        """Slower, faster, or the same as far as can be told."""
        if self.low > 1 + self.noise:
            return "slower"
        if self.high < 1 / (1 + self.noise):
            return "faster"
        return "same"


def compare(a: Run, b: Run) -> list[Change]:
    """Every implementation that both runs measured in the same case."""
    if a.threads != b.threads:
        raise ValueError(f"A ran with {a.threads} threads, B with {b.threads}")
    unchanged = {
        library for library in a.versions.keys() & b.versions.keys() if a.versions[library] == b.versions[library]
    }
    cases = {case.name: case for case in a.cases}
    changes = [
        change for case in b.cases if case.name in cases for change in _compare_case(cases[case.name], case, unchanged)
    ]
    if not changes:
        raise ValueError("the two runs have no case in common")
    return changes


def warnings(a: Run, b: Run) -> list[str]:
    """What makes the comparison weaker than it looks."""
    found = [
        f"{what}: {a.machine.get(what)} in A, {b.machine.get(what)} in B"
        for what in ("cpu", "caches", "huge_pages", "governor")
        if a.machine.get(what) != b.machine.get(what)
    ]
    for name, run in (("A", a), ("B", b)):
        found += [f"{name} was forced on a busy machine: {reason}" for reason in run.busy]
    numpys = a.versions.get("numpy"), b.versions.get("numpy")
    if numpys[0] != numpys[1]:
        found.append(f"the floor is NumPy's: {numpys[0]} in A, {numpys[1]} in B")
    return found


def _compare_case(a: CaseResult, b: CaseResult, unchanged: set[str]) -> list[Change]:
    """Changes in one case, with the margin its unchanged peers suggest."""
    rng = np.random.default_rng(0)
    found = []
    for mine in b.measurements:
        other = a.find(mine.name)
        if mine.library == "floor" or other is None:
            continue
        before, after = _in_floors(other, a), _in_floors(mine, b)
        medians = _resampled_medians(after, rng) / _resampled_medians(before, rng)
        low, high = np.percentile(medians, INTERVAL)
        found.append((mine, float(np.median(after) / np.median(before)), float(low), float(high)))
    still = [abs(np.log(ratio)) for mine, ratio, _, _ in found if mine.role == "peer" and mine.library in unchanged]
    typical = float(np.expm1(np.median(still))) if still else 0.0
    noise = max(LEAST_CHANGE, NOISE_FACTOR * typical)
    return [Change(b.name, mine.name, mine.role, ratio, low, high, noise) for mine, ratio, low, high in found]


def _in_floors(measurement: Measurement, case: CaseResult) -> np.ndarray:
    """Times in units of the floor, round by round.

    Always of the floor into a buffer, if there is one: what fresh pages cost depends on what the
    system did before.
    """
    floor = case.floor("buffer") or case.floor("fresh")
    if floor is None:
        raise ValueError(f"{case.name} was run without its memory floor")
    return np.divide(measurement.seconds, floor.seconds)


def _resampled_medians(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Medians of RESAMPLES draws with replacement."""
    return np.median(rng.choice(values, (RESAMPLES, len(values))), axis=1)
