"""Errors of the core in the words of its caller, who knows his own arguments and not those behind them."""

from __future__ import annotations

import re
from types import TracebackType


class Words:
    """A context in which the messages of TypeError and ValueError call things by other names.

    >>> with Words(targets="y_true"):
    ...     raise ValueError("targets[3] is -1")
    Traceback (most recent call last):
    ValueError: y_true[3] is -1

    """

    def __init__(self, **names: str) -> None:
        self.names = names
        self.pattern = re.compile(rf"\b({'|'.join(names)})\b")

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is TypeError or kind is ValueError:
            message = self.pattern.sub(lambda found: self.names[found[0]], str(error))
            raise kind(message).with_traceback(traceback) from None
