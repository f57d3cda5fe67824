"""The losses on probabilities: special values, clipping, normalisation, weights, refusals, published numbers."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastxent as fx
import oracle
from losses import both_dtypes, same_bits

INF, NAN = np.inf, np.nan
# Vectors, parts of them, both, and rows longer than a piece.
LENGTHS = (2, 3, 7, 16, 31, 33, 64, 100, 1001)


@pytest.fixture(autouse=True)
def no_floating_point_warning() -> Iterator[None]:
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def distributions(rng: np.random.Generator, n: int, classes: int, dtype: Any = np.float64, low: float = 1e-3) -> Any:
    masses = rng.random((n, classes)) + low
    return (masses / masses.sum(1, keepdims=True)).astype(dtype)


def assert_exact(got: tuple[Any, ...], exact: oracle.Exact) -> None:
    """Loss, gradient and Hessian, the loss in 2 ulp, the others in those of the contract."""
    assert oracle.ulp_error(got[0], exact.loss).max() <= 2
    assert oracle.ulp_error(got[1], exact.grad, exact.scale).max() <= 4
    allowed = 4 if got[2].dtype == np.float32 else 6
    assert oracle.ulp_error(got[2], exact.hess, exact.hess_scale).max() <= allowed


# ---- one outcome: special values -------------------------------------------------------------------------------


@both_dtypes
def test_zero_and_one(dtype: Any, isa: str) -> None:
    p = np.array([0, 0, 0, 1, 1, 1, -0.0], dtype)
    y = np.array([0, 1, 0.5, 0, 1, 0.5, 0], dtype)
    loss = np.array([0, INF, INF, INF, 0, INF, 0], dtype)
    grad = np.array([1, -INF, -INF, INF, -1, INF, 1], dtype)
    hess = np.array([1, INF, INF, INF, 1, INF, 1], dtype)
    # Enough copies for whole vectors and for a remainder.
    for copies in (1, 7, 40):
        arguments = np.tile(p, copies), np.tile(y, copies)
        for options in ({}, {"pos_weight": 1.0, "eps": 0.0}):
            got = fx.binary_cross_entropy(*arguments, grad=True, hess=True, reduction="none", **options)
            for a, wanted in zip(got, (loss, grad, hess), strict=True):
                assert same_bits(a, np.tile(wanted, copies))
        # A negative term of no weight does not count, neither does a positive one.
        got = fx.binary_cross_entropy(*arguments, grad=True, hess=True, reduction="none", pos_weight=0)
        np.testing.assert_array_equal(got[0], np.tile(np.array([0, 0, 0, INF, 0, INF, 0], dtype), copies))
        np.testing.assert_array_equal(got[1], np.tile(np.array([1, 0, 0.5, INF, 0, INF, 1], dtype), copies))
    assert fx.binary_cross_entropy(p, y) == INF
    assert fx.binary_cross_entropy(p[[0, 4]], y[[0, 4]]) == 0.0


@both_dtypes
def test_next_to_zero_and_one(dtype: Any, isa: str) -> None:
    eps, tiny = float(np.finfo(dtype).eps), float(np.finfo(dtype).smallest_subnormal)
    ends = np.array([eps / 2, eps, 3 * eps, 0.25, 0.5, 0.75])
    near = np.concatenate([1 - ends, ends, 0.25 + ends[:3], 0.5 - ends[:3], 0.5 + ends[:3], 0.75 - ends[:3]])
    small = np.array([tiny, 3 * tiny, np.finfo(dtype).smallest_normal, 1e-30, 1e-20])
    p = np.concatenate([near, small]).astype(dtype)
    for y in (np.zeros(len(p)), np.ones(len(p)), np.full(len(p), 0.3)):
        for options in ({}, {"label_smoothing": 0.25}, {"pos_weight": 2.5}):
            got = fx.binary_cross_entropy(p, y.astype(dtype), grad=True, hess=True, reduction="none", **options)
            assert_exact(got, oracle.binary_cross_entropy(p, y.astype(dtype), reduction="none", **options))


@both_dtypes
def test_a_target_keeps_its_bits_whatever_its_neighbours_are(dtype: Any, isa: str) -> None:
    """Vectors of hard targets only take another way."""
    rng = np.random.default_rng(0)
    p = rng.random(64).astype(dtype)
    hard = rng.integers(0, 2, 64).astype(dtype)
    for options in ({}, {"pos_weight": 2.5}, {"eps": 0.1}, {"label_smoothing": 0.1}):
        wanted = fx.binary_cross_entropy(p, hard, grad=True, hess=True, reduction="none", **options)
        for at in range(0, 64, 5):
            y = hard.copy()
            y[at] = 0.5
            got = fx.binary_cross_entropy(p, y, grad=True, hess=True, reduction="none", **options)
            for a, b in zip(got, wanted, strict=True):
                assert same_bits(np.delete(a, at), np.delete(b, at))


@both_dtypes
def test_nan_and_weights_of_zero(dtype: Any, isa: str) -> None:
    p = np.array([NAN, 0.5, NAN, 7.0, -1.0, 1.0], dtype)
    y = np.array([0, 1, 1, 0, 1, 0], dtype)
    w = np.array([1, 1, 0, 0, 0, 0], dtype)
    for options in ({}, {"label_smoothing": 0.1}, {"eps": 0.1}, {"pos_weight": 0.0}, {"pos_weight": 2.0}):
        got = fx.binary_cross_entropy(p, y, sample_weight=w, grad=True, hess=True, reduction="none", **options)
        for a in got:
            assert np.isnan(a[0])
            assert np.isfinite(a[1])
            assert same_bits(a[2:], np.zeros(4, dtype))
        buffer = np.full(6, 7, dtype)
        fx.binary_cross_entropy(p, y, sample_weight=w, grad=buffer, reduction="none", **options)
        assert same_bits(buffer, got[1])


# ---- one outcome: options --------------------------------------------------------------------------------------


@both_dtypes
def test_binary_clipping(dtype: Any, isa: str) -> None:
    p = np.array([0, 1e-9, 0.004, 0.01, 0.5, 0.99, 0.999, 1], dtype)
    eps = 0.0078125
    inside = (p >= eps) & (p <= 1 - eps)
    for y in (np.zeros(8), np.ones(8), np.full(8, 0.25)):
        clipped = fx.binary_cross_entropy(p, y, eps=eps, grad=True, hess=True, reduction="none")
        plain = fx.binary_cross_entropy(np.clip(p, eps, 1 - eps), y, grad=True, hess=True, reduction="none")
        assert oracle.ulp_error(clipped[0], plain[0]).max() <= 2
        for a, b in zip(clipped[1:], plain[1:], strict=True):
            assert not a[~inside].any()
            assert oracle.ulp_error(a[inside], b[inside]).max() <= 4
        # The bound is eps itself, not what the dtype makes of 1 - eps.
        exact = oracle.binary_cross_entropy(p, y, eps=1e-7, reduction="none")
        got = fx.binary_cross_entropy(p, y, eps=1e-7, grad=True, hess=True, reduction="none")
        assert_exact(got, exact)
    half = fx.binary_cross_entropy(p, np.ones(8), eps=0.5, reduction="none")
    np.testing.assert_allclose(half, np.log(2), rtol=1e-6)


@both_dtypes
def test_weights_of_positive_targets_by_column(dtype: Any, isa: str) -> None:
    rng = np.random.default_rng(1)
    for shape in ((400, 7), (3, 2050), (5, 4, 9), (11,)):
        p = rng.random(shape).astype(dtype)
        y = rng.integers(0, 2, shape).astype(dtype)
        factors = rng.random(shape[-1]) * 3
        options = {"grad": True, "hess": True, "reduction": "none"}
        got = fx.binary_cross_entropy(p, y, pos_weight=factors, **options)
        assert_exact(got, oracle.binary_cross_entropy(p, y, pos_weight=factors, reduction="none"))
        for source in (np.asfortranarray(p), np.repeat(p, 2, axis=-1)[..., ::2]):
            for a, b in zip(got, fx.binary_cross_entropy(source, y, pos_weight=factors, **options), strict=True):
                assert same_bits(a, b)
        same = fx.binary_cross_entropy(p, y, pos_weight=np.full(shape[-1], 2.5), **options)
        for a, b in zip(same, fx.binary_cross_entropy(p, y, pos_weight=2.5, **options), strict=True):
            assert same_bits(a, b)
        if len(shape) == 2:
            csr = fx.binary_cross_entropy(p, scipy.sparse.csr_array(y), pos_weight=factors.tolist(), **options)
            for a, b in zip(got, csr, strict=True):
                assert same_bits(a, b)


@given(
    hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(0.0, 1.0)),
    st.sampled_from([np.float32, np.float64]),
    st.data(),
)
def test_binary_against_the_oracle(p: np.ndarray, dtype: Any, data: st.DataObject) -> None:
    with np.errstate(under="ignore"):
        p = p.astype(dtype)
    y = data.draw(hnp.arrays(np.float64, len(p), elements=st.sampled_from([0.0, 1.0, 0.25, 0.5, 1e-3]))).astype(dtype)
    options = data.draw(
        st.fixed_dictionaries(
            {},
            optional={
                "label_smoothing": st.sampled_from([0.1, 1.0]),
                "pos_weight": st.sampled_from([0.0, 0.3, 4.0]),
                "eps": st.sampled_from([1e-7, 0.0625]),
            },
        )
    )
    got = fx.binary_cross_entropy(p, y, grad=True, hess=True, reduction="none", **options)
    with np.errstate(all="ignore"):
        assert_exact(got, oracle.binary_cross_entropy(p, y, reduction="none", **options))


@given(hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(-30, 30)))
def test_binary_is_the_sigmoid_loss_of_the_scores(x: np.ndarray) -> None:
    """As far as the probabilities tell what the scores were."""
    y = np.arange(len(x)) % 2
    p = fx.expit(x)
    by_scores = fx.sigmoid_cross_entropy(x, y, reduction="none")
    by_probabilities = fx.binary_cross_entropy(p, y, reduction="none")
    lost = 4 * np.finfo(np.float64).eps / np.minimum(p, 1 - p).clip(1e-16)
    assert (np.abs(by_probabilities - by_scores) <= lost).all()


def test_two_classes_are_one_outcome() -> None:
    """Where 1 - p is exact."""
    p = np.arange(1, 256) / 256
    y = np.arange(255) % 2
    both = np.stack([1 - p, p], axis=1)
    one = fx.binary_cross_entropy(p, y, reduction="none")
    assert oracle.ulp_error(fx.categorical_cross_entropy(both, y, reduction="none"), one).max() <= 2
    two, grad = fx.categorical_cross_entropy(both, y, normalize=True, grad=True, reduction="none")
    assert oracle.ulp_error(two, one).max() <= 2
    # With respect to p alone, the other being 1 - p.
    slope = fx.binary_cross_entropy(p, y, grad=True, reduction="none")[1]
    np.testing.assert_allclose(grad[:, 1] - grad[:, 0], slope, rtol=1e-14)


# ---- several classes: special values ---------------------------------------------------------------------------


@pytest.mark.parametrize("classes", LENGTHS)
@both_dtypes
def test_labels_without_probability(dtype: Any, classes: int, isa: str) -> None:
    p = np.zeros((3, classes), dtype)
    p[:, 0] = [1, 1, 0.5]
    labels = np.array([0, 1, 0])
    one_hot = oracle.one_hot(labels, classes, dtype)
    for targets in (labels, one_hot, scipy.sparse.csr_array(one_hot)):
        loss, grad, hess = fx.categorical_cross_entropy(p, targets, grad=True, hess=True, reduction="none")
        np.testing.assert_array_equal(loss, np.array([0, INF, np.log(dtype(2))], dtype))
        wanted = np.zeros((3, classes), dtype)
        wanted[[0, 1, 2], labels] = [-1, -INF, -2]
        assert same_bits(np.abs(grad), np.abs(wanted))
        assert (grad <= 0).all()
        wanted[[0, 1, 2], labels] = [1, INF, 4]
        np.testing.assert_array_equal(hess, wanted)
        assert fx.categorical_cross_entropy(p, targets) == INF
        # A sum of 1 or 1/2: the same, without what the row shares out.
        loss, grad = fx.categorical_cross_entropy(p, targets, normalize=True, grad=True, reduction="none")
        np.testing.assert_array_equal(loss, np.array([0, INF, 0], dtype))
        np.testing.assert_array_equal(grad[[0, 2], 0], np.zeros(2, dtype))
        assert grad[1, 1] == -INF


@both_dtypes
def test_zero_times_the_logarithm_of_zero_is_zero(dtype: Any, isa: str) -> None:
    for classes in (3, 10, 33, 100):
        p = distributions(np.random.default_rng(2), 2, classes, dtype)
        p[:, 1] = 0
        dense = np.zeros((2, classes))
        dense[:, 0] = 0.75
        dense[1, 2] = 0.25
        indices = [1, 0, 2, 1, 0]
        csr = scipy.sparse.csr_array(([0.0, 0.75, 0.25, 0.0, 0.75], indices, [0, 2, 5]), shape=(2, classes))
        for normalize in (False, True):
            exact = oracle.categorical_cross_entropy(p, dense, normalize=normalize, reduction="none")
            assert np.isfinite(exact.loss.astype(float)).all()
            for targets in (dense, dense.astype(np.float32), csr):
                got = fx.categorical_cross_entropy(
                    p, targets, normalize=normalize, grad=True, hess=True, reduction="none"
                )
                assert_exact(got, exact)
        # Smoothing puts a weight there.
        assert fx.categorical_cross_entropy(p, dense, label_smoothing=0.1) == INF
        assert fx.categorical_cross_entropy(p, [0, 0], label_smoothing=0.1) == INF
        # Of a smoothed target, nothing may be left.
        for targets in ([0, 1], dense, csr):
            assert fx.categorical_cross_entropy(p, targets, label_smoothing=1.0) == INF
            even = fx.categorical_cross_entropy(p, targets, label_smoothing=1.0, eps=0.125)
            assert even == pytest.approx(-np.log(np.clip(p.astype(np.float64), 0.125, 0.875)).mean(), rel=1e-6)


@pytest.mark.parametrize("classes", LENGTHS)
@both_dtypes
def test_what_is_left_of_a_row_does_not_cancel(dtype: Any, classes: int, isa: str) -> None:
    """One class holds all but a millionth, a rounding, or nothing at all of a row, at every position."""
    eps = float(np.finfo(dtype).eps)
    for rest in (1e-6, eps, eps / 4, 1e-30, 0.0):
        for size in (1.0, 0.75, 3.0, 2.0**-100, 2.0**100):
            labels = np.arange(classes) if classes <= 100 else np.array([0, 1, 15, 16, 500, classes - 2, classes - 1])
            at_label = oracle.one_hot(labels, classes)
            with np.errstate(under="ignore"):
                p = np.where(at_label > 0, size, rest * size / (classes - 1)).astype(dtype)
            for targets in (labels, at_label * 0.5 + np.roll(at_label, 1, 1) * 0.5):
                if rest == 0.0 and targets is not labels:
                    continue
                got = fx.categorical_cross_entropy(p, targets, normalize=True, grad=True, hess=True, reduction="none")
                exact = oracle.categorical_cross_entropy(p, targets, normalize=True, reduction="none")
                assert_exact(got, exact)


@both_dtypes
def test_masses_of_any_size(dtype: Any, isa: str) -> None:
    """Next to the ends of the range, and a row of very different ones."""
    rng = np.random.default_rng(3)
    info = np.finfo(dtype)
    for classes in (3, 40):
        p = distributions(rng, 12, classes, dtype)
        with np.errstate(under="ignore"):
            p[1::3] *= info.smallest_normal * 64
        p[2::3] *= info.max / 64
        p[3] = info.smallest_subnormal
        p[4, 0] = info.max / 4
        labels = rng.integers(0, classes, 12)
        labels[4] = 1
        soft = rng.random((12, classes)).astype(dtype)
        for targets in (labels, soft):
            for smoothing in (0.0, 0.1):
                options = {"normalize": True, "reduction": "none", "label_smoothing": smoothing}
                got = fx.categorical_cross_entropy(p, targets, grad=True, hess=True, **options)
                with np.errstate(all="ignore"):
                    exact = oracle.categorical_cross_entropy(p, targets, **options)
                    assert oracle.ulp_error(got[0], exact.loss).max() <= 2
                    assert not np.isnan(got[1]).any()
                    assert not np.isnan(got[2]).any()
                    flushed = np.abs(exact.grad) < 64 * float(info.smallest_normal)
                    error = oracle.ulp_error(got[1], exact.grad, exact.scale)
                    assert error[~flushed].max() <= 4


@both_dtypes
def test_normalising_does_not_depend_on_the_size(dtype: Any, isa: str) -> None:
    rng = np.random.default_rng(4)
    for classes in LENGTHS:
        p = rng.random((6, classes)).astype(dtype)
        for targets in (rng.integers(0, classes, 6), rng.random((6, classes)).astype(dtype)):
            for options in ({}, {"eps": 0.01}, {"label_smoothing": 0.2}):
                options = {"normalize": True, "grad": True, "reduction": "none", **options}
                loss, grad = fx.categorical_cross_entropy(p, targets, **options)
                for power in (-20, -1, 3, 40):
                    got = fx.categorical_cross_entropy(np.ldexp(p, power), targets, **options)
                    assert same_bits(got[0], loss)
                    assert oracle.ulp_error(np.ldexp(got[1], power), grad).max() <= 1
                # Along the row itself nothing changes.
                turned = (grad.astype(np.float64) * p).sum(1)
                assert (np.abs(turned) <= 8 * np.finfo(dtype).eps * np.abs(grad * p).sum(1, dtype=np.float64)).all()


@both_dtypes
def test_categorical_clipping(dtype: Any, isa: str) -> None:
    eps = 0.0078125
    for classes in (2, 5, 40):
        p = np.full((5, classes), 1e-4, dtype)
        p[:, 0] = [1, 0, 0.999, 0.5, 0.004]
        p[:, 1] = [0, 1, 0.002, 0.25, 0.5]
        inside = (p >= eps) & (p <= 1 - eps)
        dense = np.full((5, classes), 0.25)
        for targets in (np.zeros(5, int), np.ones(5, int), dense, scipy.sparse.csr_array(dense)):
            full = targets.toarray() if hasattr(targets, "toarray") else targets
            clipped = fx.categorical_cross_entropy(p, targets, eps=eps, grad=True, hess=True, reduction="none")
            plain = fx.categorical_cross_entropy(np.clip(p, eps, 1 - eps), full, grad=True, reduction="none")
            assert oracle.ulp_error(clipped[0], plain[0]).max() <= 4
            assert not clipped[1][~inside].any()
            assert not clipped[2][~inside].any()
            assert oracle.ulp_error(clipped[1][inside], plain[1][inside]).max() <= 4
            for options in ({"eps": 1e-7}, {"eps": eps, "normalize": True}, {"eps": eps, "label_smoothing": 0.1}):
                got = fx.categorical_cross_entropy(p, targets, grad=True, hess=True, reduction="none", **options)
                assert_exact(got, oracle.categorical_cross_entropy(p, targets, reduction="none", **options))


def test_nan_stays_in_its_row() -> None:
    for dtype, classes, normalize in itertools.product((np.float32, np.float64), LENGTHS, (False, True)):
        p = distributions(np.random.default_rng(5), 3, classes, dtype)
        p[1, classes - 1] = NAN
        buffer = np.full((3, classes), 7, dtype)
        loss, grad = fx.categorical_cross_entropy(p, [0, 0, 1], grad=buffer, normalize=normalize, reduction="none")
        assert np.isnan(loss).tolist() == [False, True, False]
        assert np.isnan(grad).all(1).tolist() == [False, True, False]
        assert np.isfinite(grad[[0, 2]]).all()


# ---- several classes: options ------------------------------------------------------------------------------------

WEIGHTS = {"sample_weight": np.array([1.0, 0.0, 2.5, 0.5, 3.0, 1.0, 0.25]), "class_weight": np.array([0.5, 0, 2, 1.5])}
OPTIONS: dict[str, tuple[Any, Any]] = {
    "sample_weight": (None, WEIGHTS["sample_weight"]),
    "class_weight": (None, WEIGHTS["class_weight"]),
    "label_smoothing": (0.0, 0.125),
    "eps": (0.0, 0.15),
    "normalize": (False, True),
    "reduction": ("mean", "none"),
}


def pairs() -> list[dict[str, Any]]:
    """Every two options together, at both of their values; the others off, or all on."""
    cases = {}
    for pair in itertools.combinations(OPTIONS, 2):
        for chosen in itertools.product((0, 1), (0, 1)):
            for others in (0, 1):
                which = dict.fromkeys(OPTIONS, others) | dict(zip(pair, chosen, strict=True))
                cases[tuple(which.values())] = {name: OPTIONS[name][number] for name, number in which.items()}
    return list(cases.values())


@pytest.mark.parametrize("form", ["labels", "one-hot", "dense", "csr", "ignored"])
@both_dtypes
def test_options_together(dtype: Any, form: str, isa: str) -> None:
    rng = np.random.default_rng(6)
    p = distributions(rng, 7, 4, dtype, 0.05)
    labels = np.array([0, 1, 2, 3, 2, 1, 0])
    dense = rng.random((7, 4)).astype(dtype)
    csr = scipy.sparse.csr_array(np.where(dense < 0.5, dense, 0))
    ignored = np.where(labels == 3, -1, labels)
    forms = {"labels": labels, "one-hot": oracle.one_hot(labels, 4), "dense": dense, "csr": csr, "ignored": ignored}
    extra = {"ignore_index": -1} if form == "ignored" else {}
    for options in pairs():
        got = fx.categorical_cross_entropy(p, forms[form], grad=True, hess=True, **options, **extra)
        exact = oracle.categorical_cross_entropy(p, forms[form], **options, **extra)
        assert_exact((dtype(got[0]) if options["reduction"] == "mean" else got[0], *got[1:]), exact)
        buffer = p.copy()
        again = fx.categorical_cross_entropy(buffer, forms[form], grad=buffer, **options, **extra)
        assert same_bits(again[0], got[0])
        assert same_bits(buffer, got[1])
        if form == "one-hot":
            for a, b in zip(got, fx.categorical_cross_entropy(p, labels, grad=True, hess=True, **options), strict=True):
                assert same_bits(a, b)


@pytest.mark.parametrize("form", ["labels", "dense"])
def test_gradients_are_slopes_of_the_loss(form: str) -> None:
    """Central differences of the library's own loss, in float64, away from where clipping begins."""
    rng = np.random.default_rng(7)
    p = 0.2 + 0.6 * rng.random((7, 4))
    targets = np.array([0, 1, 2, 3, 2, 1, 0]) if form == "labels" else rng.random((7, 4))
    step = 1e-5
    for options in pairs():
        options = options | {"reduction": "sum"}
        _, grad, hess = fx.categorical_cross_entropy(p, targets, grad=True, hess=True, **options)
        bound = options["eps"] * (p.sum(1, keepdims=True) if options["normalize"] else 1)
        for at in np.ndindex(p.shape):
            if np.abs(p - bound).min() < 1e-3:
                continue
            up, down = p.copy(), p.copy()
            up[at] += step
            down[at] -= step
            above, above_grad = fx.categorical_cross_entropy(up, targets, grad=True, **options)
            below, below_grad = fx.categorical_cross_entropy(down, targets, grad=True, **options)
            width = up[at] - down[at]
            assert abs((above - below) / width - grad[at]) < 1e-6
            assert abs((above_grad[at] - below_grad[at]) / width - hess[at]) < 1e-6


