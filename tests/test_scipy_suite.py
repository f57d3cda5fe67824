"""SciPy's own tests of the special functions, with our functions in place of SciPy's."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.special

import fastxent as fx

TESTS = Path(scipy.special.__file__).parent / "tests"

# A module of SciPy's, which of our functions it calls, and what is left out of it. Two tests of log_expit ask for
# subnormal results, which ours flushes to zero: `test_log_expit_where_scipys_is_subnormal` has the rest of them.
SUITES = {
    "test_logsumexp.py": (("logsumexp", "softmax", "log_softmax"), ""),
    "test_logit.py": (("expit", "log_expit"), "not (TestLogExpit and test_basic)"),
}


def passed(text: str) -> int:
    found = re.search(r"(\d+) passed", text)
    return int(found[1]) if found else 0


def run_suite(module: str, chosen: str, folder: Path, **environment: str) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "scipy_plugin"]
    # Its own configuration, and none of ours.
    command += ["-c", os.devnull, "--rootdir", str(folder), "-k", chosen, str(TESTS / module)]
    path = os.pathsep.join(filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, **environment}
    # Without this setting SciPy tests NumPy arrays only.
    environment.pop("SCIPY_ARRAY_API", None)
    child = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=folder, env=environment)
    text = child.stdout + child.stderr
    assert child.returncode == 0, text[-4000:]
    return text


@pytest.mark.parametrize("module", SUITES)
def test_scipys_own_tests_pass_with_our_functions(module: str, tmp_path: Path, isa: str) -> None:
    if not (TESTS / module).exists():
        pytest.skip(f"this SciPy comes without {module}")
    if importlib.util.find_spec("hypothesis") is None:
        pytest.skip("SciPy's tests need hypothesis")
    functions, chosen = SUITES[module]
    text = run_suite(module, chosen, tmp_path, FASTXENT_ISA=isa)
    assert passed(text) >= 5, text[-2000:]
    for name in functions:
        calls = re.search(rf"fastxent\.{name} was called (\d+) times", text)
        assert calls, text[-2000:]
        assert int(calls[1]) > 0, f"{name} was not exercised"


@pytest.mark.parametrize("dtype, rtol", [(np.float64, 1e-15), (np.float32, 5e-7)])
def test_log_expit_where_scipys_is_subnormal(dtype: Any, rtol: float, isa: str) -> None:
    """The points and tolerances of SciPy's TestLogExpit.test_basic_*; zero for what is below the normal numbers."""
    x = np.array([-32, -20, -10, -3, -1, -0.1, -1e-9, 0, 1e-9, 0.1, 1, 10, 100, 500, 700, 710, 725, 735], dtype)
    theirs = scipy.special.log_expit(x)
    normal = np.abs(theirs) >= np.finfo(dtype).smallest_normal
    ours = fx.log_expit(x)
    np.testing.assert_allclose(ours[normal], theirs[normal], rtol=rtol)
    assert normal.sum() >= 12
    flushed = ours[~normal]
    assert (flushed <= 0).all()
    assert (flushed >= theirs[~normal] * 1.01).all()


def test_our_functions_have_scipys_parameters() -> None:
    """In the same order and with the same defaults, ours behind them."""
    for name in ("logsumexp", "softmax", "log_softmax"):
        theirs = list(inspect.signature(getattr(scipy.special, name)).parameters.values())
        ours = list(inspect.signature(getattr(fx, name)).parameters.values())
        for their, our in zip(theirs, ours, strict=False):
            if their.kind is their.KEYWORD_ONLY:
                break
            assert (our.name, our.default) == (their.name, their.default), name
