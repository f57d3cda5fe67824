"""Timing: interleaved rounds, so that whatever drifts, drifts for everyone.

In each round every implementation has one turn, in an order shuffled anew. A turn first calls
without looking at the clock: the threads of the library before it stop spinning (libgomp's do so
for some 15 ms), caches, allocator and clock come to the state of a loop that calls nothing else.
Then it times as many calls as fill TURN_SECONDS; what a call returns is freed within the timing.
"""

from __future__ import annotations

import gc
import math
import random
import time
from collections.abc import Callable
from itertools import repeat
from typing import Any

from benchmarks.cases import Case
from benchmarks.implementation import Implementation
from benchmarks.machine import FOREIGN_CORES, ForeignCpu
from benchmarks.results import Measurement
from benchmarks.verify import Expected, disagreement

SETTLE_SECONDS = 0.03
TURN_SECONDS = 0.01


def warm_up(
    case: Case, expected: Expected, implementations: list[Implementation]
) -> tuple[list[Implementation], dict[str, str]]:
    """Call each once, which compiles what is compiled, and part the right from the wrong."""
    right, refused = [], {}
    for implementation in implementations:
        try:
            returned = implementation.call()
            checked = implementation.role != "yardstick"
            reason = disagreement(case, expected, returned) if checked else None
        except Exception as error:  # noqa: BLE001  (whatever a peer raises is its result)
            reason = in_one_line(error)
        if reason is None:
            right.append(implementation)
        else:
            refused[implementation.name] = reason
    return right, refused


def run_rounds(
    implementations: list[Implementation],
    rounds: int,
    seed: int,
    on_round: Callable[[], None],
    *,
    force: bool = False,
) -> tuple[list[Measurement], float, int]:
    """Time the implementations; measurements, CPUs used by others, rounds thrown away.

    A round in which others used the CPUs is thrown away and repeated, at most ``rounds`` times;
    with ``force`` every round counts.
    """
    calls = [_calls_per_turn(i.call) for i in implementations]
    shuffle = random.Random(seed).shuffle
    seconds: list[list[float]] = [[] for _ in implementations]
    foreign_kept: list[float] = []
    discarded = 0
    foreign = ForeignCpu()
    while len(foreign_kept) < rounds:
        order = list(range(len(implementations)))
        shuffle(order)
        gc.collect()
        gc.disable()
        try:
            foreign.look()
            turns = {i: _turn(implementations[i].call, calls[i]) for i in order}
            cores = foreign.look()
        finally:
            gc.enable()
        if cores > FOREIGN_CORES and not force and discarded < rounds:
            discarded += 1
            continue
        for i, value in turns.items():
            seconds[i].append(value)
        foreign_kept.append(cores)
        on_round()
    measurements = [
        Measurement(i.name, i.library, i.role, i.output, s, n, note=i.note)
        for i, s, n in zip(implementations, seconds, calls, strict=True)
    ]
    return measurements, sum(foreign_kept) / rounds, discarded


def _turn(call: Callable[[], Any], calls: int) -> float:
    """Settle, then seconds a call over one batch."""
    end = time.perf_counter() + SETTLE_SECONDS
    call()
    while time.perf_counter() < end:
        call()
    start = time.perf_counter()
    for _ in repeat(None, calls):
        call()
    return (time.perf_counter() - start) / calls


def _calls_per_turn(call: Callable[[], Any]) -> int:
    """How many calls last TURN_SECONDS, judged by one warm call."""
    call()
    start = time.perf_counter()
    call()
    return max(1, math.ceil(TURN_SECONDS / (time.perf_counter() - start)))


def in_one_line(error: Exception) -> str:
    """Type and first line of an exception."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"