def test_binary_gradients_are_slopes_of_the_loss() -> None:
    rng = np.random.default_rng(8)
    p, y = 0.2 + 0.6 * rng.random((5, 3)), rng.random((5, 3))
    step = 1e-5
    for smoothing, positive, eps in itertools.product((0.0, 0.2), (1.0, 2.5), (0.0, 0.1)):
        options = {"label_smoothing": smoothing, "pos_weight": positive, "eps": eps, "sample_weight": rng.random(5)}
        _, grad, hess = fx.binary_cross_entropy(p, y, grad=True, hess=True, **options)
        for at in np.ndindex(p.shape):
            up, down = p.copy(), p.copy()
            up[at] += step
            down[at] -= step
            above, above_grad = fx.binary_cross_entropy(up, y, grad=True, **options)
            below, below_grad = fx.binary_cross_entropy(down, y, grad=True, **options)
            width = up[at] - down[at]
            assert abs((above - below) / width - grad[at]) < 1e-7
            assert abs((above_grad[at] - below_grad[at]) / width - hess[at]) < 1e-7


def test_class_weights_are_weights_of_rows() -> None:
    rng = np.random.default_rng(9)
    p = distributions(rng, 30, 4)
    labels = rng.integers(0, 4, 30)
    by_class, by_row = np.array([0.5, 0.0, 2.0, 1.25]), rng.random(30)
    for smoothing in (0.0, 0.1):
        options = {"grad": True, "label_smoothing": smoothing}
        a = fx.categorical_cross_entropy(p, labels, class_weight=by_class, sample_weight=by_row, **options)
        b = fx.categorical_cross_entropy(p, labels, sample_weight=by_row * by_class[labels], **options)
        assert a[0] == pytest.approx(b[0], rel=1e-15)
        np.testing.assert_allclose(a[1], b[1], rtol=1e-15)
    dense = rng.random((30, 4))
    for targets in (dense, dense.astype(np.float32), scipy.sparse.csr_array(dense)):
        full = targets.toarray() if hasattr(targets, "toarray") else targets.astype(np.float64)
        a = fx.categorical_cross_entropy(p, targets, class_weight=by_class.tolist(), reduction="none")
        b = fx.categorical_cross_entropy(p, targets, sample_weight=full @ by_class, reduction="none")
        np.testing.assert_allclose(a, b, rtol=1e-14)
    # As torch does with labels: rows of the weights' sum.
    total = (by_class[labels] * -np.log(p[np.arange(30), labels])).sum() / by_class[labels].sum()
    assert fx.categorical_cross_entropy(p, labels, class_weight=by_class) == pytest.approx(total, rel=1e-14)
    assert fx.categorical_cross_entropy(p, np.ones(30, int), class_weight=by_class) == 0.0


