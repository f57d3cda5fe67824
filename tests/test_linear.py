"""Losses of a linear layer, against the scores in long double and the oracles of their losses."""

from __future__ import annotations

import os
import textwrap
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import fastxent as fx
import oracle
from fastxent import _linear, linear
from fastxent._blas import serial_blas
from losses import LOSSES, Loss, both_dtypes, make_targets, same_bits
from subprocesses import output

OBJECTS = {
    "softmax_cross_entropy": fx.losses.SoftmaxCrossEntropy,
    "softmax_focal_loss": fx.losses.SoftmaxFocalLoss,
    "poly_cross_entropy": fx.losses.PolyCrossEntropy,
    "generalized_cross_entropy": fx.losses.GeneralizedCrossEntropy,
    "sigmoid_cross_entropy": fx.losses.SigmoidCrossEntropy,
    "sigmoid_focal_loss": fx.losses.SigmoidFocalLoss,
}
OF_SCORES = [loss for loss in LOSSES if loss.takes == "logits"]
BY_NAME = {loss.name: loss for loss in OF_SCORES}
SOFTMAX, SIGMOID = BY_NAME["softmax_cross_entropy"], BY_NAME["sigmoid_cross_entropy"]
both_families = pytest.mark.parametrize("loss", [SOFTMAX, SIGMOID], ids=["softmax", "sigmoid"])

N, D, C = 41, 6, 5
ALL = (True, True, True)


