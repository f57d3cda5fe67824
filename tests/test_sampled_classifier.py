"""SampledSoftmaxClassifier: scikit-learn's checks, exact predictions, training that learns and can be repeated."""

from __future__ import annotations

import copy
import importlib.util
import pickle
import sys
import tracemalloc
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import scipy.special

if not importlib.util.find_spec("sklearn"):
    pytest.skip("needs scikit-learn", allow_module_level=True)

from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import subprocesses
from fastxent.linear_model import SampledSoftmaxClassifier, _sampled_softmax
from fastxent.samplers import FixedUnigramSampler, LogUniformSampler, Sampled
from losses import same_bits

LOSSES = ["sampled_softmax", "nce", "sampled_logistic"]


class FirstClass:
    """Draws the first class, always."""

    def sample(self, labels: np.ndarray, num_sampled: int) -> Sampled:
        return Sampled(np.zeros(num_sampled, np.int64), np.ones(labels.shape), np.ones(num_sampled))

    def __repr__(self) -> str:
        return "FirstClass()"


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [SampledSoftmaxClassifier(), *(SampledSoftmaxClassifier(loss, num_sampled=1, n_threads=1) for loss in LOSSES)]
)
def test_sklearn_checks(estimator: Any, check: Any) -> None:
    if estimator.num_sampled == 1 and "equivalence" in str(check):
        # Rows are to be worth their repetitions, to the last digit: without chance.
        estimator = clone(estimator).set_params(sampler=FirstClass())
    check(estimator)


def test_no_sklearn_check_is_skipped() -> None:
    """One of them asks for SciPy's array API, which is chosen when SciPy is imported."""
    code = """
import warnings
from sklearn.utils.estimator_checks import check_estimator
from fastxent.linear_model import SampledSoftmaxClassifier
warnings.simplefilter("ignore")
results = check_estimator(SampledSoftmaxClassifier(), on_skip=None, on_fail="raise")
print(len(results), [result["check_name"] for result in results if result["status"] != "passed"])
"""
    number, others = subprocesses.output(code, timeout=300, SCIPY_ARRAY_API="1").split(maxsplit=1)
    assert int(number) > 50 and others == "[]"


# ---- problems ------------------------------------------------------------------------------------------------


def clusters(classes: int, n: int, d: int, noise: float = 0.3, dtype: Any = np.float32) -> tuple[np.ndarray, ...]:
    """Rows around one direction for each class, every class among them; and the directions."""
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((classes, d)).astype(dtype)
    y = np.concatenate((np.arange(classes), rng.integers(classes, size=n - classes)))
    X = directions[y] + noise * rng.standard_normal((n, d)).astype(dtype)
    return X, y, directions


def some_labels(y: np.ndarray, classes: int, most: int) -> scipy.sparse.csr_array:
    """An indicator of up to so many labels a row, `y` among them but in every tenth row, which has none."""
    rng = np.random.default_rng(1)
    counts = rng.integers(1, most + 1, len(y))
    rows = np.repeat(np.arange(len(y)), counts)
    columns = np.where(np.r_[True, rows[1:] != rows[:-1]], np.repeat(y, counts), rng.integers(classes, size=len(rows)))
    kept = rows % 10 != 0
    indicator = scipy.sparse.csr_array(
        (np.ones(kept.sum(), np.int64), (rows[kept], columns[kept])), shape=(len(y), classes)
    )
    indicator.data[:] = 1
    return indicator


def with_weights(weight: np.ndarray, bias: np.ndarray, **options: Any) -> SampledSoftmaxClassifier:
    """A fitted estimator, its weights replaced."""
    classes, d = weight.shape
    model = SampledSoftmaxClassifier(max_iter=1, tol=None, **options)
    model.fit(np.zeros((classes, d), weight.dtype), np.arange(classes)[::-1] * 3)
    model.coef_, model.intercept_ = weight, bias
    return model


def all_state(model: SampledSoftmaxClassifier) -> list[np.ndarray]:
    return [model.coef_, model.intercept_, *model._squares]


def same_state(one: SampledSoftmaxClassifier, other: SampledSoftmaxClassifier) -> bool:
    return one.loss_curve_ == other.loss_curve_ and all(map(same_bits, all_state(one), all_state(other)))