def test_the_softmax_loss_is_that_of_normalised_exponentials() -> None:
    rng = np.random.default_rng(10)
    for classes in (2, 10, 100):
        z = rng.standard_normal((20, classes)) * 5
        labels = rng.integers(0, classes, 20)
        p = np.exp(z)
        wanted = fx.softmax_cross_entropy(z, labels, label_smoothing=0.1)
        assert fx.categorical_cross_entropy(p, labels, label_smoothing=0.1, normalize=True) == pytest.approx(wanted)
        assert fx.categorical_cross_entropy(fx.softmax(z, axis=1), labels) == pytest.approx(
            fx.softmax_cross_entropy(z, labels)
        )


def test_ignored_rows_may_hold_anything() -> None:
    p = np.array([[0.25, 0.75], [9.0, -3.0], [0.0, 0.0], [NAN, NAN], [0.5, 0.5]])
    labels = np.array([1, -1, -1, -1, 0])
    wanted = fx.categorical_cross_entropy(p[[0, 4]], [1, 0])
    for normalize in (False, True):
        for grad in (True, np.full((5, 2), 7.0)):
            loss, slope = fx.categorical_cross_entropy(p, labels, ignore_index=-1, normalize=normalize, grad=grad)
            assert loss == pytest.approx(wanted, rel=1e-15)
            assert not slope[1:4].any()
        weights = (labels >= 0).astype(float)
        again = fx.categorical_cross_entropy(p, np.abs(labels), sample_weight=weights, normalize=normalize)
        assert again == pytest.approx(wanted, rel=1e-15)
    assert fx.categorical_cross_entropy(p[1:4], labels[1:4], ignore_index=-1) == 0.0