@pytest.fixture(params=["one block", "many blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows at once, and seven at a time."""
    if request.param == "many blocks":
        monkeypatch.setattr(linear, "_block_rows", lambda classes, itemsize: 7)


def make(seed: int = 0, dtype: Any = np.float64, n: int = N, d: int = D, classes: int = C) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    inputs = (rng.standard_normal((n, d)) * (rng.random((n, d)) < 0.7)).astype(dtype)
    return inputs, rng.standard_normal((classes, d)).astype(dtype), rng.standard_normal(classes).astype(dtype)


def targets_of(loss: Loss, form: str, n: int = N, classes: int = C, dtype: Any = np.float64) -> Any:
    return make_targets(np.random.default_rng(1), form, loss, n, classes, dtype)


class Exact:
    """Loss and gradients, and for each of them the size of what was added up."""

    def __init__(
        self, loss: Loss, inputs: Any, weight: Any, bias: Any, targets: Any, v: Any = None, **options: Any
    ) -> None:
        x, w = oracle.exact(inputs), oracle.exact(weight)
        b = oracle.exact(np.zeros(len(w)) if bias is None else bias)
        scores = x @ w.T + b
        if v is not None:
            options["v"] = x @ oracle.exact(v[0]).T + oracle.exact(v[1])
        found = loss.oracle(scores, targets, **options)
        grad = found.grad if v is None else found.product
        scale = np.abs(found.scale if v is None else found.product_scale)
        self.loss = found.loss
        self.grads = (grad @ w, grad.T @ x, grad.sum(0))
        self.sizes = (scale @ np.abs(w), scale.T @ np.abs(x), scale.sum(0))
        # How far rounding can move a score, and the relative error of what is added up.
        self.moved = float((np.abs(x) @ np.abs(w).T + np.abs(b)).max()) * (x.shape[1] + 1)
        self.terms = sum(x.shape) + len(w)

    def check(self, loss: Any, grads: Any, dtype: Any) -> None:
        eps = float(np.finfo(dtype).eps)
        relative = eps * (self.terms + 4 * self.moved)
        if loss is not None:
            size = np.abs(self.loss) + self.moved * eps / relative
            assert np.all(np.abs(oracle.exact(loss) - self.loss) <= relative * size)
        for got, wanted, size in zip(grads, self.grads, self.sizes, strict=True):
            if got is not None:
                assert got.shape == wanted.shape and got.dtype == dtype
                assert np.all(np.abs(oracle.exact(got) - wanted) <= relative * size + np.finfo(dtype).tiny)


# ---- losses, targets and options -----------------------------------------------------------------------------


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "csr"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(
    "loss, form", [pytest.param(loss, form, id=f"{loss.name}-{form}") for loss in OF_SCORES for form in loss.forms]
)
@both_dtypes
@pytest.mark.usefixtures("blocks")
def test_every_loss(loss: Loss, form: str, dtype: Any, reduction: str, sparse: bool) -> None:
    inputs, weight, bias = make(dtype=dtype)
    targets = targets_of(loss, form, dtype=dtype)
    for options in ({}, *loss.options):
        exact = Exact(loss, inputs, weight, bias, targets, reduction=reduction, **options)
        given = scipy.sparse.csr_array(inputs) if sparse else inputs
        value, grads = fx.linear_cross_entropy(
            given, weight, targets, bias=bias, loss=OBJECTS[loss.name](**options), grad=ALL, reduction=reduction
        )
        exact.check(value, grads, dtype)


@pytest.mark.parametrize(
    "options",
    [
        {"label_smoothing": 0.1},
        {"class_weight": np.array([1.0, 0.0, 2.0, 0.5, 3.0])},
        {"class_mask": np.array([False, False, False, False, True])},
        {"temperature": 0.7},
        {"softcap": 2.0},
        {"logit_bias": np.log([0.1, 0.2, 0.3, 0.3, 0.1])},
        {"z_loss": 0.1},
        {"ignore_index": 2},
    ],
    ids=lambda options: next(iter(options)),
)
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.usefixtures("blocks")
def test_options_of_the_softmax(options: dict[str, Any], weighted: bool) -> None:
    inputs, weight, bias = make()
    targets = targets_of(SOFTMAX, "labels") % 4
    rng = np.random.default_rng(2)
    sample_weight = rng.random(N) * (rng.random(N) < 0.8) if weighted else None
    exact = Exact(SOFTMAX, inputs, weight, bias, targets, sample_weight=sample_weight, **options)
    exact.check(
        *fx.linear_cross_entropy(inputs, weight, targets, bias=bias, grad=ALL, sample_weight=sample_weight, **options),
        np.dtype(np.float64),
    )


def test_a_mask_for_each_row() -> None:
    inputs, weight, bias = make()
    targets = targets_of(SOFTMAX, "labels")
    mask = np.random.default_rng(3).random((N, C)) < 0.4
    mask[np.arange(N), targets] = False
    weights = (np.arange(N) % 3 > 0).astype(float)
    exact = Exact(SOFTMAX, inputs, weight, bias, targets, class_mask=mask, sample_weight=weights)
    options = {"class_mask": mask, "sample_weight": weights}
    exact.check(*fx.linear_cross_entropy(inputs, weight, targets, bias=bias, grad=ALL, **options), np.dtype(float))


@pytest.mark.parametrize("each_row", [False, True])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.usefixtures("blocks")
def test_weights_of_masked_classes_may_be_anything(each_row: bool, order: Any) -> None:
    inputs, weight, bias = make()
    mask = np.arange(C) == 3
    labels = np.arange(N) % 3
    options: Any = {"class_mask": np.tile(mask, (N, 1)) if each_row else mask, "grad": ALL}
    expected, wanted = fx.linear_cross_entropy(inputs, weight, labels, bias=bias, **options)
    for value in (np.nan, np.inf):
        weight[3], bias[3] = value, value
        given = weight.copy(order)
        loss, grads = fx.linear_cross_entropy(inputs, given, labels, bias=bias, **options)
        assert loss == expected and same_bits(given, weight.copy(order))
        for got, grad in zip(grads, wanted, strict=True):
            np.testing.assert_allclose(got, grad, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("form", SIGMOID.forms)
@pytest.mark.parametrize("weights", ["rows", "elements"])
@pytest.mark.usefixtures("blocks")
def test_options_of_the_sigmoid(form: str, weights: str) -> None:
    inputs, weight, bias = make()
    targets = targets_of(SIGMOID, form)
    rng = np.random.default_rng(4)
    shape = (N,) if weights == "rows" else (N, C)
    sample_weight = rng.random(shape) * (rng.random(shape) < 0.8)
    options = {"sample_weight": sample_weight, "pos_weight": np.arange(1.0, C + 1), "label_smoothing": 0.1}
    dense = targets.toarray() if form == "csr" else targets
    by_element = np.broadcast_to(sample_weight.reshape(N, -1), (N, C))
    exact = Exact(SIGMOID, inputs, weight, bias, dense, **{**options, "sample_weight": by_element})
    exact.check(
        *fx.linear_cross_entropy(inputs, weight, targets, bias=bias, loss="sigmoid", grad=ALL, **options),
        np.dtype(float),
    )


def test_a_single_output() -> None:
    inputs, weight, _ = make(classes=1)
    targets = targets_of(SIGMOID, "labels", classes=1)
    value, grads = fx.linear_cross_entropy(inputs, weight, targets, loss="sigmoid", grad=True)
    Exact(SIGMOID, inputs, weight, None, targets).check(value, (*grads[:2], None), np.dtype(float))
    assert fx.linear_cross_entropy(inputs, weight, targets[:, 0], loss="sigmoid") == value


@both_families
@pytest.mark.usefixtures("blocks")
def test_no_reduction(loss: Loss) -> None:
    inputs, weight, bias = make()
    targets = targets_of(loss, "labels")
    weights = (np.arange(N) % 4).astype(float)
    options = {"bias": bias, "loss": loss.name[:7], "sample_weight": weights, "reduction": "none"}
    rows, (d_inputs, d_weight, d_bias) = fx.linear_cross_entropy(
        inputs, weight, targets, grad=(True, False, None), **options
    )
    assert d_weight is d_bias is None and rows.shape == ((N,) if loss is SOFTMAX else (N, C))
    by_row = weights if loss is SOFTMAX else np.broadcast_to(weights[:, None], (N, C))
    exact = Exact(loss, inputs, weight, bias, targets, sample_weight=by_row, reduction="none")
    exact.check(rows, (d_inputs, None, None), np.dtype(float))
    assert same_bits(rows, fx.linear_cross_entropy(inputs, weight, targets, **options))
    for grad in (True, ALL, (False, True, False), (False, False, True)):
        with pytest.raises(ValueError, match=r'reduction="none".*"sum"'):
            fx.linear_cross_entropy(inputs, weight, targets, grad=grad, **options)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "csr"])
@both_families
@both_dtypes
@pytest.mark.usefixtures("blocks")
def test_product_with_the_hessian(loss: Loss, dtype: Any, sparse: bool) -> None:
    inputs, weight, bias = make(dtype=dtype)
    _, v_weight, v_bias = make(seed=5, dtype=dtype)
    given = scipy.sparse.csr_array(inputs) if sparse else inputs
    targets = targets_of(loss, "labels", dtype=dtype)
    weights = (np.arange(N) % 3).astype(float)
    x, w = oracle.exact(inputs), oracle.exact(weight)
    for reduction in ("mean", "sum"):
        options = {"bias": bias, "loss": loss.name[:7], "reduction": reduction, "sample_weight": weights}
        product = fx.linear_cross_entropy_hvp(given, weight, targets, (v_weight, v_bias), **options)
        if loss is SOFTMAX:
            v = (v_weight, v_bias)
            exact = Exact(loss, inputs, weight, bias, targets, v, reduction=reduction, sample_weight=weights)
        else:
            by_row = np.broadcast_to(weights[:, None], (N, C))
            exact = Exact(loss, inputs, weight, bias, targets, reduction=reduction, sample_weight=by_row)
            hess = loss.oracle(x @ w.T + oracle.exact(bias), targets, reduction=reduction, sample_weight=by_row).hess
            along = x @ oracle.exact(v_weight).T + oracle.exact(v_bias)
            h, size = hess * along, hess * (np.abs(x) @ np.abs(oracle.exact(v_weight)).T + np.abs(v_bias))
            exact.grads = (None, h.T @ x, h.sum(0))
            exact.sizes = (None, size.T @ np.abs(x), size.sum(0))
        exact.check(None, (None, *product), dtype)
        outs = (np.full_like(weight, 7), np.full_like(bias, 7))
        into = fx.linear_cross_entropy_hvp(given, weight, targets, (v_weight, v_bias), out=outs, **options)
        assert into[0] is outs[0] and into[1] is outs[1]
        assert same_bits(outs[0], product[0]) and same_bits(outs[1], product[1])


def test_product_with_the_hessian_is_a_difference_of_gradients() -> None:
    inputs, weight, _ = make()
    v = make(seed=5)[1]
    targets = targets_of(SOFTMAX, "labels")
    options = {"label_smoothing": 0.1, "softcap": 3.0, "temperature": 1.3, "z_loss": 0.1}
    product, nothing = fx.linear_cross_entropy_hvp(inputs, weight, targets, (v, None), **options)
    assert nothing is None
    ahead, behind = (
        fx.linear_cross_entropy(inputs, weight + step * v, targets, grad=(False, True, False), **options)[1][1]
        for step in (1e-5, -1e-5)
    )
    np.testing.assert_allclose(product, (ahead - behind) / 2e-5, rtol=0, atol=1e-9)


# ---- shapes and layouts --------------------------------------------------------------------------------------


def layouts(array: np.ndarray) -> dict[str, np.ndarray]:
    wide = np.zeros((array.shape[0] * 2, array.shape[1] * 3), array.dtype)
    wide[::2, ::3] = array
    padded = np.zeros((array.shape[0], array.shape[1] + 5), array.dtype)
    padded[:, 2:-3] = array
    return {
        "C": np.ascontiguousarray(array),
        "Fortran": np.asfortranarray(array),
        "part": padded[:, 2:-3],
        "steps": wide[::2, ::3],
        "backwards": np.ascontiguousarray(array[::-1])[::-1],
        "mirrored": np.ascontiguousarray(array[:, ::-1])[:, ::-1],
        "swapped": array.astype(array.dtype.newbyteorder()),
        "same rows": np.broadcast_to(array[:1], array.shape),
    }


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "csr"])
@pytest.mark.parametrize("layout", list(layouts(np.zeros((2, 2)))))
@pytest.mark.usefixtures("blocks")
def test_layouts(layout: str, sparse: bool) -> None:
    inputs, weight, bias = make()
    inputs, weight = layouts(inputs)[layout], layouts(weight)[layout]
    targets = targets_of(SOFTMAX, "labels")
    exact = Exact(SOFTMAX, inputs, weight, bias, targets)
    given = scipy.sparse.csr_array(np.array(inputs, np.float64)) if sparse else inputs
    value, grads = fx.linear_cross_entropy(given, weight, targets, bias=bias, grad=ALL)
    exact.check(value, grads, np.dtype(float))
    for own in ("C", "Fortran", "part", "steps", "backwards", "mirrored"):
        d_inputs, d_weight = (layouts(np.full(shape, 7.0))[own] for shape in ((N, D), (C, D)))
        buffers = (d_inputs, d_weight, np.full(2 * C, 7.0)[::2])
        again, filled = fx.linear_cross_entropy(given, weight, targets, bias=bias, grad=buffers)
        assert again == value
        assert all(out is buffer for out, buffer in zip(filled, buffers, strict=True))
        exact.check(again, filled, np.dtype(float))


