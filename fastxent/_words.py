"""Errors of the core in the words of its caller, who knows his own arguments and not those behind them."""

from __future__ import annotations

import re
from types import TracebackType

# What follows the name of an argument, where it is not a word of prose.
_AFTER_NAME = r"(?P<have> have\b)|(?P<own>'(?!\w))|(?=[\[.:]| \(| of row\b| is\b| has\b| itself\b|, 0, 1\))"


class Words:
    """A context in which messages of TypeError and ValueError name other arguments, and say other phrases.

    >>> with Words({"logits": "input", "targets": "target"}, {", or say so": ""}):
    ...     raise ValueError("targets have shape (3,), the logits' is (4,): targets go with scores, or say so")
    Traceback (most recent call last):
    ValueError: target has shape (3,), the input's is (4,): targets go with scores

    """

    def __init__(self, names: dict[str, str], phrases: dict[str, str] | None = None) -> None:
        self.names, self.phrases = names, phrases or {}
        # Longer ones first: none may hide another that begins like it. Of words, no parts.
        choices = [
            (r"\b" if phrase[0].isalnum() else "") + re.escape(phrase) + (r"\b" if phrase[-1].isalnum() else "")
            for phrase in sorted(self.phrases, key=len, reverse=True)
        ]
        choices.append(rf"\b(?P<name>{'|'.join(names)})(?:{_AFTER_NAME})")
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
        return type(error)(self.pattern.sub(self._put, str(error)))

    def _put(self, found: re.Match[str]) -> str:
        if found["name"] is None:
            return self.phrases[found[0]]
        name = self.names[found["name"]]
        plural = name.endswith("s")
        if found["have"]:
            return f"{name} have" if plural else f"{name} has"
        if found["own"]:
            return f"{name}'" if plural else f"{name}'s"
        return name