@both_dtypes
def test_every_length_and_alignment(dtype: Any, isa: str) -> None:
    """Nothing outside of a buffer is written, and its alignment does not show."""
    rng = np.random.default_rng(11)
    for n in range(2, 140, 3):
        p = distributions(rng, 3, n, dtype)
        labels = rng.integers(0, n, 3)
        soft = rng.random((3, n)).astype(dtype)
        for function, targets in (
            (fx.categorical_cross_entropy, labels),
            (fx.categorical_cross_entropy, soft),
            (fx.binary_cross_entropy, soft),
            (fx.binary_cross_entropy, (soft > 0.5).astype(dtype)),
        ):
            for normalize in (False, True) if function is fx.categorical_cross_entropy else (None,):
                options = {} if normalize is None else {"normalize": normalize}
                wanted = function(p, targets, grad=True, hess=True, reduction="none", **options)
                for offset in (0, 1, 5):
                    room = np.full((2, 3 * n + 16), -7, dtype)
                    grad, hess = (part[offset : offset + 3 * n].reshape(3, n) for part in room)
                    function(p, targets, grad=grad, hess=hess, reduction="none", **options)
                    assert same_bits(grad, wanted[1])
                    assert same_bits(hess, wanted[2])
                    assert (room[:, :offset] == -7).all()
                    assert (room[:, offset + 3 * n :] == -7).all()