@pytest.mark.parametrize("n, d, classes", [(0, 3, 4), (1, 1, 2), (3, 0, 4), (1, 5, 700), (600, 3, 2), (5000, 2, 3)])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "csr"])
@both_dtypes
def test_shapes(n: int, d: int, classes: int, dtype: Any, sparse: bool) -> None:
    inputs, weight, bias = make(n=n, d=d, classes=classes, dtype=dtype)
    targets = targets_of(SOFTMAX, "labels", n, classes)
    given = scipy.sparse.csr_array(inputs) if sparse else inputs
    value, grads = fx.linear_cross_entropy(given, weight, targets, bias=bias, grad=ALL)
    if n == 0:
        assert value == 0.0 and not any(out.any() for out in grads)
        assert [out.shape for out in grads] == [(0, d), (classes, d), (classes,)]
    else:
        Exact(SOFTMAX, inputs, weight, bias, targets).check(value, grads, dtype)


@pytest.mark.parametrize("shape", [(300, 40, 1100), (2500, 30, 7), (9000, 50, 40), (20, 9000, 3)], ids=str)
def test_tiles_and_parts(shape: tuple[int, int, int]) -> None:
    n, d, classes = shape
    inputs, weight, bias = make(n=n, d=d, classes=classes)
    weight /= np.sqrt(d)
    targets = targets_of(SOFTMAX, "labels", n, classes)
    value, grads = fx.linear_cross_entropy(inputs, weight, targets, bias=bias, grad=True)
    Exact(SOFTMAX, inputs, weight, bias, targets).check(value, grads, np.dtype(float))


