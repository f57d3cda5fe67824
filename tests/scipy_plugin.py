"""A pytest plugin: in the test modules it is given, our functions stand in place of SciPy's, and calls are counted."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import fastxent as fx

NAMES = ("logsumexp", "softmax", "log_softmax", "expit", "log_expit")
CALLS: Counter[str] = Counter()


def counted(name: str) -> Callable[..., Any]:
    function = getattr(fx, name)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        CALLS[name] += 1
        return function(*args, **kwargs)

    return call


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    replacements = {name: counted(name) for name in NAMES}
    for module in {item.getparent(pytest.Module).obj for item in items}:
        for name in NAMES:
            if hasattr(module, name):
                setattr(module, name, replacements[name])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name in NAMES:
        terminalreporter.write_line(f"fastxent.{name} was called {CALLS[name]} times")