def test_nothing_at_all() -> None:
    for dtype in (np.float32, np.float64):
        assert fx.binary_cross_entropy(np.empty(0, dtype), np.empty(0)) == 0.0
        assert fx.binary_cross_entropy(np.empty((0, 3), dtype), np.empty((0, 3)), reduction="none").shape == (0, 3)
        loss, grad = fx.categorical_cross_entropy(np.empty((0, 3), dtype), np.empty(0, int), grad=True)
        assert loss == 0.0
        assert grad.shape == (0, 3)
        assert fx.categorical_cross_entropy(np.empty((0, 3), dtype), np.empty((0, 3)), normalize=True) == 0.0
    assert fx.binary_cross_entropy(0.5, 1) == pytest.approx(np.log(2))


# ---- refusals ----------------------------------------------------------------------------------------------------


def refuse(
    function: Any, p: Any, targets: Any, *says: str, error: type[Exception] = ValueError, **options: Any
) -> None:
    """With every way to ask for a gradient; nothing is written."""
    ways: list[dict[str, Any]] = [{}, {"grad": True, "hess": True}, {"grad": np.full(np.shape(p), 7.0)}]
    ways += [{"hess": np.full(np.shape(p), 7.0)}, {"grad": p}]
    for way in ways:
        for reduction in ("mean", "none"):
            kept = np.array(p)
            with pytest.raises(error) as caught:
                function(p, targets, reduction=reduction, **way, **options)
            for words in says:
                assert words in str(caught.value), str(caught.value)
            assert same_bits(p, kept)
            for buffer in way.values():
                assert buffer is True or buffer is p or (buffer == 7).all()