def untidy(inputs: np.ndarray, index: Any) -> Any:
    """The same matrix with columns in disorder, every entry in two halves, explicit zeros, and what lies beyond."""
    pointers, columns, values = [0], [], []
    for row in inputs:
        at = np.flatnonzero(row)[::-1]
        columns += [*at, 0, *at]
        values += [*(row[at] / 2), 0.0, *(row[at] / 2)]
        pointers.append(len(columns))
    columns += [60_000]
    values += [np.nan]
    matrix = scipy.sparse.csr_array(inputs.shape, dtype=inputs.dtype)
    matrix.indptr = np.array(pointers, index)
    matrix.indices = np.array(columns, index)
    matrix.data = np.array(values, inputs.dtype)
    return matrix


@pytest.mark.parametrize("index", [np.int32, np.int64, np.uint16], ids=["int32", "int64", "uint16"])
@pytest.mark.usefixtures("blocks")
def test_untidy_csr(index: Any) -> None:
    inputs, weight, bias = make()
    inputs[4] = 0
    targets = targets_of(SOFTMAX, "labels")
    given = untidy(inputs, index)
    weights = np.where(np.arange(N) % 5 == 1, 0.0, 1.5)
    exact = Exact(SOFTMAX, inputs, weight, bias, targets, sample_weight=weights)
    options = {"bias": bias, "sample_weight": weights}
    exact.check(*fx.linear_cross_entropy(given, weight, targets, grad=ALL, **options), np.dtype(float))
    assert fx.linear_cross_entropy(given, weight, targets, grad=True, **options)[1][0] is None


def test_integers_and_lists() -> None:
    inputs, weight, targets = [[1, 0], [0, 2]], [[1, 2], [3, 4], [0, 0]], [0, 2]
    wanted = fx.softmax_cross_entropy(np.array(inputs) @ np.array(weight).T, targets)
    assert fx.linear_cross_entropy(inputs, weight, targets) == wanted
    counts = scipy.sparse.csr_array(np.array(inputs))
    assert fx.linear_cross_entropy(counts, np.array(weight, np.float64), targets) == wanted


# ---- what does not count -------------------------------------------------------------------------------------


@pytest.mark.parametrize("why", ["ignored", "weight", "class weight"])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "csr"])
@pytest.mark.usefixtures("blocks")
def test_rows_that_do_not_count_are_as_if_absent(why: str, sparse: bool) -> None:
    inputs, weight, bias = make()
    targets = targets_of(SOFTMAX, "labels") % (C - 1)
    out = np.random.default_rng(6).random(N) < 0.4
    poisoned = inputs.copy()
    poisoned[out] = np.nan
    options: dict[str, Any] = {}
    if why == "ignored":
        targets, options["ignore_index"] = np.where(out, -100, targets), -100
    elif why == "weight":
        options["sample_weight"] = np.where(out, 0.0, 1.0)
    else:
        targets, options["class_weight"] = np.where(out, C - 1, targets), np.array([1.0, 1.0, 1.0, 1.0, 0.0])
    given, kept = (scipy.sparse.csr_array(x) if sparse else x for x in (poisoned, inputs[~out]))
    value, grads = fx.linear_cross_entropy(given, weight, targets, bias=bias, grad=ALL, **options)
    wanted, expected = fx.linear_cross_entropy(kept, weight, targets[~out], bias=bias, grad=ALL)
    assert value == wanted
    assert same_bits(grads[0][~out], expected[0]) and not grads[0][out].any()
    assert same_bits(grads[1], expected[1]) and same_bits(grads[2], expected[2])


@both_families
@pytest.mark.parametrize("form", ["dense", "csr"])
def test_soft_rows_that_do_not_count(loss: Loss, form: str) -> None:
    inputs, weight, bias = make()
    targets = targets_of(loss, "csr" if form == "csr" else loss.forms[1])
    out = np.arange(N) % 3 == 0
    inputs[out] = np.inf
    options = {"bias": bias, "loss": loss.name[:7], "grad": ALL}
    value, grads = fx.linear_cross_entropy(inputs, weight, targets, sample_weight=np.where(out, 0, 2), **options)
    wanted, expected = fx.linear_cross_entropy(inputs[~out], weight, targets[~out], **options)
    np.testing.assert_allclose(value, wanted, rtol=1e-15)
    np.testing.assert_allclose(grads[1], expected[1], rtol=1e-14, atol=1e-16)
    assert not grads[0][out].any()


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "csr"])
def test_rows_all_of_whose_outputs_have_no_weight(sparse: bool) -> None:
    inputs, weight, bias = make()
    targets = targets_of(SIGMOID, "dense")
    weights = np.random.default_rng(3).random((N, C)) * (np.arange(N) % 3 > 0)[:, None]
    options = {"bias": bias, "loss": "sigmoid", "sample_weight": weights}
    as_given = scipy.sparse.csr_array if sparse else np.asarray
    expected, wanted = fx.linear_cross_entropy(inputs, weight, targets, grad=ALL, **options)
    inputs = np.where(weights.any(axis=1)[:, None], inputs, np.nan)
    loss, grads = fx.linear_cross_entropy(as_given(inputs), weight, targets, grad=ALL, **options)
    np.testing.assert_allclose(loss, expected, rtol=1e-13)
    for got, grad in zip(grads, wanted, strict=True):
        np.testing.assert_allclose(got, grad, rtol=1e-12, atol=1e-15)


def test_no_row_counts() -> None:
    inputs, weight, bias = make()
    buffers = (np.full_like(inputs, 7), np.full_like(weight, 7), np.full_like(bias, 7))
    value, grads = fx.linear_cross_entropy(
        inputs * np.nan, weight, np.full(N, -1), bias=bias, ignore_index=-1, grad=buffers
    )
    assert value == 0.0 and not any(out.any() for out in grads)
    rows = fx.linear_cross_entropy(inputs, weight, np.full(N, -1), ignore_index=-1, reduction="none")
    assert rows.shape == (N,) and not rows.any()