# ---- predictions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["C", "F", "strided", "csr_array", "csr_matrix"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [2, 3, 1000])
def test_predictions_are_exact(classes: int, dtype: Any, kind: str) -> None:
    rng = np.random.default_rng(classes)
    weight, bias = rng.standard_normal((classes, 7)).astype(dtype), rng.standard_normal(classes).astype(dtype)
    X = rng.standard_normal((23, 7)).astype(dtype) * rng.integers(0, 2, (23, 7)).astype(dtype)
    given = {
        "C": lambda: X,
        "F": lambda: np.asfortranarray(X),
        "strided": lambda: np.repeat(np.repeat(X, 2, 0), 2, 1)[::2, ::2],
        "csr_array": lambda: scipy.sparse.csr_array(X),
        "csr_matrix": lambda: scipy.sparse.csr_matrix(X),
    }[kind]()
    model = with_weights(weight, bias)
    scores = X.astype(np.float64) @ weight.T.astype(np.float64) + bias
    near = {"rtol": 0, "atol": 30 * float(np.finfo(dtype).eps)}
    proba, log_proba, decision = (
        model.predict_proba(given),
        model.predict_log_proba(given),
        model.decision_function(given),
    )
    assert proba.dtype == log_proba.dtype == decision.dtype == dtype
    np.testing.assert_allclose(proba, scipy.special.softmax(scores, axis=1), **near)
    np.testing.assert_allclose(log_proba, scipy.special.log_softmax(scores, axis=1), **near)
    np.testing.assert_allclose(decision, scores[:, 1] - scores[:, 0] if classes == 2 else scores, **near)
    np.testing.assert_array_equal(model.predict(given), model.classes_[scores.argmax(axis=1)])
    top = model.predict_top_k(given, k=2)
    assert top.classes.shape == top.probabilities.shape == (23, 2) and top.probabilities.dtype == dtype
    np.testing.assert_array_equal(top.classes, model.classes_[np.argsort(-scores, axis=1)[:, :2]])
    np.testing.assert_allclose(
        top.probabilities, -np.sort(-scipy.special.softmax(scores, axis=1), axis=1)[:, :2], **near
    )


@pytest.mark.parametrize("classes, n", [(2, 50), (300, 40), (2000, 3000), (50_000, 100)])
@pytest.mark.parametrize("k", [1, 2, 30, None])
def test_top_k_is_the_head_of_all_scores_in_order(classes: int, n: int, k: int | None) -> None:
    """Whole numbers, of which many are equal: of these the first classes come first."""
    k = min(k or 500, classes)
    rng = np.random.default_rng(classes)
    # Scores that rise with the class, so that later blocks have better ones.
    weight = np.concatenate((rng.integers(-3, 4, (classes, 3)), np.sort(rng.integers(0, 9, (classes, 1)), 0)), 1)
    X = rng.integers(-2, 3, (n, 4))
    model = with_weights(weight.astype(np.float32), np.zeros(classes, np.float32))
    scores = (X @ weight.T).astype(np.float32)
    top = model.predict_top_k(X.astype(np.float32), k)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(top.classes, model.classes_[order])
    wanted = np.take_along_axis(scipy.special.softmax(scores.astype(np.float64), axis=1), order, 1)
    np.testing.assert_allclose(top.probabilities, wanted, rtol=1e-5)
    np.testing.assert_array_equal(model.predict(X.astype(np.float32)), model.classes_[scores.argmax(axis=1)])


def test_memory_of_top_k_is_bounded() -> None:
    classes, d, n = 100_000, 8, 1000
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d), dtype=np.float32)
    model = with_weights(rng.standard_normal((classes, d), dtype=np.float32), np.zeros(classes, np.float32))
    for call in (lambda: model.predict_top_k(X, 5), lambda: model.predict(X), lambda: model.score(X, np.zeros(n))):
        call()
        tracemalloc.start()
        call()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 80e6 < n * classes * 4 / 4


