"""Errors of the core in the words of its caller, who knows his own arguments and not those behind them."""

from __future__ import annotations

import re
from types import TracebackType


class Words:
    """A context in which the messages of TypeError and ValueError put things in other words.

    >>> with Words({"targets": "y_true", ", or say so": ""}):
    ...     raise ValueError("targets[3] is -1: mend it, or say so")
    Traceback (most recent call last):
    ValueError: y_true[3] is -1: mend it

    """

    def __init__(self, words: dict[str, str]) -> None:
        self.words = words
        # Longer ones first: none may hide another that begins like it. Of words, no parts.
        choices = [
            (r"\b" if phrase[0].isalnum() else "") + re.escape(phrase) + (r"\b" if phrase[-1].isalnum() else "")
            for phrase in sorted(words, key=len, reverse=True)
        ]
        self.pattern = re.compile("|".join(choices))

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None and (kind is TypeError or kind is ValueError):
            raise self.put(error).with_traceback(traceback) from None

    def put(self, error: BaseException) -> BaseException:
        """An error of the same kind in these words; for code in a hurry, to which entering the context is too much."""
        return type(error)(self.pattern.sub(lambda found: self.words[found[0]], str(error)))