def test_special_values_stay_in_their_rows() -> None:
    inputs, weight, bias = make()
    inputs[3, 2] = np.nan
    bias[1] = -np.inf
    targets = np.zeros(N, int)
    targets[5] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows, (d_inputs, _, _) = fx.linear_cross_entropy(
            inputs, weight, targets, bias=bias, reduction="none", grad=(True, False, False)
        )
        value = fx.linear_cross_entropy(inputs, weight, targets, bias=bias)
    others = np.delete(np.arange(N), [3, 5])
    assert np.isnan(rows[3]) and rows[5] == np.inf and np.isfinite(rows[others]).all()
    assert np.isnan(d_inputs[3]).all() and np.isfinite(d_inputs[others]).all()
    assert np.isnan(value)


def test_the_sum_is_infinite_where_a_row_is() -> None:
    inputs, weight, bias = make(n=3)
    bias[0] = -np.inf
    assert fx.linear_cross_entropy(inputs, weight, [0, 1, 2], bias=bias) == np.inf


# ---- threads and blocks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("n, d, classes", [(700, 60, 300), (30_000, 20, 4), (150, 40, 5000)])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "csr"])
def test_threads_do_not_show(n: int, d: int, classes: int, sparse: bool) -> None:
    inputs, weight, bias = make(n=n, d=d, classes=classes, dtype=np.float32)
    targets = targets_of(SOFTMAX, "labels", n, classes)
    given = scipy.sparse.csr_array(inputs) if sparse else inputs
    results = [
        fx.linear_cross_entropy(given, weight, targets, bias=bias, grad=ALL, n_threads=threads)
        for threads in (1, 2, 3, 8, 2)
    ]
    for value, grads in results[1:]:
        assert value == results[0][0]
        assert all(same_bits(a, b) for a, b in zip(grads, results[0][1], strict=True))
    v = (weight[::-1].copy(), bias[::-1].copy())
    products = [
        fx.linear_cross_entropy_hvp(given, weight, targets, v, bias=bias, n_threads=threads) for threads in (1, 2, 3)
    ]
    for product in products[1:]:
        assert all(same_bits(a, b) for a, b in zip(product, products[0], strict=True))