def test_several_labels_are_those_near_the_best() -> None:
    rng = np.random.default_rng(0)
    for classes in (5, 40_000):
        X = rng.standard_normal((50, 6))
        y = scipy.sparse.random_array((50, classes), density=2 / 5, rng=rng) if classes == 5 else None
        if y is None:
            y = some_labels(rng.integers(classes, size=50), classes, 3)
        model = SampledSoftmaxClassifier(max_iter=1, tol=None).fit(X, scipy.sparse.csr_array(y != 0))
        model.coef_ = rng.standard_normal(model.coef_.shape)
        proba = model.predict_proba(X)
        predicted = model.predict(X)
        assert scipy.sparse.issparse(predicted) and predicted.dtype == np.int64
        np.testing.assert_array_equal(predicted.toarray(), proba > proba.max(axis=1, keepdims=True) / 2)


# ---- training ------------------------------------------------------------------------------------------------


def test_objective_is_that_of_logistic_regression() -> None:
    X, y, _ = clusters(4, 200, 3, noise=2.0, dtype=np.float64)
    alpha = 0.02
    exact = LogisticRegression(C=1 / (alpha * len(y)), tol=1e-8, max_iter=1000).fit(X, y)
    model = SampledSoftmaxClassifier(alpha=alpha, learning_rate=1.0, max_iter=1000, tol=None, batch_size=200).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), exact.predict_proba(X), atol=1e-4)
    np.testing.assert_allclose(model.coef_, exact.coef_, atol=1e-3)


@pytest.mark.parametrize("num_sampled, least", [(100, 0.94), (4, 0.9)])
@pytest.mark.parametrize("loss", LOSSES)
def test_learns_digits(loss: str, num_sampled: int, least: float) -> None:
    X, y = load_digits(return_X_y=True)
    train, test, of_train, of_test = train_test_split(X / 16, y, random_state=0)
    model = SampledSoftmaxClassifier(loss, num_sampled=num_sampled, learning_rate=0.3, random_state=0)
    assert model.fit(train, of_train).score(test, of_test) > least
    assert model.loss_curve_[-1] < model.loss_curve_[0] / 2 and len(model.loss_curve_) == model.n_iter_ < 100


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("sampler", ["unigram", "log_uniform", "uniform"])
def test_learns_many_classes(loss: str, sampler: str) -> None:
    X, y, directions = clusters(20_000, 60_000, 32)
    options: dict[str, Any] = {"max_iter": 2, "tol": None, "random_state": 0, "n_threads": 1}
    model = SampledSoftmaxClassifier(loss, sampler=sampler, num_sampled=256, learning_rate=0.2, **options).fit(X, y)
    # Chance would be right once in 20,000 times.
    assert model.score(directions, np.arange(20_000)) > (0.8 if loss == "sampled_softmax" else 0.3)
    top = model.predict_top_k(directions[:200])
    assert (top.classes == np.arange(200)[:, None]).any(axis=1).mean() > 0.8
    assert model.coef_.dtype == model.intercept_.dtype == top.probabilities.dtype == np.float32


@pytest.mark.parametrize("loss", LOSSES)
def test_learns_several_labels(loss: str) -> None:
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((3000, 64)).astype(np.float32)
    truth = some_labels(rng.integers(3000, size=20_000), 3000, 3)
    X = (truth @ directions).astype(np.float32)
    options: dict[str, Any] = {"max_iter": 4, "tol": None, "random_state": 0, "n_threads": 1}
    model = SampledSoftmaxClassifier(loss, num_sampled=256, learning_rate=0.2, **options).fit(X, truth)
    first = model.classes_[model.predict_top_k(X, 1).classes[:, 0]]
    labelled = np.flatnonzero(np.diff(truth.indptr))
    precision = truth[labelled, first[labelled]].mean()
    assert precision > 0.9
    predicted = model.predict(X[labelled])
    hits = predicted.multiply(truth[labelled]).sum()
    assert hits / predicted.sum() > 0.6 and hits / truth.sum() > 0.5