@pytest.mark.parametrize("value", [-0.5, 1.5, 40.0, -INF, INF])
def test_scores_are_no_probabilities(value: float) -> None:
    for shape, at in (((7, 5), (3, 2)), ((5000, 3), (4999, 0)), ((2, 5000), (1, 4321))):
        p = np.full(shape, 1 / shape[1])
        p[at] = value
        where = f"probabilities[{at[0]}, {at[1]}]"
        scores = "these look like scores" if abs(value - 0.5) > 0.6 else "rounding"
        for targets in (np.zeros(shape[0], int), np.full(shape, 0.25), scipy.sparse.csr_array(np.eye(*shape))):
            refuse(fx.categorical_cross_entropy, p, targets, where, str(value), scores, "softmax_cross_entropy")
        for targets in (np.zeros(shape, np.int8), np.full(shape, 0.25), scipy.sparse.csr_array(np.eye(*shape))):
            refuse(fx.binary_cross_entropy, p, targets, where, str(value), scores, "sigmoid_cross_entropy")


def test_no_slack_above_one() -> None:
    p = np.array([[0.5, 0.5], [0.0, np.nextafter(1.0, 2.0)]])
    refuse(fx.categorical_cross_entropy, p, [0, 1], "probabilities[1, 1]", "normalize=True", "numpy.clip")
    refuse(fx.binary_cross_entropy, p, np.zeros((2, 2)), "probabilities[1, 1]", "numpy.clip")
    assert fx.categorical_cross_entropy(p, [0, 1], normalize=True) == pytest.approx(np.log(2) / 2)


