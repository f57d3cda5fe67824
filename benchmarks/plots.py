"""A run in one picture: who is how much slower, and how close to the memory each one comes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmarks.implementation import INTO_BUFFER
from benchmarks.results import CaseResult, Measurement, Run

OURS = "fastxent"
MARKERS = "osD^vPXhp<>"
CACHE_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

Looks = dict[str, dict[str, Any]]


def draw(run: Run, path: Path) -> None:
    """Write the picture; one line for each case, the smallest at the bottom."""
    cases = sorted(run.cases, key=lambda case: case.bytes_moved)
    looks = _looks(run)
    figure = Figure(figsize=(15, 2.6 + 0.5 * len(cases)))
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_ratios(left, cases, looks)
    _draw_roofline(right, cases, looks)
    left.set_yticks(range(len(cases)), [f"{case.name}\n{_size(case.bytes_moved, run)}" for case in cases])
    handles = [Line2D([], [], ls="", label=name, **look) for name, look in looks.items()]
    handles.append(Line2D([], [], ls="", marker="|", ms=14, mew=3, color="black", label="floor"))
    figure.legend(handles=handles, loc="lower center", ncols=min(len(handles), 11), frameon=False)
    warning = " (quick run)" if run.quick else ""
    warning += " (busy machine)" if run.busy else ""
    figure.suptitle(f"{run.machine['cpu']}, {run.threads} threads, {run.date[:10]}{warning}")
    figure.tight_layout(rect=(0, 0.3 / figure.get_figheight(), 1, 1))
    # An SVG has words as words, and the same names for its parts in each run.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "fastxent"}):
        figure.savefig(path, dpi=130)


def _draw_ratios(axes: Axes, cases: list[CaseResult], looks: Looks) -> None:
    """Time over fastxent's (over the floor's, where fastxent was not run), with quartiles."""
    everywhere = all(case.find(OURS) for case in cases)
    for y, case in enumerate(cases):
        floor = case.floor("fresh")
        reference = case.find(OURS) if everywhere else floor
        if reference is None:
            continue
        if floor is not None:
            axes.plot(floor.ratio_to(reference), y, marker="|", color="black", ms=18, mew=3)
        for m in _ranked(case):
            low, middle, high = np.percentile(np.divide(m.seconds, reference.seconds), (25, 50, 75))
            axes.plot([low, high], [y, y], color=looks[m.name]["color"], lw=3, alpha=0.5)
            axes.plot(middle, y, **looks[m.name])
    base = OURS if everywhere else "the memory floor"
    axes.axvline(1, color="black", lw=0.8)
    axes.set_title(f"Time, in times of {base} (left is faster; lines: quartiles)")
    _log_axis(axes)


def _draw_roofline(axes: Axes, cases: list[CaseResult], looks: Looks) -> None:
    """Bytes a call has to move over its time; what the floor of the same run moves is the roof."""

    def speed(case: CaseResult, m: Measurement) -> float:
        return case.bytes_moved / m.median / 1e9

    for y, case in enumerate(cases):
        floor, ours = case.floor("fresh"), case.find(OURS + INTO_BUFFER)
        buffer_floor = case.floor("buffer")
        if floor is not None:
            axes.plot(speed(case, floor), y, marker="|", color="black", ms=18, mew=3)
        if ours is not None and buffer_floor is not None:
            axes.plot(speed(case, buffer_floor), y, marker="|", color="grey", ms=18, mew=3)
            axes.plot(speed(case, ours), y, **(looks[OURS] | {"mfc": "none"}))
        for m in _ranked(case):
            axes.plot(speed(case, m), y, **looks[m.name])
    axes.set_title("GB/s moved; the floor is the roof (hollow and grey: into a buffer)")
    _log_axis(axes)


def _ranked(case: CaseResult) -> list[Measurement]:
    return [m for m in case.measurements if m.output == "fresh" and m.role != "yardstick"]


def _looks(run: Run) -> Looks:
    """Marker and colour of every implementation, in the order of their first appearance."""
    names = dict.fromkeys(m.name for case in run.cases for m in _ranked(case))
    names.pop(OURS, None)
    looks: Looks = {OURS: {"marker": "*", "color": "#0b6e4f", "ms": 14}}
    for i, name in enumerate(names):
        colour = colormaps["tab10"](i % 10)
        looks[name] = {"marker": MARKERS[i % len(MARKERS)], "color": colour, "ms": 7}
    return looks


def _log_axis(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: "")
    axes.grid(axis="x", which="both", alpha=0.2)


def _size(moved: int, run: Run) -> str:
    """Bytes in words, and the first cache that holds them."""
    units = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
    unit, name = next((u for u in units if moved >= u[0]), units[-1])
    words = f"{moved / unit:.3g} {name}"
    for level, size in run.machine.get("caches", {}).items():
        number, suffix = size[:-1], size[-1:]
        if number.isdigit() and moved <= int(number) * CACHE_UNITS.get(suffix, 0):
            return f"{words}, fits {level}"
    return words