@pytest.mark.parametrize("num_sampled", [7, 100])
def test_forms_of_labels_are_one(num_sampled: int) -> None:
    """Several labels of a row are examples of one label each, with equal weights."""
    X, y, _ = clusters(30, 400, 5, dtype=np.float64)
    options: dict[str, Any] = {"num_sampled": num_sampled, "max_iter": 3, "tol": None, "random_state": 3}
    one = SampledSoftmaxClassifier(**options).fit(X, y)
    indicator = scipy.sparse.csr_array((np.ones(400), (np.arange(400), y)))
    for form in (indicator, scipy.sparse.csr_matrix(indicator), indicator.toarray(), indicator.toarray().astype(bool)):
        other = SampledSoftmaxClassifier(**options).fit(X, form)
        assert other.multilabel_ and not one.multilabel_
        np.testing.assert_allclose(other.coef_, one.coef_, rtol=1e-12, atol=1e-12)
        assert scipy.sparse.issparse(other.predict(X)) == scipy.sparse.issparse(form)
    named = SampledSoftmaxClassifier(**options).fit(X, np.array([f"{label:02d}" for label in y]))
    assert same_state(named, one) and named.predict(X[:1])[0] == f"{one.predict(X[:1])[0]:02d}"

    several = some_labels(y, 30, 3)
    counts = np.diff(several.indptr)
    rows = np.repeat(np.arange(400), counts)
    by_row = SampledSoftmaxClassifier(**options).fit(X, several)
    by_label = SampledSoftmaxClassifier(**options).fit(X[rows], several.indices, (1 / np.maximum(counts, 1))[rows])
    assert same_state(by_row, by_label)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("num_sampled", [5, 100])
def test_forms_of_features_are_one(loss: str, num_sampled: int) -> None:
    X, y, _ = clusters(30, 300, 5)
    X[X < 0] = 0
    options: dict[str, Any] = {"num_sampled": num_sampled, "max_iter": 3, "tol": None, "random_state": 3}
    one = SampledSoftmaxClassifier(loss, **options).fit(X, y)
    assert same_state(SampledSoftmaxClassifier(loss, **options).fit(np.asfortranarray(X), y), one)
    sparse = SampledSoftmaxClassifier(loss, **options).fit(scipy.sparse.csr_array(X), y)
    np.testing.assert_allclose(sparse.coef_, one.coef_, rtol=0, atol=1e-5)
    assert one.coef_.dtype == sparse.coef_.dtype == np.float32
    assert SampledSoftmaxClassifier(loss, **options).fit(X.astype(int), y).coef_.dtype == np.float64


def test_penalty_and_intercept() -> None:
    X, y, _ = clusters(50, 2000, 8)
    options: dict[str, Any] = {"random_state": 0, "max_iter": 20, "tol": None}
    for num_sampled in (10, 100):
        norms = [
            np.linalg.norm(SampledSoftmaxClassifier(alpha=alpha, num_sampled=num_sampled, **options).fit(X, y).coef_)
            for alpha in (0.0, 0.001, 0.01)
        ]
        assert norms[0] > 1.05 * norms[1] > 1.2 * norms[2]
        without = SampledSoftmaxClassifier(num_sampled=num_sampled, fit_intercept=False, max_iter=2, tol=None).fit(X, y)
        assert not without.intercept_.any() and without.coef_.any()


def test_rows_of_weight_zero_are_left_out() -> None:
    X, y, _ = clusters(5, 100, 3)
    weights = np.ones(100)
    weights[::7] = 0
    y[0], X[14] = 77, 1e30
    options: dict[str, Any] = {"max_iter": 5, "tol": None, "random_state": 0}
    one = SampledSoftmaxClassifier(**options).fit(X, y, weights)
    other = SampledSoftmaxClassifier(**options).fit(X[weights > 0], y[weights > 0])
    assert 77 not in one.classes_
    np.testing.assert_allclose(one.coef_, other.coef_, rtol=1e-5)


# ---- repetition ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("num_sampled", [64, 1000])
def test_same_bits_for_a_seed_and_any_threads(loss: str, num_sampled: int) -> None:
    X, y, _ = clusters(500, 2000, 16)
    models = [
        SampledSoftmaxClassifier(
            loss, num_sampled=num_sampled, max_iter=2, tol=None, random_state=seed, n_threads=threads
        ).fit(X, y)
        for seed, threads in ((0, None), (0, 1), (0, 2), (1, 1))
    ]
    assert same_state(models[0], models[1]) and same_state(models[0], models[2])
    assert not same_state(models[0], models[3])
    tops = [model.predict_top_k(X) for model in models[:3]]
    for top in tops[1:]:
        assert same_bits(top.classes, tops[0].classes) and same_bits(top.probabilities, tops[0].probabilities)


