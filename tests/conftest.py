"""What all tests share: the built package, the instruction sets, the table of measured errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import hypothesis
import numpy as np
import pytest

sys.path.insert(0, os.path.dirname(__file__))

try:
    import fastxent as fx
except ImportError as error:
    pytest.exit(
        f"cannot import the built fastxent: {error}\nInstall it into this Python ({sys.executable}): `make build`,"
        " or `pip install .`, or for development `pip install --no-build-isolation -e .`",
        returncode=4,
    )

import measured
from fastxent import _kernels

hypothesis.settings.register_profile("fastxent", deadline=None, derandomize=True, database=None, max_examples=60)
hypothesis.settings.load_profile("fastxent")


@pytest.fixture(params=fx.info()["isas"])
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every instruction set of this machine in turn."""
    before = fx.set_isa(request.param)
    assert fx.isa() == request.param
    yield request.param
    fx.set_isa(before)


@pytest.fixture(autouse=True, scope="session")
def long_rows() -> Iterator[None]:
    """Rows of 125,000 are long on every machine; shorter ones are taken the other way on all of them."""
    before = _kernels.set_memory_use(0, False, 0)
    _kernels.set_memory_use(*before[:2], 125_000)
    yield
    _kernels.set_memory_use(*before)


@pytest.fixture(autouse=True)
def numpy_state_is_restored() -> Iterator[None]:
    """A test that changes NumPy's error handling or the library's settings would change those after it."""
    before = np.geterr(), fx.isa(), fx.info()["threads"]
    yield
    assert (np.geterr(), fx.isa(), fx.info()["threads"]) == before


def pytest_report_header() -> str:
    facts = fx.info()
    place = os.path.dirname(fx.__file__)
    return f"fastxent {facts['version']} from {place}: {', '.join(facts['isas'])}; {facts['threads']} threads"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist hands on what it has measured."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["maxima"] = measured.rows()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    for row in getattr(node, "workeroutput", {}).get("maxima", []):
        measured.record(*row)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if measured.MAXIMA:
        terminalreporter.section("measured maxima, in ulps")
        for line in measured.table():
            terminalreporter.write_line(line)
