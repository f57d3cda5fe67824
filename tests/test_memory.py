"""Peak memory, of a process that does one call: what is counted is beyond the inputs."""

from __future__ import annotations

import os
import sys

import pytest

from subprocesses import output

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not os.path.exists("/proc/self/status"), reason="needs /proc"
)

N, C = 3000, 3000
MEGABYTE = 1 << 20
ARRAY = N * C * 4 / MEGABYTE  # 34 MB of float32
# Threads' rooms and stacks, and what the allocator rounds up.
SLACK = 3.0

PROLOGUE = f"""
import numpy as np, scipy.sparse
import fastxent as fx
n, classes = {N}, {C}
rng = np.random.default_rng(0)

def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name + ":")) / 1024

def scores(dtype=np.float32):
    x = np.empty((n, classes), dtype)
    for row in x:
        row[:] = rng.standard_normal(classes, np.float32)
    return x

def measure(call):
    # The largest yet, before and after: nothing may have been larger than what is there now.
    before = status("VmHWM")
    assert before - status("VmRSS") < 1.0, "the inputs' making took more than they do"
    result = call()
    print(status("VmHWM") - before)

labels = rng.integers(0, classes, n)
small = rng.standard_normal((400, 100)).astype(np.float32)
for hess in (False, True):
    fx.softmax_cross_entropy(small, np.zeros(400, int), grad=True, hess=hess, label_smoothing=0.1)
    fx.sigmoid_cross_entropy(small, small > 0, grad=True, hess=hess)
    fx.binary_cross_entropy(np.tanh(small) ** 2, small > 0, grad=True, hess=hess)
    fx.categorical_cross_entropy(small**2, np.zeros(400, int), grad=True, hess=hess, normalize=True)
fx.softmax_cross_entropy(small, scipy.sparse.csr_array(np.eye(400, 100, dtype=np.float32)), grad=True)
fx.logsumexp(small, axis=1), fx.softmax(small, axis=1), fx.expit(small)
"""


def peak(*lines: str) -> float:
    """Megabytes that the last line, an expression, takes beyond what was there before."""
    *before, call = lines
    return float(output(PROLOGUE + "\n".join([*before, f"measure(lambda: ({call}))"]), OMP_NUM_THREADS="2"))


@pytest.mark.parametrize("options", ["", "label_smoothing=0.1", "reduction='none'", "sample_weight=np.ones(n)"])
def test_a_loss_takes_memory_for_its_rows_only(options: str) -> None:
    assert peak("x = scores()", f"fx.softmax_cross_entropy(x, labels, {options})") < SLACK


@pytest.mark.parametrize("storage", ["np.float16", "np.float32", "np.float64"])
def test_no_storage_is_widened_whole(storage: str) -> None:
    assert peak(f"x = scores({storage})", "fx.softmax_cross_entropy(x, labels)") < SLACK


def test_no_layout_is_copied_whole() -> None:
    call = "fx.softmax_cross_entropy(x.T, labels), fx.softmax_cross_entropy(x[::2, ::-1], labels[::2])"
    assert peak("x = scores()", call) < SLACK
    assert peak("x = scores()", "fx.softmax_cross_entropy(x, labels, axis=0)") < SLACK


def test_a_gradient_takes_its_own_memory_only() -> None:
    for options, arrays in (("grad=True", 1), ("hess=True", 1), ("grad=True, hess=True, label_smoothing=0.1", 2)):
        taken = peak("x = scores()", f"fx.softmax_cross_entropy(x, labels, {options})")
        assert arrays * ARRAY - 1 < taken < arrays * ARRAY + SLACK


def test_a_gradient_in_a_buffer_takes_nothing() -> None:
    assert peak("x = scores()", "fx.softmax_cross_entropy(x, labels, grad=x)") < SLACK
    assert peak("x = scores()", "g = scores()", "fx.softmax_cross_entropy(x, labels, grad=g)") < SLACK


def test_few_classes() -> None:
    reshaped = "x = scores().reshape(-1, 10)", "y = np.zeros(len(x), np.int8)"
    assert peak(*reshaped, "fx.softmax_cross_entropy(x, y)") < SLACK
    assert peak(*reshaped, "fx.softmax_cross_entropy(x, y, grad=x)") < SLACK