@pytest.mark.parametrize("num_sampled", [64, 1000])
def test_partial_fit_is_an_epoch_and_warm_start_goes_on(num_sampled: int) -> None:
    X, y, _ = clusters(200, 1000, 6)
    options: dict[str, Any] = {"num_sampled": num_sampled, "tol": None, "random_state": 0}
    one = SampledSoftmaxClassifier(max_iter=1, **options).fit(X, y)
    part = SampledSoftmaxClassifier(**options).partial_fit(X, y, classes=np.arange(200))
    assert same_state(one, part)
    part.partial_fit(X, y)
    warm = SampledSoftmaxClassifier(max_iter=1, warm_start=True, **options).fit(X, y).fit(X, y)
    assert same_state(warm, part) and warm.n_iter_ == part.n_iter_ == 2
    cold = SampledSoftmaxClassifier(max_iter=2, **options).fit(X, y)
    assert same_state(warm, cold)
    assert same_state(cold.fit(X, y), warm)
    # Later calls may have few of the classes.
    part.partial_fit(X[:3], y[:3])
    assert part.n_iter_ == 3 and len(part.classes_) == 200


@pytest.mark.parametrize("sampler", ["unigram", "log_uniform", "uniform"])
def test_a_copy_goes_on_the_same(sampler: str) -> None:
    X, y, _ = clusters(300, 1000, 6)
    model = SampledSoftmaxClassifier(sampler=sampler, num_sampled=32, random_state=0)
    model.partial_fit(X, y, classes=np.arange(300))
    copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    model.partial_fit(X, y)
    for other in copies:
        assert not same_state(other, model)
        assert same_state(other.partial_fit(X, y), model)
    fresh = clone(model)
    assert fresh.get_params() == model.get_params() and not hasattr(fresh, "coef_")


def test_sampler_of_ones_own() -> None:
    X, y, _ = clusters(300, 1000, 6)
    sampler = FixedUnigramSampler(np.bincount(y), distortion=0.5, rng=0)
    model = SampledSoftmaxClassifier(sampler=sampler, num_sampled=32, max_iter=2, tol=None, random_state=0)
    one, other = (clone(model).fit(X, y) for _ in range(2))
    assert same_state(one, other)
    assert same_state(one.fit(X, y), other), "the sampler that was given has been used"


def test_search_and_pipeline() -> None:
    X, y = load_digits(return_X_y=True)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), SampledSoftmaxClassifier(random_state=0, max_iter=5, tol=None)),
        {"sampledsoftmaxclassifier__alpha": [0.0, 0.01], "sampledsoftmaxclassifier__num_sampled": [4, 100]},
        cv=3,
    ).fit(X, y)
    assert search.best_score_ > 0.85


def test_training_ends_without_improvement_or_warns() -> None:
    X, y, _ = clusters(4, 300, 3, noise=1.0)
    with pytest.warns(ConvergenceWarning, match="max_iter=3"):
        SampledSoftmaxClassifier(max_iter=3).fit(X, y)
    model = SampledSoftmaxClassifier(tol=10.0, n_iter_no_change=2).fit(X, y)
    assert model.n_iter_ == 3


# ---- interrupts, figures, refusals ---------------------------------------------------------------------------


