"""A run in words: tables on the terminal, and RESULTS.md."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.cases import BEST_PEER
from benchmarks.compare import Change
from benchmarks.implementation import INTO_BUFFER
from benchmarks.results import CaseResult, Measurement, Run

COLUMNS = (
    "implementation",
    "median",
    "spread",
    "x floor",
    "x fastxent",
    "peak memory",
    "instructions",
)
STYLES = {"ours": "bold green", "yardstick": "dim", "peer": ""}
VERDICT_STYLES = {"slower": "bold red", "faster": "bold green", "same": "dim"}

OUTPUTS = {
    "fresh": "output allocated by the call",
    "buffer": "gradient into the caller's buffer",
}


@dataclass(frozen=True)
class Achieved:
    """One goal of a case beside what was measured, both as text."""

    case: str
    goal: str
    measured: str
    reached: bool


def seconds(value: float) -> str:
    """Three digits with a unit: ``14.4 ms``."""
    units = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))
    # A little below the unit, or three digits would round to 1.00e+03 of the one before.
    unit, name = next((u for u in units if value >= 0.9995 * u[0]), units[-1])
    return f"{value / unit:#.3g} {name}".replace(". ", " ")


def megabytes(value: int | None) -> str:
    """Bytes as MB (10^6), or nothing."""
    return "" if value is None else f"{value / 1e6:,.1f} MB"


def achieved(case: CaseResult) -> Iterator[Achieved]:
    """The goals of a case that can be judged with what was measured."""
    for goal in case.goals:
        ours = case.find(goal["ours"])
        against = goal["against"]
        other = case.best_peer() if against == BEST_PEER else case.find(against)
        if ours is None or other is None:
            continue
        ratio, factor = ours.ratio_to(other), goal["factor"]
        against = f"{BEST_PEER} ({other.name})" if against == BEST_PEER else against
        if factor < 1:
            wanted, measured = f"{1 / factor:.3g} x as fast as {against}", f"{1 / ratio:.2f} x"
        else:
            what = "" if ours.role == "ours" else f"{ours.name}: "
            wanted, measured = f"{what}at most {factor:.3g} x {against}", f"{ratio:.2f} x"
        yield Achieved(case.name, wanted, measured, ratio <= factor)
    ours = case.find("fastxent")
    if case.limit_seconds is not None and ours is not None:
        yield Achieved(
            case.name,
            f"at most {seconds(case.limit_seconds)} a call",
            seconds(ours.median),
            ours.median <= case.limit_seconds,
        )


def show(run: Run, console: Console) -> None:
    """Print the whole run."""
    for line in headline(run):
        console.print(line, highlight=False, markup=False)
    for case in run.cases:
        for output, kind in OUTPUTS.items():
            members = ranked(case, output)
            if not members:
                continue
            console.print(f"\n{case.name}: {kind}", style="bold", highlight=False)
            table = Table()
            columns = columns_of(case)
            for column in columns:
                first = column == COLUMNS[0]
                table.add_column(column, justify="left" if first else "right", no_wrap=True)
            for member in members:
                table.add_row(*cells(case, member, columns), style=STYLES[member.role])
            console.print(table)
        for remark in remarks(case):
            console.print(f"  {remark}", style="yellow", highlight=False, markup=False)
    goals = [goal for case in run.cases for goal in achieved(case)]
    if goals and not run.quick:
        table = Table("case", "goal", "measured", "", title="Goals", title_style="bold")
        for goal in goals:
            mark = "[green]reached[/]" if goal.reached else "[red]missed[/]"
            table.add_row(goal.case, goal.goal, goal.measured, mark)
        console.print(table)


def show_changes(changes: list[Change], warnings: list[str], console: Console) -> None:
    """Print a comparison of two runs."""
    table = Table("case", "implementation", "B / A", "99 % interval", "noise", "verdict")
    for change in changes:
        table.add_row(
            change.case,
            change.name,
            f"{change.ratio:.3f}",
            f"{change.low:.3f} .. {change.high:.3f}",
            f"+-{100 * change.noise:.0f} %",
            f"[{VERDICT_STYLES[change.verdict]}]{change.verdict}[/]",
        )
    console.print(table)
    for warning in warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False)


def write_markdown(run: Run, path: Path) -> None:
    """Write RESULTS.md."""
    path.write_text("\n".join(_markdown(run)) + "\n")


def headline(run: Run) -> Iterator[str]:
    """Machine, versions and load in a few lines."""
    machine = run.machine
    caches = ", ".join(f"{level} {size}" for level, size in machine.get("caches", {}).items())
    yield f"{machine['cpu']}, {machine['cpus']} CPUs, {caches}; {machine['system']}"
    yield (f"Python {machine['python']}, " + ", ".join(f"{name} {version}" for name, version in run.versions.items()))
    if run.fastxent:
        yield "fastxent: " + ", ".join(f"{k} {v}" for k, v in run.fastxent.items())
    governor = machine.get("governor", "not readable")
    huge_pages = machine.get("huge_pages", "not readable")
    yield f"governor {governor}; huge pages {huge_pages}"
    yield (
        f"{run.date}; {run.threads} threads, {run.rounds} rounds; load average "
        f"{run.load['before']} before, {run.load['after']} after; "
        f"CPUs used by others {run.load['foreign_cores']:.2f}"
    )
    if run.quick:
        yield "QUICK run: small arrays, few rounds; says that it works, not how fast it is"
    for reason in run.busy:
        yield f"FORCED on a busy machine: {reason}"
    for name, reason in run.missing.items():
        yield f"not measured: {name}: {reason}"


def ranked(case: CaseResult, output: str) -> list[Measurement]:
    """Measurements with that kind of output, the yardsticks first, then the fastest first."""
    members = [m for m in case.measurements if m.output == output]
    return sorted(members, key=lambda m: (m.role != "yardstick", m.median))


def columns_of(case: CaseResult) -> list[str]:
    """The columns that have something to say in this case."""
    empty = set()
    if case.find("fastxent") is None:
        empty.add("x fastxent")
    if all(m.peak_bytes is None for m in case.measurements):
        empty.add("peak memory")
    if all(m.instructions is None for m in case.measurements):
        empty.add("instructions")
    return [column for column in COLUMNS if column not in empty]


def remarks(case: CaseResult) -> Iterator[str]:
    """What the tables of a case do not say: notes, and who was not timed."""
    notes: dict[str, list[str]] = {}
    for member in case.measurements:
        if member.note:
            notes.setdefault(member.note, []).append(member.name)
    for note, names in notes.items():
        yield f"{'; '.join(names)}: {note}"
    for name, reason in case.refused.items():
        yield f"not timed: {name}: {reason}"
    if case.discarded_rounds:
        yield f"{case.discarded_rounds} rounds were disturbed by other processes and repeated"


def cells(case: CaseResult, member: Measurement, columns: list[str]) -> list[str]:
    """One row of a table."""
    low, high = member.quartiles
    floor = case.floor(member.output)
    ours = case.find("fastxent" + (INTO_BUFFER if member.output == "buffer" else ""))
    texts = {
        "implementation": member.name.removesuffix(INTO_BUFFER),
        "median": seconds(member.median),
        "spread": f"{100 * (high - low) / member.median:.0f} %",
        "x floor": f"{member.ratio_to(floor):.2f}" if floor else "",
        "x fastxent": f"{member.ratio_to(ours):.2f}" if ours else "",
        "peak memory": megabytes(member.peak_bytes),
        "instructions": "" if member.instructions is None else f"{member.instructions:,}",
    }
    return [texts[column] for column in columns]


def _markdown(run: Run) -> Iterator[str]:
    yield "# Results"
    yield ""
    yield "Written by `python -m benchmarks --results`; how it measures: [README.md](README.md)."
    yield "Times are medians over the rounds, the spread is the distance of the quartiles over the"
    yield "median; ratios are taken within a round, then their median. fastxent keeps the memory of its last"
    yield "results of 128 KiB and more for the next ones (its peak memory, where it stands, is without)."
    yield ""
    yield from (f"* {line}" for line in headline(run))
    goals = [goal for case in run.cases for goal in achieved(case)]
    if goals and not run.quick:
        yield from ("", "## Goals", "")
        yield "| case | goal | measured | |"
        yield "|---|---|---|---|"
        for goal in goals:
            mark = "reached" if goal.reached else "**missed**"
            yield f"| {goal.case} | {goal.goal} | {goal.measured} | {mark} |"
    for case in run.cases:
        yield from ("", f"## {case.name}")
        for output, kind in OUTPUTS.items():
            members = ranked(case, output)
            if not members:
                continue
            columns = columns_of(case)
            yield from ("", f"{kind.capitalize()}:", "")
            yield f"| {' | '.join(columns)} |"
            yield "|---" + "|---:" * (len(columns) - 1) + "|"
            for member in members:
                texts = cells(case, member, columns)
                if member.role == "ours":
                    texts[0] = f"**{texts[0]}**"
                yield f"| {' | '.join(texts)} |"
        yield ""
        yield from (f"* {remark}" for remark in remarks(case))