def test_csr_targets_never_become_dense() -> None:
    csr = "y = scipy.sparse.csr_array((np.full(8 * n, 0.125, np.float32), rng.integers(0, classes, 8 * n),"
    csr += " np.arange(0, 8 * n + 1, 8)), shape=(n, classes))"
    assert peak(csr, "x = scores()", "fx.softmax_cross_entropy(x, y)") < SLACK
    assert peak(csr, "x = scores()", "fx.softmax_cross_entropy(x, y, grad=x)") < SLACK
    assert peak(csr, "x = scores()", "fx.sigmoid_cross_entropy(x, y, grad=x)") < SLACK


def test_dense_targets_are_not_copied() -> None:
    for dtype in ("np.int8", "np.float32", "np.float64"):
        targets = f"y = np.full((n, classes), 1, {dtype})"
        assert peak("x = scores()", targets, "fx.softmax_cross_entropy(x, y)") < SLACK
        assert peak("x = scores()", targets, "fx.softmax_cross_entropy(x, y, grad=x)") < SLACK


def test_sigmoid() -> None:
    targets = "y = np.ones((n, classes), np.int8)"
    assert peak("x = scores()", targets, "fx.sigmoid_cross_entropy(x, y)") < SLACK
    assert peak("x = scores()", targets, "fx.sigmoid_cross_entropy(x, y, grad=x)") < SLACK
    assert peak("x = scores()", targets, "fx.sigmoid_focal_loss(x, y, alpha=np.full(classes, 0.3), grad=x)") < SLACK
    assert peak("x, v = scores(), scores()", targets, "fx.sigmoid_cross_entropy_hvp(x, y, v, out=v)") < SLACK
    taken = peak("x = scores()", targets, "fx.sigmoid_cross_entropy(x, y, grad=True, sample_weight=np.ones(n))")
    assert ARRAY - 1 < taken < ARRAY + SLACK


def test_special_functions() -> None:
    assert peak("x = scores()", "fx.logsumexp(x, axis=1), fx.logsumexp(x, axis=0), fx.logsumexp(x)") < SLACK
    for name in ("softmax", "log_softmax"):
        assert peak("x = scores()", f"fx.{name}(x, axis=1, out=x)") < SLACK
        assert peak("x = scores()", f"fx.{name}(x, axis=0)") < ARRAY + SLACK
    assert peak("x = scores()", "fx.expit(x, out=x)") < SLACK


def test_probabilities() -> None:
    made = "p = scores()", "np.abs(p, out=p)", "p /= 8"
    assert peak(*made, "fx.categorical_cross_entropy(p, labels)") < SLACK
    assert peak(*made, "fx.categorical_cross_entropy(p.T, labels, normalize=True)") < SLACK
    assert peak(*made, "fx.categorical_cross_entropy(p, labels, grad=p, class_weight=np.ones(classes))") < SLACK
    assert peak(*made, "fx.categorical_cross_entropy(p, p.T, label_smoothing=0.1, eps=1e-7)") < SLACK
    csr = "y = scipy.sparse.csr_array((np.full(8 * n, 0.125, np.float32), rng.integers(0, classes, 8 * n),"
    csr += " np.arange(0, 8 * n + 1, 8)), shape=(n, classes))"
    assert peak(csr, *made, "fx.categorical_cross_entropy(p, y, grad=p)") < SLACK
    targets = "y = np.ones((n, classes), np.int8)"
    assert peak(*made, targets, "fx.binary_cross_entropy(p, y, pos_weight=np.ones(classes))") < SLACK
    assert peak(*made, targets, "fx.binary_cross_entropy(p, y, grad=p)") < SLACK
    taken = peak(*made, targets, "fx.binary_cross_entropy(p, y, grad=True, sample_weight=np.ones(n))")
    assert ARRAY - 1 < taken < ARRAY + SLACK


@pytest.mark.parametrize("classes, most", [(32_000, 32), (128_256, 128)])
def test_the_scores_of_a_linear_layer_never_exist(classes: int, most: int) -> None:
    made = (
        "fx.linear_cross_entropy(small, small[:300], np.zeros(400, int), grad=True)",
        f"x, w = np.ones((600, 64), np.float32), rng.standard_normal(({classes}, 64), np.float32)",
        "y = np.arange(600)",
        "outs = np.full_like(x, 0), np.full_like(w, 0), None",
    )
    whole = 600 * classes * 4 / MEGABYTE
    assert most < whole / 2
    assert peak(*made, "fx.linear_cross_entropy(x, w, y, grad=outs)") < most
    taken = peak(*made[:3], "fx.linear_cross_entropy(x, w, y, grad=True)")
    outputs = (600 + classes) * 64 * 4 / MEGABYTE
    assert outputs < taken < outputs + most