def test_the_place_is_that_of_the_array() -> None:
    p = np.full((2, 3, 4), 0.25)
    p[1, 2, 3] = 2
    refuse(fx.categorical_cross_entropy, p, np.zeros((2, 4), int), "probabilities[1, 2, 3]", axis=1)
    refuse(fx.categorical_cross_entropy, p, np.zeros((3, 4), int), "probabilities[1, 2, 3]", axis=0)
    refuse(fx.categorical_cross_entropy, p, np.zeros((2, 3), int), "probabilities[1, 2, 3]")
    refuse(fx.binary_cross_entropy, p, np.zeros((2, 3, 4)), "probabilities[1, 2, 3]")
    flat = np.array([0.25, 1.75])
    refuse(fx.categorical_cross_entropy, flat, 0, "probabilities[1]", "1.75")


def test_masses_to_normalise() -> None:
    good = np.array([[1e300, 3.0], [0.0, 1e-300], [5.0, 0.0]])
    fx.categorical_cross_entropy(good, [0, 1, 0], normalize=True)
    for value, words in ((-1e-9, "not negative"), (INF, "finite")):
        p = good.copy()
        p[1, 0] = value
        refuse(fx.categorical_cross_entropy, p, [0, 1, 0], "probabilities[1, 0]", words, normalize=True)
    p = good.copy()
    p[1] = 0
    for targets in ([0, 1, 0], np.full((3, 2), 0.5)):
        refuse(fx.categorical_cross_entropy, p, targets, "row 1", "sum to 0", "sample_weight", normalize=True)
    p[1] = 1e308
    p[1, 1] = 1.7e308
    refuse(fx.categorical_cross_entropy, p, [0, 1, 0], "row 1", "sum to inf", normalize=True)


