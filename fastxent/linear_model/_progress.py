"""What the estimators show while they fit: a bar on standard error, and figures behind it."""

from __future__ import annotations

from types import TracebackType
from typing import Any


class Progress:
    """A progress bar, for a ``with`` statement; with `verbose` 0 it shows nothing and asks for nothing.

    Parameters
    ----------
    verbose : int or bool
        Whether to show it.
    total : int or None
        How many steps there are to do, None if that is not known.
    what : str
        What is being done.

    Raises
    ------
    ImportError
        There is something to show, but not rich, which draws it.

    Examples
    --------
    >>> from fastxent.linear_model._progress import Progress
    >>> with Progress(0, 200, "fit") as progress:
    ...     for _ in range(2):
    ...         progress.advance(100, loss=0.5, rows_per_second=2e6)
    """

    def __init__(self, verbose: int, total: int | None, what: str) -> None:
        self._bar: Any = None
        if not verbose:
            return
        try:
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar
        except ModuleNotFoundError as error:
            raise ImportError('verbose shows a progress bar by rich: pip install "fastxent[cli]"') from error
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %" if total else "{task.completed:,.0f}"),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task(what, total=total, figures="")

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, done: int, **figures: float) -> None:
        """So many more steps are done, and these are the figures now."""
        if self._bar is not None:
            shown = ", ".join(f"{name.replace('_', ' ')} {_short(value)}" for name, value in figures.items())
            self._bar.update(self._task, advance=done, figures=shown)


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