@pytest.mark.parametrize("add", ["nothing", "what was there", "bias"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows, columns", [(3, 5), (3, 300), (200, 700)])
def test_products_in_parts(rows: int, columns: int, dtype: type, add: str) -> None:
    """Of an inner dimension long enough to be cut; integers, of which sums are exact."""
    rng = np.random.default_rng(3)
    a, b = (rng.integers(-9, 10, shape).astype(dtype) for shape in ((rows, 20_000), (20_000, columns)))
    start = rng.integers(-9, 10, (rows, columns)).astype(dtype)
    bias = start[0].copy() if add == "bias" else None
    added = {"nothing": 0, "what was there": start, "bias": bias}[add]
    expected = a.astype(float) @ b.astype(float) + np.asarray(added)
    for threads in (1, 2, 7):
        out = start.copy() if add == "what was there" else np.full_like(start, np.nan)
        with serial_blas:
            _linear.product(a, b, out, add == "what was there", bias, threads)
        assert np.array_equal(out, expected)


@pytest.mark.parametrize("columns", [1, 3, 20, 33, 70])
@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_with_csr(isa: str, dtype: Any, index: Any, columns: int) -> None:
    """Of integers, of which sums are exact; some rows and features are empty."""
    rng = np.random.default_rng(4)
    n, d = 3000, 120
    dense = np.where(rng.random((n, d)) < 0.2, rng.integers(-9, 10, (n, d)), 0)
    dense[::7] = dense[:, ::11] = 0
    matrix = scipy.sparse.csr_array(dense.astype(dtype))
    pointers = matrix.indptr.astype(np.int64)
    csr = (pointers[:-1], pointers[1:], matrix.indices.astype(index), matrix.data)
    weight, start = (rng.integers(-9, 10, (rows, columns)) for rows in (d, n))
    grad, sums = (rng.integers(-9, 10, (rows, columns)) for rows in (n, d))
    before = np.append(0, np.cumsum(np.bincount(matrix.indices, minlength=d)))
    bias = start[0].astype(dtype)
    for threads in (1, 2, 5):
        for accumulate, added, by in ((False, 0, None), (True, start, None), (False, start[0], bias)):
            out = start.astype(dtype) if accumulate else np.full(start.shape, np.nan, dtype)
            _linear.csr_product(csr, weight.astype(dtype), out, accumulate, by, threads)
            assert np.array_equal(out, dense @ weight + added)
        out = sums.astype(dtype)
        _linear.csr_add_product(csr, grad.astype(dtype), out, before, threads)
        assert np.array_equal(out, dense.T @ grad + sums)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("features", [30, 3000])
def test_further_passes_over_csr(features: int, index: Any, weighted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """They go by columns, unless a block has fewer entries than there are: with the same bits for all numbers of
    threads. What has weight 0 is left out."""
    monkeypatch.setattr(linear, "_block_rows", lambda classes, itemsize: 64)
    inputs, weight, bias = make(n=400, d=features, classes=20)
    rng = np.random.default_rng(1)
    inputs[rng.random(inputs.shape) > 20 / features] = 0
    inputs[:, 3] = inputs[5] = 0
    sample_weight = rng.integers(0, 3, 400).astype(float) if weighted else None
    # With entries twice and in no order, as CSR may have them.
    once = scipy.sparse.csr_array(inputs)
    indices, data = (np.repeat(x, 2) for x in (once.indices.astype(index), once.data / 2))
    for start, stop in zip(once.indptr, once.indptr[1:], strict=False):
        order = 2 * start + rng.permutation(2 * (stop - start))
        indices[2 * start : 2 * stop], data[2 * start : 2 * stop] = indices[order], data[order]
    matrix = scipy.sparse.csr_array((data, indices, 2 * once.indptr), inputs.shape)
    targets = targets_of(SOFTMAX, "labels", 400, 20)
    expected = Exact(SOFTMAX, inputs, weight, bias, targets, sample_weight=sample_weight)
    found = []
    for threads in (1, 2, 5):
        whole = linear.LinearLoss(matrix, targets, 20, fx.losses.SoftmaxCrossEntropy(), sample_weight, threads)
        for _ in range(3):
            outs = np.empty((features, 20)).T, np.empty(20)
            expected.check(whole.gradient(weight, bias, outs), (None, *outs), np.float64)
            found.append(outs)
    for first, *others in (found[::3], found[1::3], found[2::3], found[1:3]):
        assert all(same_bits(a, b) for other in others for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("rows", [1, 13, 100])
def test_blocks_of_any_size_agree(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, weight, bias = make(n=400, d=30, classes=20)
    targets = targets_of(SOFTMAX, "labels", 400, 20)
    wanted, expected = fx.linear_cross_entropy(inputs, weight, targets, bias=bias, grad=True)
    monkeypatch.setattr(linear, "_block_rows", lambda classes, itemsize: rows)
    value, grads = fx.linear_cross_entropy(inputs, weight, targets, bias=bias, grad=True)
    assert abs(value - wanted) <= 4 * np.spacing(wanted)
    # In ulps of what is added up: where signs differ, the sum itself may be of any size. Each block adds a rounding,
    # one way or the other, so that they grow by the root of their number.
    sizes = Exact(SOFTMAX, inputs, weight, bias, targets).sizes
    allowed = max(4.0, np.sqrt(400 / rows))
    for got, answer, size in zip(grads, expected, sizes, strict=True):
        assert np.abs(got - answer).max() <= allowed * np.spacing(float(size.max()))


def blas_threads() -> list[int]:
    from threadpoolctl import threadpool_info

    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_the_blas_has_its_threads_back() -> None:
    inputs, weight, _ = make(n=500, d=100, classes=300)
    labels = np.zeros(500, int)
    fx.linear_cross_entropy(inputs, weight, labels, grad=True)
    before = blas_threads()
    with ThreadPoolExecutor(1) as pool:
        with serial_blas:
            assert set(blas_threads()) == {1}
            pool.submit(fx.linear_cross_entropy, inputs, weight, labels, grad=True).result()
            assert set(blas_threads()) == {1}
        assert blas_threads() == before

        def hold() -> list[int]:
            with serial_blas:
                return blas_threads()

        # From another Python thread too: threadpoolctl itself may listen to the first that asked, and to no other.
        assert set(pool.submit(hold).result()) == {1}
    assert blas_threads() == before
    with pytest.raises(TypeError):
        fx.linear_cross_entropy(inputs, weight, np.zeros(500))
    assert blas_threads() == before


@pytest.mark.parametrize("shape", [(5000, 36, 35), (200_000, 10, 10), (600, 30, 20)], ids=str)
def test_products_have_no_threads_of_the_blas(shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them is made with the BLAS held to one thread, or is too small for it to take more."""
    product, largest = _linear.product, 0

    def watched(a: Any, b: Any, *rest: Any) -> None:
        nonlocal largest
        largest = max(largest, a.shape[0] * a.shape[1] * b.shape[1] if not serial_blas.inside else 0)
        product(a, b, *rest)

    monkeypatch.setattr(_linear, "product", watched)
    inputs, weight, bias = make(n=shape[0], d=shape[1], classes=shape[2])
    fx.linear_cross_entropy(inputs, weight, np.zeros(len(inputs), int), bias=bias, grad=True)
    assert largest <= 1 << 18


def test_python_threads_do_not_show() -> None:
    inputs, weight, bias = make(n=600, d=64, classes=1000)

    def compute() -> list[bytes]:
        loss, grads = fx.linear_cross_entropy(inputs, weight, np.arange(600), bias=bias, grad=True)
        return [np.float64(loss).tobytes(), *(grad.tobytes() for grad in grads if grad is not None)]

    expected = compute()
    with ThreadPoolExecutor(3) as pool:
        assert all(future.result() == expected for future in [pool.submit(compute) for _ in range(12)])
    assert not serial_blas.inside


def test_a_call_that_was_interrupted_on_its_way_in() -> None:
    """Ctrl-C may come anywhere: what it leaves behind does not outlast the next call."""
    with serial_blas:
        pass
    before = blas_threads()
    for forgotten in (False, True):
        serial_blas.__enter__()
        if forgotten:
            serial_blas.inside.clear()
        assert set(blas_threads()) == {1}
        with serial_blas:
            pass
        assert blas_threads() == before and not serial_blas.inside


def test_the_blas_is_held_throughout() -> None:
    with serial_blas:
        pass
    before = blas_threads()
    with pytest.raises(KeyboardInterrupt), serial_blas.throughout():
        with serial_blas:
            pass
        assert set(blas_threads()) == {1}
        raise KeyboardInterrupt
    assert blas_threads() == before and not serial_blas.inside


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_while_another_thread_is_inside() -> None:
    code = """
    import os, threading
    import numpy as np
    import fastxent as fx
    from fastxent._blas import serial_blas
    from threadpoolctl import threadpool_info
    def blas():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    def compute():
        return fx.linear_cross_entropy(np.ones((300, 50)), np.eye(100, 50), np.arange(300) % 100)
    expected, before = compute(), blas()
    entered, leave = threading.Event(), threading.Event()
    def hold():
        with serial_blas, serial_blas.lock:
            entered.set()
            leave.wait()
    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if blas() == before and compute() == expected and blas() == before else 3)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    leave.set()
    thread.join()
    print(status, blas() == before)
    """
    assert output(textwrap.dedent(code)) == "0 True"


# ---- buffers and refusals ------------------------------------------------------------------------------------


def test_any_subset_of_the_gradients() -> None:
    inputs, weight, bias = make()
    targets = targets_of(SOFTMAX, "labels")
    value, whole = fx.linear_cross_entropy(inputs, weight, targets, bias=bias, grad=True)
    for wanted in np.ndindex(2, 2, 2):
        asked = tuple(map(bool, wanted))
        again, grads = fx.linear_cross_entropy(inputs, weight, targets, bias=bias, grad=asked)
        assert again == value
        for want, got, answer in zip(asked, grads, whole, strict=True):
            assert same_bits(got, answer) if want else got is None
    assert fx.linear_cross_entropy(inputs, weight, targets, bias=bias) == value
    assert fx.linear_cross_entropy(inputs, weight, targets, grad=True)[1][2] is None
    assert fx.linear_cross_entropy(inputs, weight, targets, grad=ALL)[1][2] is None
    assert fx.linear_cross_entropy(scipy.sparse.csr_array(inputs), weight, targets, grad=True)[1][0] is None


def refuse(error: type[Exception], *says: str, **changed: Any) -> None:
    """A call with something changed is refused in these words, and has written nothing."""
    inputs, weight, bias = make()
    call: dict[str, Any] = {"inputs": inputs, "weight": weight, "targets": np.zeros(N, int), "bias": bias}
    call["grad"] = tuple(np.full_like(array, 7) for array in (inputs, weight, bias))
    call |= changed
    arrays = (
        [part for part in (*call.values(), *call["grad"]) if isinstance(part, np.ndarray)]
        if isinstance(call["grad"], tuple)
        else []
    )
    before = [array.copy() for array in arrays]
    with pytest.raises(error) as refused:
        fx.linear_cross_entropy(**call)
    for words in says:
        assert words in str(refused.value), str(refused.value)
    assert all(same_bits(now, then) for now, then in zip(arrays, before, strict=True))


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def test_refused_inputs() -> None:
    inputs, weight, bias = make()
    for name, array in (("inputs", inputs), ("weight", weight)):
        refuse(TypeError, name, "float16", f"{name}.astype(numpy.float32)", **{name: array.astype(np.float16)})
        refuse(TypeError, "inputs", "weight", "float32", "astype", **{name: array.astype(np.float32)})
        refuse(TypeError, name, "complex128", **{name: array.astype(complex)})
        refuse(TypeError, name, "object", **{name: array.astype(object)})
        refuse(TypeError, name, "masked array", **{name: np.ma.masked_array(array)})
        refuse(ValueError, name, "shape (6,)", **{name: array[0]})
    refuse(ValueError, "weight", "(5, 5)", "(41, 6)", "(C, d)", weight=weight[:, 1:])
    refuse(ValueError, "weight has 1 row", 'loss="sigmoid"', weight=weight[:1], bias=None, grad=True)
    refuse(ValueError, "bias", "(4,)", "(5,)", bias=bias[1:])
    refuse(TypeError, "bias", "complex", bias=bias * 1j)
    refuse(TypeError, "weight", "sparse", weight=scipy.sparse.csr_array(weight))
    refuse(TypeError, "inputs", "csc", "tocsr", inputs=scipy.sparse.csc_array(inputs))
    refuse(TypeError, "inputs", "float32", "weight", inputs=scipy.sparse.csr_array(inputs.astype(np.float32)))
    refuse(TypeError, "inputs.data", "complex128", "real numbers", inputs=scipy.sparse.csr_array(inputs * 1j))


@pytest.mark.parametrize(
    "part, at, value, says",
    [
        ("indices", 3, D, ("column 6", "row", "0 to 5")),
        ("indices", 3, -1, ("column -1", "0 to 5")),
        ("indptr", 0, 1, ("malformed in row 0", "start at 0")),
        ("indptr", 4, 1000, ("malformed in row 3", "1000")),
        ("indptr", 4, -1, ("malformed in row 3", "not decrease")),
        ("indptr", N, 10**6, (f"malformed in row {N - 1}", "pass the")),
    ],
)
def test_malformed_csr_inputs(part: str, at: int, value: int, says: tuple[str, ...]) -> None:
    matrix = scipy.sparse.csr_array(make()[0])
    getattr(matrix, part)[at] = value
    refuse(ValueError, "inputs", *says, inputs=matrix)


@pytest.mark.parametrize("name", ["inputs", "targets"])
def test_csr_without_row_pointers(name: str) -> None:
    matrix = scipy.sparse.csr_array(np.ones((N, D if name == "inputs" else C)))
    matrix.indptr = matrix.indptr[:0]
    refuse(ValueError, name, "malformed: 0 row pointers", f"{N} rows", **{name: matrix})
    matrix.indptr = np.full(N + 1, 2**64 - 1, np.uint64)
    refuse(ValueError, name, "malformed in row 0", "start at", **{name: matrix})


def test_refused_targets() -> None:
    labels = np.zeros(N, int)
    labels[7] = C
    refuse(ValueError, "targets[7] is 5", "0 to 4", "ignore_index", targets=labels)
    refuse(TypeError, "targets", "float64", "astype(numpy.int64)", 'loss="sigmoid"', targets=np.zeros(N))
    refuse(ValueError, "targets", "(40,)", "inputs @ weight.T (41, 5)", "never broadcast", targets=labels[1:])
    dense = np.full((N, C), 0.2)
    dense[3, 2] = -1
    refuse(ValueError, "targets[3, 2] is -1", "negative", targets=dense)
    refuse(ValueError, "targets", "negative", targets=scipy.sparse.csr_array(dense))
    refuse(TypeError, "targets", "tocsr", targets=scipy.sparse.csc_array(np.abs(dense)))
    refuse(ValueError, "ignore_index", "sample_weight", targets=np.abs(dense), ignore_index=0)
    mask = np.array([True, False, False, False, False])
    refuse(ValueError, "class_mask leaves out class 0", "row 0", class_mask=mask)
    refuse(ValueError, "targets[3, 2]", "[0, 1]", targets=dense, loss="sigmoid")
    refuse(ValueError, "targets", "(41,)", 'loss="softmax"', targets=np.zeros(N), loss="sigmoid")


def test_refused_options() -> None:
    refuse(ValueError, "loss is 'hinge'", "softmax", "sigmoid", loss="hinge")
    refuse(TypeError, "loss is function", "fastxent.losses", loss=fx.softmax_cross_entropy)
    refuse(ValueError, "pos_weight", "softmax", pos_weight=2.0)
    targets = np.zeros((N, C))
    given = {
        "class_weight": np.ones(C),
        "ignore_index": 0,
        "class_mask": np.zeros(C, bool),
        "temperature": 2.0,
        "softcap": 1.0,
        "logit_bias": np.zeros(C),
        "z_loss": 0.1,
    }
    for name, value in given.items():
        refuse(ValueError, name, "sigmoid", loss="sigmoid", targets=targets, **{name: value})
    once = fx.losses.SoftmaxFocalLoss(temperature=2.0)
    refuse(ValueError, "temperature is an option of the loss already", loss=once, temperature=3.0)
    refuse(ValueError, "weight has 5 rows", "n_classes", loss=fx.losses.SoftmaxCrossEntropy(n_classes=3))
    refuse(ValueError, "reduction", "median", reduction="median")
    refuse(ValueError, "sample_weight[0]", sample_weight=-np.ones(N))
    refuse(ValueError, "temperature", temperature=0.0)
    refuse(ValueError, "label_smoothing", label_smoothing=2.0)
    refuse(ValueError, "n_threads", n_threads=0)
    refuse(TypeError, "n_threads", n_threads=1.5)


def test_refused_buffers() -> None:
    inputs, weight, bias = make()
    good = (np.full_like(inputs, 7), np.full_like(weight, 7), np.full_like(bias, 7))

    def refuse_one(which: int, out: Any, error: type[Exception], *says: str, **changed: Any) -> None:
        buffers = (*good[:which], out, *good[which + 1 :])
        refuse(error, f"grad[{which}]", *says, grad=buffers, **changed)
        assert all((buffer == 7).all() for buffer in good)

    for which, array in enumerate((inputs, weight, bias)):
        refuse_one(which, array.astype(np.float32), TypeError, "float32")
        refuse_one(which, array[1:].copy(), ValueError, "shape")
        refuse_one(which, read_only(array.copy()), ValueError, "read-only")
        refuse_one(which, np.broadcast_to(np.zeros(1), array.shape), ValueError, "read-only")
        refuse_one(which, array.tolist(), TypeError, "list")
    refuse_one(0, inputs, ValueError, "overlaps inputs", inputs=inputs)
    refuse_one(1, weight, ValueError, "overlaps weight", weight=weight)
    refuse_one(2, bias, ValueError, "overlaps bias", bias=bias)
    refuse_one(2, bias, ValueError, "overlaps logit_bias", logit_bias=bias)
    refuse_one(2, good[1][:, 0][:C], ValueError, "overlaps grad[1]")
    sparse = scipy.sparse.csr_array(np.ones((C, D)))
    values = sparse.data.reshape(C, D)
    refuse(ValueError, "grad[1] overlaps inputs", inputs=sparse, targets=np.zeros(C, int), grad=(False, values, False))
    refuse(ValueError, "grad[2]", "no bias", bias=None, grad=good)
    refuse(TypeError, "grad is ndarray", "three", grad=good[1])
    refuse(TypeError, "grad is tuple", "three", grad=good[:2])


def test_refused_products() -> None:
    inputs, weight, bias = make()
    targets = np.zeros(N, int)

    def hvp(v: Any, **options: Any) -> Any:
        return fx.linear_cross_entropy_hvp(inputs, weight, targets, v, **{"bias": bias, **options})

    for v, error, says in (
        (weight, TypeError, "tuple of two"),
        ((None, bias), TypeError, r"v\[0\] is None"),
        ((weight, None), ValueError, r"v\[1\] is None"),
        ((weight[1:], bias), ValueError, r"v\[0\] has shape"),
        ((weight, bias[1:]), ValueError, r"v\[1\] has shape"),
    ):
        with pytest.raises(error, match=says):
            hvp(v)
    good = (weight.copy(), bias.copy())
    with pytest.raises(ValueError, match=r"v\[1\] is an array, but there is no bias"):
        hvp(good, bias=None)
    with pytest.raises(ValueError, match='reduction is "none"'):
        hvp(good, reduction="none")
    with pytest.raises(ValueError, match="only cross-entropy"):
        hvp(good, loss=fx.losses.SoftmaxFocalLoss())
    with pytest.raises(ValueError, match=r"out\[0\] overlaps"):
        hvp(good, out=(good[0], None))
    with pytest.raises(ValueError, match=r"out\[1\] has shape"):
        hvp(good, out=(None, np.zeros(C + 1)))
    with pytest.raises(TypeError, match="out is bool"):
        hvp(good, out=True)
    with pytest.raises(TypeError, match=r"out\[0\] is False: give a numpy array"):
        hvp(good, out=(False, None))