def interrupted(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """A Ctrl-C in a step after so many."""
    steps = iter(range(after))
    step = SampledSoftmaxClassifier._step

    def stop(self: Any, *arguments: Any) -> float:
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(SampledSoftmaxClassifier, "_step", stop)


@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize("num_sampled", [32, 1000])
def test_interrupted_fit_changes_nothing(num_sampled: int, warm_start: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y, _ = clusters(200, 1000, 6)
    options: dict[str, Any] = {"num_sampled": num_sampled, "random_state": 0, "warm_start": warm_start}
    model = SampledSoftmaxClassifier(max_iter=2, tol=None, **options).fit(X, y)
    before, untouched = vars(model).copy(), copy.deepcopy(model)
    with monkeypatch.context() as patch:
        interrupted(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            model.fit(np.concatenate((X, X), axis=1) if not warm_start else X, y)
        fresh = SampledSoftmaxClassifier(**options)
        for call in (fresh.fit, lambda X, y: fresh.partial_fit(X, y, np.arange(200))):
            with pytest.raises(KeyboardInterrupt):
                call(X, y)
            assert set(vars(fresh)) == set(fresh.get_params())
            with pytest.raises(NotFittedError):
                fresh.predict(X)
    assert vars(model).keys() == before.keys() and all(vars(model)[name] is before[name] for name in before)
    assert same_state(model, untouched)
    assert same_state(model.fit(X, y), untouched.fit(X, y))


def test_interrupted_partial_fit_keeps_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y, _ = clusters(200, 1000, 6)
    model = SampledSoftmaxClassifier(num_sampled=32, random_state=0).partial_fit(X, y, np.arange(200))
    before = model.coef_.copy()
    with monkeypatch.context() as patch:
        interrupted(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            model.partial_fit(X, y)
    assert model.n_iter_ == 1 and not np.array_equal(model.coef_, before)
    assert model.partial_fit(X, y).n_iter_ == 2


def test_figures(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    X, y, _ = clusters(20, 500, 3)
    model = SampledSoftmaxClassifier(max_iter=2, tol=None, verbose=1).fit(X, y)
    out, err = capsys.readouterr()
    assert out == "" and "100 %" in err and "loss" in err and "rows" in err
    assert len(model.loss_curve_) == 2
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    fresh = clone(model)
    with pytest.raises(ImportError, match=r"fastxent\[cli\]"):
        fresh.fit(X, y)
    assert not hasattr(fresh, "coef_")


X3, Y3 = np.arange(12.0).reshape(6, 2) / 12, np.array([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"loss": "hinge"}, "loss is 'hinge': give sampled_softmax, nce or sampled_logistic"),
        ({"loss": None}, "loss is None"),
        ({"sampler": "zipf"}, "sampler is 'zipf'"),
        ({"sampler": 3}, "sampler is 3"),
        ({"sampler": LogUniformSampler(7)}, "sampler draws from 7 classes, but y has 3"),
        ({"num_sampled": 0}, "num_sampled is 0"),
        ({"num_sampled": 2.5}, "num_sampled is 2.5"),
        ({"batch_size": -1}, "batch_size is -1"),
        ({"batch_size": True}, "batch_size is True"),
        ({"max_iter": 0}, "max_iter is 0"),
        ({"n_iter_no_change": 0}, "n_iter_no_change is 0"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"learning_rate": np.nan}, "learning_rate"),
        ({"alpha": -0.1}, "alpha"),
        ({"alpha": np.inf}, "alpha"),
        ({"tol": -1.0}, "tol"),
        ({"fit_intercept": "no"}, "fit_intercept is 'no'"),
        ({"shuffle": 1}, "shuffle is 1"),
        ({"n_threads": 0}, "n_threads"),
        ({"random_state": "a"}, "seed"),
        ({"learning_rate": 1e308}, "the mean loss of epoch 2 is .*: scale X"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    model = SampledSoftmaxClassifier(**options)
    with pytest.raises((TypeError, ValueError), match=message.replace("(", r"\(")):
        model.fit(X3, Y3)
    assert set(vars(model)) == set(model.get_params())


@pytest.mark.parametrize(
    "X, y, weights, message",
    [
        (X3, np.zeros(6), None, "The number of classes has to be greater than one; got 1 class"),
        (X3, np.ones((6, 1, 1)), None, "dim"),
        (X3, Y3 + 0.5, None, "Unknown label type"),
        (X3, np.stack((Y3, Y3), 1), None, "Unknown label type: multiclass-multioutput: give labels"),
        (X3, Y3[:5], None, "inconsistent numbers of samples"),
        (X3, [0, 1, 2, 0, 1, np.nan], None, "contains NaN"),
        (X3[:0], Y3[:0], None, "0 sample"),
        (X3[:, :0], Y3, None, "0 feature"),
        (X3 + np.inf, Y3, None, "NaN|infinity"),
        (X3 + 1j, Y3, None, "[Cc]omplex"),
        (scipy.sparse.coo_array(X3 * 1j), Y3, None, "[Cc]omplex"),
        (X3, Y3, np.zeros(6), "sample_weight is zero in every row"),
        (X3, Y3, -np.ones(6), r"sample_weight\[0\] is -1"),
        (X3, Y3, np.full(6, np.nan), r"sample_weight\[0\] is nan"),
        (X3, Y3, np.ones(5), "sample_weight has shape"),
        (X3, scipy.sparse.csr_array((6, 4)), None, "y has no label in any row"),
        (X3, scipy.sparse.csr_array(np.ones((6, 1))), None, "greater than one"),
        (X3, scipy.sparse.csr_array(np.stack((Y3, Y3), 1)), None, "y holds 2: give an indicator"),
    ],
)
@pytest.mark.filterwarnings("ignore:A column-vector y")
def test_data_are_checked(X: Any, y: Any, weights: Any, message: str) -> None:
    model = SampledSoftmaxClassifier()
    with pytest.raises((TypeError, ValueError), match=message):
        model.fit(X, y, weights)
    assert set(vars(model)) == set(model.get_params())


def test_without_scikit_learn() -> None:
    code = "import sys; sys.modules['sklearn'] = None; import fastxent.linear_model"
    child = subprocesses.run(code)
    assert child.returncode != 0 and 'pip install "fastxent[sklearn]"' in child.stderr


def test_calls_that_do_not_go_together() -> None:
    indicator = scipy.sparse.csr_array(np.eye(3)[Y3])
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        SampledSoftmaxClassifier().partial_fit(X3, Y3)
    with pytest.raises(ValueError, match="greater than one; got 1 class"):
        SampledSoftmaxClassifier().partial_fit(X3, np.zeros(6), [0])
    with pytest.raises(ValueError, match="y has 3 columns, but classes has shape"):
        SampledSoftmaxClassifier().partial_fit(X3, indicator, [0, 1])
    with pytest.raises(ValueError, match=r"target label\(s\) \[2\] in y do not exist in the initial classes \[0 1\]"):
        SampledSoftmaxClassifier().partial_fit(X3, Y3, [1, 0])

    model = SampledSoftmaxClassifier(max_iter=2, tol=None, random_state=0).partial_fit(X3, Y3, [2, 1, 0])
    before = copy.deepcopy(model)
    refused: list[tuple[Any, str]] = [
        (lambda: model.partial_fit(X3, Y3 + 1), r"target label\(s\) \[3\] in y"),
        (lambda: model.partial_fit(X3, np.array(["a"] * 6)), "target label"),
        (lambda: model.partial_fit(X3, Y3, [0, 1, 2, 3]), "is not the same as on last call to partial_fit"),
        (lambda: model.partial_fit(X3, indicator), "y is an indicator matrix, but was labels"),
        (lambda: model.partial_fit(X3[:, :1], Y3), "X has 1 features, but .* is expecting 2"),
        (
            lambda: model.set_params(warm_start=True).fit(X3, Y3 + 1),
            "warm_start can only be used where `y` has the same",
        ),
        (lambda: model.predict(X3[:, :1]), "X has 1 features, but .* is expecting 2"),
        (lambda: model.predict_top_k(X3, 4), "k is 4, but there are 3 classes"),
        (lambda: model.predict_top_k(X3, 0), "k is 0"),
        (lambda: model.predict_top_k(X3, 1.0), "k is 1.0"),
    ]
    for call, message in refused:
        with pytest.raises((TypeError, ValueError), match=message):
            call()
        assert same_state(model, before)
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function", "predict_top_k"):
        with pytest.raises(NotFittedError):
            getattr(SampledSoftmaxClassifier(), method)(X3)

    several = SampledSoftmaxClassifier().partial_fit(X3, indicator, classes=["b", "c", "a"])
    assert several.predict_top_k(X3, 3).classes.shape == (6, 3) and list(several.classes_) == ["b", "c", "a"]
    with pytest.raises(ValueError, match="y is labels, but was an indicator matrix"):
        several.partial_fit(X3, Y3)


def test_first_sum_is_no_learning_rate() -> None:
    """A first step goes with the gradient's size, not only its sign."""
    X, y, _ = clusters(3, 6, 2)
    for scale in (1.0, 1e-4):
        model = SampledSoftmaxClassifier(max_iter=1, tol=None).fit(scale * X, y)
        assert np.abs(model.coef_).max() < model.learning_rate * min(1.0, 100 * scale)
    assert _sampled_softmax._FIRST_SUM > 0
