"""``python -m benchmarks``: run, compare, list."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.environment import available_cpus, leave_checkout, missing_fastxent, set_threads

RESULTS = Path(__file__).with_name("RESULTS.md")

# Of the tables where the output is no terminal.
WIDTH = 110

# Exit statuses beside 0: a regression, a call that cannot be done, a busy machine.
REGRESSION, MISUSE, BUSY = 1, 2, 3


def main(argv: list[str]) -> int:
    """Do one command; returns the exit status."""
    leave_checkout()
    if argv[:1] == ["compare"]:
        return _compare(argv[1:])
    if argv[:1] == ["list"]:
        return _list()
    return _run(argv)


def _run(argv: list[str]) -> int:
    arguments = _run_parser().parse_args(argv)
    if not 1 <= arguments.threads <= available_cpus():
        return _fail(f"--threads {arguments.threads}: there are {available_cpus()} CPUs")
    set_threads(arguments.threads)  # before anything imports NumPy
    if not arguments.peers_only and (problem := missing_fastxent()):
        return _fail(problem)

    from rich.console import Console

    from benchmarks import peers, report, results, runner
    from benchmarks.cases import DTYPES, select

    chosen = _words(arguments.peers) if arguments.peers else list(peers.LIBRARIES)
    unknown = sorted(set(chosen) - set(peers.LIBRARIES))
    if unknown:
        return _fail(f"--peers {','.join(unknown)}: there are {', '.join(peers.LIBRARIES)}")
    plugins = []
    for plugin in arguments.plugin:
        path, _, function = plugin.rpartition(":")
        if not Path(path).is_file() or not function.isidentifier():
            return _fail(f"--plugin {plugin}: not an existing file and a function, path.py:name")
        plugins.append(f"{Path(path).resolve()}:{function}")
    try:
        cases = select(_words(arguments.cases))
    except ValueError as error:
        return _fail(str(error))
    if arguments.dtypes:
        dtypes = _words(arguments.dtypes)
        if not set(dtypes) <= set(DTYPES):
            return _fail(f"--dtypes {arguments.dtypes}: there are {', '.join(DTYPES)}")
        cases = [case.with_dtype(d) for case in cases for d in dtypes]
        cases = list({case.name: case for case in cases}.values())
    if arguments.quick:
        cases = [case.quick() for case in cases]
    settings = runner.Settings(
        libraries=([] if arguments.peers_only else [peers.OURS]) + chosen + plugins,
        threads=arguments.threads,
        rounds=arguments.rounds or (5 if arguments.quick else 15),
        seed=arguments.seed,
        quick=arguments.quick,
        force=arguments.force,
        memory=arguments.memory and not arguments.quick,
        instructions=arguments.instructions,
        wait=arguments.wait,
    )
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    try:
        run = runner.run(cases, settings, console)
    except runner.Busy as busy:
        for reason in busy.reasons:
            print(f"busy: {reason}", file=sys.stderr)
        print(
            "No report: the machine is not quiet. Stop what runs beside, or let the harness wait "
            "(--wait 300), or take the figures as they come (--force, recorded in the output).",
            file=sys.stderr,
        )
        return BUSY
    if arguments.json:
        results.save(run, arguments.json)
    report.show(run, console)
    if arguments.results:
        report.write_markdown(run, arguments.results)
    if arguments.plot:
        from benchmarks import plots

        plots.draw(run, arguments.plot)
    return 0


def _run_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Time fastxent and its peers in interleaved rounds, beside the memory floor.",
        epilog="Also: `python -m benchmarks compare A.json B.json`, `python -m benchmarks list`.",
    )
    add = parser.add_argument
    add("--cases", default="*", help="shell patterns of case names, separated by commas")
    add("--peers", help="libraries to compare with, separated by commas (default: all installed)")
    add("--peers-only", action="store_true", help="without fastxent")
    add("--plugin", action="append", default=[], metavar="PATH.py:FUNCTION", help="your own")
    add("--dtypes", help="float32,float64: run the cases in these dtypes instead of their own")
    add("--threads", type=int, default=min(2, available_cpus()), help="for all (default 2)")
    add("--rounds", type=int, help="default 15, with --quick 5")
    add("--seed", type=int, default=0, help="of inputs and of the order within a round")
    add("--quick", action="store_true", help="small arrays, few rounds: does it all work?")
    add("--no-memory", dest="memory", action="store_false", help="skip the peak memory")
    add("--instructions", action="store_true", help="count them by callgrind, small cases only")
    add("--force", action="store_true", help="report on a busy machine too, and say so")
    add("--wait", type=float, default=0.0, metavar="SECONDS", help="for a quiet machine")
    add("--json", type=Path, metavar="FILE", help="write the record")
    add("--plot", type=Path, metavar="FILE", help="write the picture (PNG, SVG, PDF)")
    add("--results", type=Path, nargs="?", const=RESULTS, metavar="FILE", help="write RESULTS.md")
    return parser


def _compare(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks compare",
        description="Tell a regression from noise. Exit status 1 if fastxent became slower.",
    )
    parser.add_argument("a", type=Path, metavar="A.json", help="before")
    parser.add_argument("b", type=Path, metavar="B.json", help="after")
    arguments = parser.parse_args(argv)

    from rich.console import Console

    from benchmarks import compare, report, results

    try:
        a, b = results.load(arguments.a), results.load(arguments.b)
        changes = compare.compare(a, b)
    except (OSError, ValueError) as error:
        return _fail(str(error))
    report.show_changes(changes, compare.warnings(a, b), Console(width=None if sys.stdout.isatty() else WIDTH))
    slower = any(c.role == "ours" and c.verdict == "slower" for c in changes)
    return REGRESSION if slower else 0


def _list() -> int:
    from benchmarks import peers
    from benchmarks.cases import CASES

    print("cases:", *(f"  {case.name}" for case in CASES), sep="\n")
    print("libraries:")
    for library in (peers.OURS, *peers.LIBRARIES):
        try:
            print(f"  {library} {peers.version(library)}")
        except ImportError as error:
            print(f"  {library}: {error}")
    return 0


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _fail(message: str) -> int:
    print(f"python -m benchmarks: {message}", file=sys.stderr)
    return MISUSE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
