"""The ``fastxent`` command: ``demo``, ``evaluate`` and ``info``.

Results go to standard output, progress and complaints to standard error. Exit status: 0 done,
2 refused (one line says why, and nothing was written), 130 interrupted, 141 the reader of the
output went away.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NoReturn

import fastxent as fx
from fastxent._array_files import CommandError
from fastxent._evaluate import Metrics, evaluate_files, fit_files
from fastxent._plots import demo_figure, metrics_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console
    from rich.table import Table

__all__ = ["main"]

EXIT_REFUSED = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; by default those of the process.
    """
    try:
        arguments = _parser().parse_args(argv)
        arguments.run(arguments)
        sys.stdout.flush()
    except CommandError as error:
        print(f"fastxent: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except KeyboardInterrupt:
        print("fastxent: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Python flushes standard output once more at exit; let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    return 0


# ---------------------------------------------------------------------------------------------
# Arguments


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_REFUSED, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="fastxent", description="Cross-entropy on the CPU, exact and at memory speed.")
    parser.add_argument("--version", action="version", version=f"fastxent {fx.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    demo = commands.add_parser(
        "demo",
        help="train a classifier on handwritten digits and compare with scikit-learn",
        description="Train a softmax classifier on scikit-learn's digits with fastxent's loss and "
        "gradient and SciPy's L-BFGS, compare it with LogisticRegression, and draw the result.",
    )
    demo.add_argument(
        "--output",
        metavar="PNG",
        default="fastxent-demo.png",
        help="where to draw (default: %(default)s)",
    )
    demo.add_argument("--seed", type=_natural, default=0, help="of the train/test split (default: %(default)s)")
    demo.set_defaults(run=_run_demo)

    evaluate = commands.add_parser(
        "evaluate",
        help="loss, accuracy and calibration of logits in a file, of any size",
        description="Evaluate logits (n, C) against labels: mean loss with its standard error, "
        "perplexity, accuracy, top-5 accuracy, Brier score and expected calibration error. Files "
        "are streamed; rows are counted from 0. A temperature divides the logits: fitted on held-out "
        "rows, it calibrates the probabilities and leaves every prediction as it is.",
        epilog="Ties: of equal logits the first class is the prediction; the label is in the top "
        "5 if fewer than 5 classes are strictly larger. Calibration error: 15 bins of equal width. A "
        "temperature is best fitted on some rows and measured on others: --fit-temperature there, "
        "--temperature here.",
    )
    files = ".npy, or .npz with one array, or FILE.npz:NAME"
    evaluate.add_argument("logits", metavar="LOGITS", help=f"(n, C) floats; {files}")
    evaluate.add_argument("labels", metavar="LABELS", help="(n,) integer labels or (n, C) distributions; likewise")
    evaluate.add_argument("--weights", metavar="FILE", help="(n,) weights; weigh every figure")
    evaluate.add_argument("--ignore-index", type=int, metavar="N", help="leave out rows with this label")
    evaluate.add_argument(
        "--label-smoothing",
        type=_share,
        default=0.0,
        metavar="E",
        help="mix the targets of the loss with the uniform distribution (0 to 1)",
    )
    temperature = evaluate.add_mutually_exclusive_group()
    temperature.add_argument(
        "--temperature", type=_positive_number, default=1.0, metavar="T", help="divide the logits by this number"
    )
    temperature.add_argument(
        "--fit-temperature",
        action="store_true",
        help="find the temperature of the smallest mean loss, and show all figures with and without",
    )
    evaluate.add_argument("--json", action="store_true", help="print JSON and nothing else")
    evaluate.add_argument("--plot", metavar="FILE", help="draw reliability and losses (.png, .pdf, .svg)")
    evaluate.add_argument(
        "--block-rows",
        type=_positive,
        metavar="N",
        help="rows in memory at a time (default: as many as make 8 MB)",
    )
    evaluate.set_defaults(run=_run_evaluate)

    info = commands.add_parser(
        "info",
        help="version, instruction sets, threads, BLAS, build flags",
        description="Show what this installation is and what it runs on.",
    )
    info.add_argument("--json", action="store_true", help="print JSON and nothing else")
    info.set_defaults(run=_run_info)
    return parser


def _natural(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 2**32 - 1")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def _positive_number(text: str) -> float:
    value = float(text)
    if not 0.0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a finite number above 0")
    if not 2.0**-120 <= value <= 2.0**120:
        raise argparse.ArgumentTypeError(f"{text} is out of range: scores divided by it are no float32")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return value


# ---------------------------------------------------------------------------------------------
# Commands


def _run_demo(arguments: argparse.Namespace) -> None:
    _require("rich", "matplotlib", "sklearn")
    _check_drawable("--output", arguments.output)
    from fastxent import _demo

    digits = _demo.load_digits(arguments.seed)
    with _progress("training") as show:
        training = _demo.train(digits, show)
    with _progress("comparing") as show:
        ours, theirs = _demo.compare(digits, show)
    test = _demo.evaluate_fit(training.fit, digits)
    _save(demo_figure(digits, training, test, theirs.objective), "--output", arguments.output)

    console = _console()
    table = _table("", ours.name, theirs.name)
    sides = (ours, theirs)
    table.add_row("training objective", *(f"{side.objective:.10f}" for side in sides))
    table.add_row("test loss", *(f"{side.test.mean_loss:.6f}" for side in sides))
    table.add_row("test accuracy", *(f"{100 * side.test.accuracy:.2f} %" for side in sides))
    table.add_row("iterations", *(f"{side.fit.iterations}" for side in sides))
    table.add_row("seconds a fit", *(f"{side.seconds:.4f}" for side in sides))
    _say(
        console,
        f"Digits: {len(digits.y_train)} rows to train on, {len(digits.y_test)} to test on, {digits.classes} classes",
    )
    console.print(table)
    console.print(
        f"Objective: mean cross-entropy + |weight|^2 / (2 C n), C = {_demo.REGULARISATION:g}, "
        f"intercept free; both stop at a gradient of {_demo.GRADIENT_TOLERANCE:g}. Seconds: median "
        f"of {_demo.TIMED_FITS} fits each, taken in turn, after one to warm up, "
        "on one thread.",
        style="dim",
    )
    _say(console, f"wrote {os.path.abspath(arguments.output)}")


def _run_evaluate(arguments: argparse.Namespace) -> None:
    _require(*([] if arguments.json else ["rich"]), *(["matplotlib"] if arguments.plot else []))
    if arguments.plot is not None:
        _check_drawable("--plot", arguments.plot)

    options: dict[str, Any] = {
        "weights": arguments.weights,
        "ignore_index": arguments.ignore_index,
        "label_smoothing": arguments.label_smoothing,
        "block_rows": arguments.block_rows,
    }
    found = fitted = None
    with _progress("fitting" if arguments.fit_temperature else "evaluating") as show:
        options["progress"] = lambda done, rows: show(done, rows, f"{done:,} of {rows:,} rows")
        if arguments.fit_temperature:
            metrics, found, fitted = fit_files(arguments.logits, arguments.labels, **options)
        else:
            metrics = evaluate_files(arguments.logits, arguments.labels, temperature=arguments.temperature, **options)
    if arguments.plot is not None:
        _save(metrics_figure(metrics, fitted), "--plot", arguments.plot)
    if arguments.json:
        report = _metrics_json(metrics)
        if found is not None and fitted is not None:
            report["fitted"] = {**_metrics_json(fitted), "passes": found.passes, "trouble": found.trouble or None}
        _print_json(report)
        return
    console = _console()
    _say(console, f"{arguments.logits} against {arguments.labels}")
    console.print(_metrics_table(metrics, fitted, arguments))
    if found is not None and found.trouble:
        _say(console, f"No best temperature: {found.trouble}")
    if arguments.plot is not None:
        _say(console, f"wrote {os.path.abspath(arguments.plot)}")


def _metrics_json(metrics: Metrics) -> dict[str, Any]:
    values = asdict(metrics)
    del values["loss_histogram"]
    return values


def _metrics_table(metrics: Metrics, fitted: Metrics | None, arguments: argparse.Namespace) -> Table:
    """Return the figures, with a second column for those at the fitted temperature."""
    sides = [metrics] if fitted is None else [metrics, fitted]
    table = _table("", "value", "") if fitted is None else _table("", "as given", "fitted", "")

    def add(name: str, text: Callable[[Metrics], str], note: str = "") -> None:
        table.add_row(name, *(text(side) for side in sides), note)

    def percent(share: float) -> str:
        return f"{100 * share:.3f} %"

    left_out = metrics.rows - metrics.counted_rows
    add("rows", lambda side: f"{side.rows:,}", f"{left_out:,} left out" if left_out else "")
    if arguments.weights is not None:
        add("weight", lambda side: f"{side.weight:,.6g}", f"sum of {arguments.weights}")
    add("classes", lambda side: f"{side.classes:,}")
    if fitted is not None or metrics.temperature != 1.0:
        add("temperature", lambda side: f"{side.temperature:.7g}", "divides the logits")
    smoothing = arguments.label_smoothing
    add(
        "mean loss",
        lambda side: f"{side.mean_loss:.7g}",
        f"nats, label smoothing {smoothing:g}" if smoothing else "nats",
    )
    if metrics.infinite_losses:
        add("infinite losses", lambda side: f"{side.infinite_losses:,}", "rows, label at -inf")
    else:
        add(
            "standard error",
            lambda side: f"{side.standard_error:.2g}" if math.isfinite(side.standard_error) else "-",
            "of the mean loss",
        )
    add("perplexity", lambda side: f"{side.perplexity:,.6g}", "exp(mean loss)")
    add("accuracy", lambda side: percent(side.accuracy))
    add(f"top-{metrics.top_k} accuracy", lambda side: percent(side.top_k_accuracy))
    add("Brier score", lambda side: f"{side.brier_score:.6g}", "summed over classes, 0 to 2")
    add(
        "calibration error",
        lambda side: percent(side.expected_calibration_error),
        f"{len(metrics.reliability)} bins of the largest probability",
    )
    return table


# What the table calls the entries of fx.info().
_INFO_NAMES = {
    "isa": "instruction set in use",
    "isas": "instruction sets available",
    "openmp": "OpenMP",
    "flags": "build flags",
}


def _run_info(arguments: argparse.Namespace) -> None:
    if not arguments.json:
        _require("rich")
    info, libraries = fx.info(), _blas()
    if arguments.json:
        _print_json({**info, "blas": libraries})
        return
    table = _table("", "value")
    table.columns[1].justify = "left"
    for name, value in info.items():
        text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        table.add_row(_INFO_NAMES.get(name, name), text)
    for library in libraries:
        known = {name: value for name, value in library.items() if value is not None}
        what = " ".join(str(known[name]) for name in ("name", "version") if name in known)
        more = [f"{name} {known[name]}" for name in ("architecture", "threads") if name in known]
        table.add_row("BLAS", "\n".join([", ".join([what, *more]), str(known["file"])]))
    _console().print(table)


def _blas() -> list[dict[str, Any]]:
    """Describe the BLAS libraries in this process."""
    if importlib.util.find_spec("threadpoolctl") is None:
        import numpy as np

        config: Any = np.show_config(mode="dicts")
        blas = config["Build Dependencies"]["blas"]
        return [{"name": blas.get("name"), "version": blas.get("version"), "file": "NumPy's"}]

    import scipy.linalg  # noqa: F401  (loads SciPy's BLAS)
    from threadpoolctl import threadpool_info

    fields = {
        "name": "internal_api",
        "version": "version",
        "architecture": "architecture",
        "threads": "num_threads",
        "file": "filepath",
    }
    return [
        {name: library.get(key) for name, key in fields.items()}
        for library in threadpool_info()
        if library["user_api"] == "blas"
    ]


# ---------------------------------------------------------------------------------------------
# Output


def _require(*modules: str) -> None:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        names = " and ".join(missing).replace("sklearn", "scikit-learn")
        raise CommandError(f'this needs {names}: pip install "fastxent[demo]"')


def _check_drawable(option: str, path: str) -> None:
    """Refuse a picture that could not be written, before any work is done."""
    from matplotlib.backend_bases import FigureCanvasBase

    kinds = FigureCanvasBase.get_supported_filetypes()
    folder, name = os.path.split(path)
    kind = os.path.splitext(name)[1][1:].lower()
    if kind not in kinds:
        raise CommandError(f"{option} {path}: the name must end in .png, .pdf or .svg")
    if not os.path.isdir(folder or "."):
        raise CommandError(f"{option} {path}: there is no folder {folder}")
    if os.path.isdir(path):
        raise CommandError(f"{option} {path}: is a folder; name a file")
    if not os.access(folder or ".", os.W_OK):
        raise CommandError(f"{option} {path}: no permission to write in {folder or '.'}")


def _save(figure: Figure, option: str, path: str) -> None:
    """Draw to a file beside `path`, then put it in place."""
    folder, name = os.path.split(path)
    draft = os.path.join(folder, f".{name}.{os.getpid()}.tmp")
    try:
        figure.savefig(draft, format=os.path.splitext(name)[1][1:].lower())
        os.replace(draft, path)
    except OSError as error:
        raise CommandError(f"{option} {path}: {error.strerror or error}") from error
    finally:
        if os.path.exists(draft):
            os.remove(draft)


def _print_json(value: Any) -> None:
    print(json.dumps(_without_nan(value), indent=2, allow_nan=False, default=str))


def _without_nan(value: Any) -> Any:
    """Return `value` with null in place of numbers JSON has no word for."""
    if isinstance(value, Mapping):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _console() -> Console:
    from rich.console import Console

    class PipeConsole(Console):
        """Leaves a broken pipe to `main`."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return PipeConsole(highlight=False, markup=False, emoji=False)


def _table(*columns: str) -> Table:
    """Return an empty table: names on the left, figures to the right, notes last."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.ROUNDED)
    for number, column in enumerate(columns):
        if number == 0:
            table.add_column(column, style="bold")
        elif column:
            table.add_column(column, justify="right", overflow="fold")
        else:
            table.add_column(style="dim")
    return table


def _say(console: Console, line: str) -> None:
    console.print(line, style="bold", soft_wrap=True)


@contextmanager
def _progress(description: str) -> Iterator[Callable[[float, float, str], None]]:
    """Yield ``show(done, total, note)``: a bar on standard error while somebody watches."""
    if not sys.stderr.isatty() or importlib.util.find_spec("rich") is None:
        yield lambda done, total, note: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(description, total=None, note="")

        def show(done: float, total: float, note: str) -> None:
            bar.update(task, completed=done, total=total, note=note)

        yield show