def test_options_out_of_range() -> None:
    p, one = np.full((3, 4), 0.25), np.zeros((3, 4))
    for eps, error in ((-1e-9, ValueError), (0.6, ValueError), (NAN, ValueError), ("1", TypeError), (True, TypeError)):
        refuse(fx.categorical_cross_entropy, p, [0, 1, 2], "eps", error=error, eps=eps)
        refuse(fx.binary_cross_entropy, p, one, "eps", error=error, eps=eps)
    refuse(fx.categorical_cross_entropy, p, [0, 1, 2], "normalize", error=TypeError, normalize=1)
    for weights, words in ((np.ones(3), "4 classes"), (np.array([1, 1, -1, 1]), "class_weight[2]"), (1.0, "()")):
        refuse(fx.categorical_cross_entropy, p, [0, 1, 2], "class_weight", words, class_weight=weights)
    for weights, words in ((np.ones(3), "(4,)"), (np.array([1, 1, NAN, 1]), "pos_weight[2]"), (-1.0, "-1")):
        refuse(fx.binary_cross_entropy, p, one, "pos_weight", words, pos_weight=weights)
    refuse(fx.categorical_cross_entropy, np.ones((3, 1)), [0, 0, 0], "binary_cross_entropy")
    refuse(fx.binary_cross_entropy, p, [0, 1, 2], "categorical_cross_entropy", "never broadcast")
    with pytest.raises(ValueError, match=r"finite as float32"):
        fx.categorical_cross_entropy(p.astype(np.float32), scipy.sparse.csr_array(np.eye(3, 4) * 1e39))


def test_buffers_that_overlap_weights() -> None:
    room = np.full((4, 4), 0.25)
    for name in ("class_weight", "sample_weight"):
        with pytest.raises(ValueError, match=f"grad overlaps {name}"):
            fx.categorical_cross_entropy(np.full((4, 4), 0.25), np.zeros(4, int), grad=room, **{name: room[0]})
    with pytest.raises(ValueError, match="grad overlaps pos_weight"):
        fx.binary_cross_entropy(np.full((4, 4), 0.25), np.zeros((4, 4)), grad=room, pos_weight=room[0])


# ---- numbers that others have published ------------------------------------------------------------------------


def test_published_numbers() -> None:
    """As printed in the documentation of Keras, TensorFlow and scikit-learn, to the digits printed."""
    y, p = [[0, 1, 0], [0, 0, 1]], [[0.05, 0.95, 0], [0.1, 0.8, 0.1]]
    # keras.losses.CategoricalCrossentropy
    assert fx.categorical_cross_entropy(p, y) == pytest.approx(1.177, abs=5e-4)
    np.testing.assert_allclose(fx.categorical_cross_entropy(p, y, reduction="none"), [0.0513, 2.303], atol=5e-4)
    np.testing.assert_allclose(
        fx.categorical_cross_entropy(p, [1, 2], reduction="none"), [0.0512932943876, 2.30258509299], rtol=1e-11
    )
    # keras.losses.binary_crossentropy, which takes the mean of a row
    rows = fx.binary_cross_entropy([[0.6, 0.4], [0.4, 0.6]], [[0, 1], [0, 0]], reduction="none").mean(1)
    np.testing.assert_allclose(rows, [0.916290731874, 0.71355817782], rtol=1e-11)
    # tf.keras.backend.categorical_crossentropy
    p = [[0.9, 0.05, 0.05], [0.05, 0.89, 0.06], [0.05, 0.01, 0.94]]
    rows = fx.categorical_cross_entropy(p, np.eye(3, dtype=int), reduction="none")
    np.testing.assert_allclose(rows, [0.10536, 0.11653, 0.06188], atol=5e-6)
    np.testing.assert_allclose(rows, [0.105360515658, 0.116533816256, 0.0618754037181], rtol=1e-11)
    # sklearn.metrics.log_loss
    p = [[0.1, 0.9], [0.9, 0.1], [0.8, 0.2], [0.35, 0.65]]
    assert fx.categorical_cross_entropy(p, [1, 0, 0, 1]) == pytest.approx(0.21616, abs=5e-6)
    p = [[0.3, 0.7], [0.6, 0.4], [0.4, 0.6], [0.7, 0.3]]
    assert fx.categorical_cross_entropy(p, [0, 1, 1, 0]) == pytest.approx(0.746941, abs=5e-7)
    # keras.losses.BinaryCrossentropy, 12.000716 there: its 1 - 1e-7 is that of a float32
    loss = fx.binary_cross_entropy([1.0, 1.0, 1.0, 0.0], [0, 0, 1, 1], eps=1e-7)
    assert loss == pytest.approx((3 * np.log(1e7) - np.log1p(-1e-7)) / 4, rel=1e-15)
    rounded = float(np.float32(1) - np.float32(1 - 1e-7))
    assert (2 * -np.log(rounded) + np.log(1e7)) / 4 == pytest.approx(12.000716, rel=1e-6)
