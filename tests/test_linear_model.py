"""The linear classifier, as scikit-learn checks it, and beside scikit-learn's own."""

from __future__ import annotations

import importlib.util
import pickle
import signal
import threading
import time
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

if not importlib.util.find_spec("sklearn"):
    pytest.skip("needs scikit-learn", allow_module_level=True)

from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits, load_iris, make_classification, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastxent import losses
from fastxent.linear_model import CrossEntropyClassifier, SampledSoftmaxClassifier, _solvers
from fastxent.linear_model._objective import Objective
from subprocesses import output

# One check compares two fits to seven digits, with weights and with rows repeated. Where lbfgs stops by default, the
# way there has magnified how the BLAS rounds to about as much.
FORMS = [
    CrossEntropyClassifier(tol=1e-8),
    CrossEntropyClassifier(solver="newton-cg"),
    CrossEntropyClassifier(loss="softmax", class_weight="balanced"),
    CrossEntropyClassifier(loss="sigmoid", warm_start=True),
    CrossEntropyClassifier(loss=losses.SoftmaxFocalLoss(gamma=1.0)),
    CrossEntropyClassifier(loss=losses.PolyCrossEntropy(epsilon=0.5, label_smoothing=0.1), n_threads=1),
]


@parametrize_with_checks(FORMS)
def test_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


def test_scikit_learn_is_asked_for() -> None:
    code = """
        import sys
        sys.modules["sklearn"] = None
        try:
            import fastxent.linear_model
        except ImportError as error:
            print(error)
    """
    assert output(code) == 'fastxent.linear_model needs scikit-learn: pip install "fastxent[sklearn]"'


def test_array_api_input() -> None:
    """The one check of scikit-learn's that is left out where SciPy was imported without this."""
    code = """
        from sklearn.utils.estimator_checks import check_estimator
        from fastxent.linear_model import CrossEntropyClassifier
        print({result["status"] for result in check_estimator(CrossEntropyClassifier(tol=1e-8))})
    """
    assert output(code, timeout=300, SCIPY_ARRAY_API="1", PYTHONWARNINGS="ignore") == "{'passed'}"


def problem(n: int = 400, d: int = 8, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    X, y = make_classification(n, d, n_informative=6, n_classes=classes, random_state=seed)
    return X, y


# ---- beside scikit-learn's own -------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg"])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("form", ["dense", "columns", "csr"])
def test_equals_logistic_regression(solver: str, classes: int, intercept: bool, form: str) -> None:
    X, y = problem(classes=classes)
    weights = np.random.default_rng(0).uniform(0.5, 2.0, len(y))
    alpha = 1e-2
    theirs = LogisticRegression(
        C=1 / (alpha * weights.sum()), tol=1e-9, solver="newton-cholesky", fit_intercept=intercept
    )
    theirs.fit(X, y, weights)
    given = {"dense": X, "columns": np.asfortranarray(X), "csr": sp.csr_array(X)}[form]
    ours = CrossEntropyClassifier(alpha=alpha, tol=1e-7, solver=solver, max_iter=1000, fit_intercept=intercept)
    ours.fit(given, y, weights)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-4, atol=1e-5)
    if classes == 2:
        np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.predict_proba(given), theirs.predict_proba(X), rtol=1e-4)
    np.testing.assert_array_equal(ours.predict(given), theirs.predict(X))


def test_balanced_class_weight_equals_theirs() -> None:
    X, y = problem()
    y = np.where(y == 3, 2, y)
    alpha = 1e-2
    theirs = LogisticRegression(
        C=1 / (alpha * len(y)), tol=1e-9, solver="newton-cholesky", class_weight="balanced"
    ).fit(X, y)
    ours = CrossEntropyClassifier(alpha=alpha, tol=1e-7, max_iter=1000, class_weight="balanced").fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-4, atol=1e-5)


def test_labels_are_their_distributions_and_weights_are_repetitions() -> None:
    X, y = problem()
    one_hot = np.eye(4)[y]
    of_labels = CrossEntropyClassifier(loss="softmax").fit(X, y)
    for matrix in (one_hot, sp.csr_array(one_hot)):
        found = CrossEntropyClassifier(loss="softmax").fit(X, matrix, classes=["a", "b", "c", "d"])
        np.testing.assert_array_equal(found.coef_, of_labels.coef_)
        np.testing.assert_array_equal(found.predict(X), np.array(["a", "b", "c", "d"])[of_labels.predict(X)])
    soft = 0.7 * one_hot + 0.3 * np.random.default_rng(0).dirichlet(np.ones(4), len(y))
    repeated = CrossEntropyClassifier(tol=1e-9, max_iter=1000)
    repeated.fit(np.repeat(X, 4, axis=0), np.tile(np.arange(4), len(y)), sample_weight=soft.ravel())
    whole = CrossEntropyClassifier(tol=1e-9, max_iter=1000).fit(X, soft)
    np.testing.assert_allclose(whole.coef_, repeated.coef_, rtol=1e-6, atol=1e-8)
    assert whole.coef_.shape == (4, 8)


def test_two_soft_columns_are_one_score() -> None:
    X, y = problem(classes=2)
    soft = np.stack([np.where(y == 0, 0.9, 0.2), np.where(y == 0, 0.1, 0.8)], 1)
    one = CrossEntropyClassifier(tol=1e-9).fit(X, soft)
    assert one.coef_.shape == (1, 8)
    # Two rows share the penalty: half of it for the same difference.
    two = CrossEntropyClassifier(loss="softmax", alpha=2e-4, tol=1e-9).fit(X, sp.csr_array(soft))
    assert two.coef_.shape == (2, 8)
    np.testing.assert_allclose(two.predict_proba(X), one.predict_proba(X), rtol=1e-5)
    np.testing.assert_allclose(two.decision_function(X), one.decision_function(X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_independent_labels_are_problems_of_their_own(form: Any) -> None:
    X, Y = make_multilabel_classification(300, 10, n_classes=4, random_state=0)
    X = StandardScaler().fit_transform(X)
    ours = CrossEntropyClassifier(alpha=1e-2, tol=1e-9, max_iter=1000).fit(X, form(Y))
    theirs = MultiOutputClassifier(LogisticRegression(C=1 / (1e-2 * len(X)), tol=1e-9, solver="newton-cholesky")).fit(
        X, Y
    )
    expected = np.stack([proba[:, 1] for proba in theirs.predict_proba(X)], 1)
    assert ours.multilabel_
    np.testing.assert_allclose(ours.predict_proba(X), expected, rtol=1e-5)
    np.testing.assert_allclose(np.exp(ours.predict_log_proba(X)), expected, rtol=1e-5)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    assert ours.score(X, Y) == theirs.score(X, Y)


def test_one_against_the_rest() -> None:
    X, y = problem()
    ours = CrossEntropyClassifier(loss="sigmoid", alpha=1e-2, tol=1e-9, max_iter=1000).fit(X, y)
    for label in range(4):
        theirs = LogisticRegression(C=1 / (1e-2 * len(X)), tol=1e-9, solver="newton-cholesky").fit(X, y == label)
        np.testing.assert_allclose(ours.coef_[label], theirs.coef_[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.predict_proba(X).sum(1), 1)
    np.testing.assert_array_equal(ours.predict_proba(X).argmax(1), ours.predict(X))


@pytest.mark.parametrize(
    "loss",
    [
        losses.SoftmaxCrossEntropy(label_smoothing=0.1, temperature=2.0, logit_bias=[0.0, 0.5, 0.0, -0.5]),
        losses.SoftmaxFocalLoss(gamma=2.0),
        losses.PolyCrossEntropy(epsilon=1.0),
        losses.GeneralizedCrossEntropy(q=0.5),
        losses.SigmoidFocalLoss(gamma=2.0, alpha=0.25),
        losses.SigmoidCrossEntropy(pos_weight=3.0),
    ],
    ids=repr,
)
def test_losses_are_minimised(loss: Any) -> None:
    """The gradient of the objective, had from the loss object over all scores, vanishes."""
    X, y = problem()
    model = CrossEntropyClassifier(loss=loss, alpha=1e-2, tol=1e-7, max_iter=1000).fit(X, y)
    targets = y if loss.is_multiclass else np.eye(4)[y]
    raw = X @ model.coef_.T + model.intercept_
    gradient = loss.gradient(targets, raw) / len(X)
    assert np.abs(gradient.T @ X + 1e-2 * model.coef_).max() < 2e-7
    assert np.abs(gradient.sum(0)).max() < 2e-7
    objective = loss.loss(targets, raw).sum() / len(X) + 5e-3 * (model.coef_**2).sum()
    np.testing.assert_allclose(model.loss_curve_[-1], objective, rtol=1e-12)
    if loss.is_multiclass:
        np.testing.assert_allclose(model.predict_proba(X), loss.predict_proba(raw), rtol=1e-12)
    assert model.score(X, y) > 0.55


def test_a_sample_is_fitted_first_and_the_whole_after_it() -> None:
    X, y = problem(20_000, 8, 3)
    model = CrossEntropyClassifier(alpha=1e-4, tol=1e-7).fit(X, y)
    theirs = LogisticRegression(C=1 / (1e-4 * len(X)), tol=1e-8, solver="newton-cholesky").fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), theirs.predict_proba(X), rtol=1e-4)
    assert model.n_iter_[0] < 10


@pytest.mark.parametrize("light", [0.0, 1e-12])
def test_few_rows_that_have_all_the_weight(light: float) -> None:
    X, y = problem(20_000, 8, 3)
    heavy = np.arange(len(X)) % 400 == 7
    weights = np.where(heavy, 1.0, light)
    found = CrossEntropyClassifier(tol=1e-6).fit(X, y, weights)
    alone = CrossEntropyClassifier(tol=1e-6).fit(X[heavy], y[heavy])
    np.testing.assert_allclose(found.loss_curve_[-1], alone.loss_curve_[-1], rtol=1e-6)
    # None of these would be among a sample.
    CrossEntropyClassifier().fit(X, y, np.where(np.arange(len(X)) < 2, 1.0, light))


def test_wide_inputs_and_features_that_are_never_seen() -> None:
    rng = np.random.default_rng(0)
    wide = rng.standard_normal((60, 1500))
    y = rng.integers(0, 3, 60)
    wide[:, 700:] = 0
    theirs = LogisticRegression(C=1 / (0.1 * 60), tol=1e-9, solver="newton-cholesky").fit(wide, y)
    for X in (wide, sp.csr_array(wide), sp.csr_array(wide).astype(np.float64).tocsc()):
        ours = CrossEntropyClassifier(alpha=0.1, tol=1e-9, max_iter=2000).fit(X, y)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-4, atol=1e-5)
        assert not ours.coef_[:, 700:].any()


@pytest.mark.parametrize("classes", [2, 4])
def test_features_far_from_zero(classes: int) -> None:
    """Where they stand is the intercepts' affair: years are features as they are."""
    X, y = problem(classes=classes)
    near = CrossEntropyClassifier(tol=1e-6, max_iter=1000).fit(X, y)
    far = CrossEntropyClassifier(tol=1e-4, max_iter=60).fit(X + 1e5, y)
    assert far.loss_curve_[-1] <= near.loss_curve_[-1] * (1 + 1e-9)


@pytest.mark.parametrize("alpha", [0.0, 1e-6])
def test_separable_classes_and_columns_twice(alpha: float) -> None:
    X, y = load_iris(return_X_y=True)
    X = np.concatenate((X, X[:, :2], np.full((len(X), 1), 3.0)), 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = CrossEntropyClassifier(alpha=alpha, max_iter=500).fit(X, y)
    assert model.score(X, y) > 0.97 and np.isfinite(model.coef_).all()


def test_newton_goes_on_where_curvature_has_fallen_below_its_epsilons() -> None:
    """At the minimum, of a loss of 1e-5, that is some thousandth of what it was at the start."""
    X, y = load_iris(return_X_y=True)
    X, y = X[y < 2], y[y < 2]
    ends = [
        CrossEntropyClassifier(solver=solver, alpha=1e-7, tol=1e-9, max_iter=500).fit(X, y).loss_curve_[-1]
        for solver in ("newton-cg", "lbfgs")
    ]
    np.testing.assert_allclose(*ends, rtol=1e-6)


def test_newton_stops_at_so_many_products_in_an_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    """And takes the step that it has found by then, which leads to the same minimum."""
    X, y = problem()
    expected = CrossEntropyClassifier(solver="newton-cg", tol=1e-8).fit(X, y)
    calls = 0
    product = Objective.hessian_product

    def counted(self: Objective, params: np.ndarray, vector: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        return product(self, params, vector)

    monkeypatch.setattr(Objective, "hessian_product", counted)
    monkeypatch.setattr(_solvers, "_PRODUCTS", 2)
    model = CrossEntropyClassifier(solver="newton-cg", tol=1e-8, max_iter=500).fit(X, y)
    # An iteration more, whose step has not come to an end.
    assert 0 < calls <= 2 * (len(model.loss_curve_) + 1)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-5, atol=1e-7)


# ---- kinds of input ------------------------------------------------------------------------------------------


def test_floats_are_kept() -> None:
    X, y = problem()
    double = CrossEntropyClassifier(tol=1e-5).fit(X, y)
    single = CrossEntropyClassifier(tol=1e-5).fit(X.astype(np.float32), y)
    assert single.coef_.dtype == single.intercept_.dtype == np.float32
    assert single.predict_proba(X.astype(np.float32)).dtype == np.float32
    np.testing.assert_allclose(single.coef_, double.coef_, rtol=1e-2, atol=1e-3)
    assert CrossEntropyClassifier().fit((100 * X).astype(int), y).coef_.dtype == np.float64


def test_out_of_core(tmp_path: Path) -> None:
    """A fit to a memory map takes less memory than the map's contents would."""
    rng = np.random.default_rng(0)
    mapped = np.memmap(tmp_path / "x.bin", np.float32, "w+", shape=(40_000, 200))
    mapped[...] = rng.standard_normal(mapped.shape, np.float32)
    y = (mapped[:, :3] + rng.standard_normal((len(mapped), 3))).argmax(1)
    CrossEntropyClassifier().fit(mapped[:500], y[:500])  # what is imported by the first
    tracemalloc.start()
    model = CrossEntropyClassifier().fit(mapped, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < mapped.nbytes / 1.25
    np.testing.assert_array_equal(model.coef_, CrossEntropyClassifier().fit(np.array(mapped), y).coef_)


def test_frames() -> None:
    pandas = pytest.importorskip("pandas")
    X, y = load_iris(return_X_y=True, as_frame=True)
    model = CrossEntropyClassifier().fit(X, y.map({0: "setosa", 1: "versicolor", 2: "virginica"}))
    assert model.feature_names_in_.tolist() == X.columns.tolist()
    assert set(model.predict(X)) == {"setosa", "versicolor", "virginica"}
    with pytest.warns(UserWarning, match="feature names"):
        model.predict(X.to_numpy())
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(X.rename(columns={X.columns[0]: "other"}))
    assert isinstance(X, pandas.DataFrame)
    polars = pytest.importorskip("polars")
    frame = polars.from_pandas(X)
    other = CrossEntropyClassifier().fit(frame, polars.Series(y.to_numpy()))
    np.testing.assert_allclose(other.coef_, model.coef_, rtol=1e-6)


def test_in_the_tools_of_scikit_learn() -> None:
    X, y = load_iris(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), CrossEntropyClassifier())
    search = GridSearchCV(pipeline, {"crossentropyclassifier__alpha": [1e-4, 1e-2]}).fit(X, y)
    assert search.best_score_ > 0.9
    calibrated = CalibratedClassifierCV(CrossEntropyClassifier(), cv=3).fit(X, y)
    assert calibrated.score(X, y) > 0.9
    weights = np.random.default_rng(0).uniform(size=len(y))
    with config_context(enable_metadata_routing=True):
        routed = CrossEntropyClassifier().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        scores = cross_validate(routed, X, y, params={"sample_weight": weights})["test_score"]
    assert scores.mean() > 0.9


def test_copies_predict_the_same() -> None:
    X, y = problem()
    model = CrossEntropyClassifier(loss=losses.SoftmaxCrossEntropy(temperature=2.0)).fit(X, y)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict_proba(X), model.predict_proba(X))
    assert clone(model).get_params() == model.get_params()
    skops = pytest.importorskip("skops.io")
    plain = CrossEntropyClassifier(alpha=1e-3).fit(X, y)
    data = skops.dumps(plain)
    back = skops.loads(data, trusted=skops.get_untrusted_types(data=data))
    np.testing.assert_array_equal(back.predict_proba(X), plain.predict_proba(X))


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_same_bits_for_every_number_of_threads(form: Any) -> None:
    X, y = problem(3000, 20)
    fits = [CrossEntropyClassifier(n_threads=threads).fit(form(X), y).coef_ for threads in (1, 2, 3)]
    np.testing.assert_array_equal(fits[0], fits[1])
    np.testing.assert_array_equal(fits[0], fits[2])


def test_probabilities_keep_their_digits() -> None:
    model = CrossEntropyClassifier().fit([[0.0], [1.0]], [0, 1])
    model.coef_, model.intercept_ = np.array([[1.0]]), np.array([0.0])
    proba, logs = model.predict_proba([[40.0], [-40.0]]), model.predict_log_proba([[40.0], [-40.0]])
    np.testing.assert_allclose(proba[:, 0], [4.248354255291589e-18, 1.0], rtol=1e-15)
    np.testing.assert_allclose(logs[0, 1], -4.248354255291589e-18, rtol=1e-15)


# ---- options -------------------------------------------------------------------------------------------------


def test_warm_start_goes_on() -> None:
    X, y = problem()
    model = CrossEntropyClassifier(warm_start=True, tol=1e-6).fit(X, y)
    first = model.n_iter_[0]
    assert model.fit(X, y).n_iter_[0] < first
    with pytest.raises(ValueError, match="warm_start can only be used where `y` has the same classes"):
        model.fit(X[y < 3], y[y < 3])
    with pytest.raises(ValueError, match="warm_start=False"):
        model.fit(X[:, :5], y)
    assert model.n_features_in_ == 8


def test_max_iter_warns() -> None:
    X, y = problem()
    for solver in ("lbfgs", "newton-cg"):
        with pytest.warns(ConvergenceWarning, match=f"{solver} failed to converge after 2 iteration"):
            model = CrossEntropyClassifier(solver=solver, max_iter=2).fit(X, y)
        assert model.n_iter_ == 2 and len(model.loss_curve_) == 2
        assert model.loss_curve_[1] < model.loss_curve_[0]


def test_progress_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rich")
    X, y = problem()
    CrossEntropyClassifier(verbose=1).fit(X, y)
    said = capsys.readouterr()
    assert "fit" in said.err and "loss" in said.err and not said.out


def test_partial_fit_learns() -> None:
    X, y = load_digits(return_X_y=True)
    X = X / 16
    model = CrossEntropyClassifier(batch_size=64)
    for _ in range(5):
        for at in range(0, len(X), 600):
            model.partial_fit(X[at : at + 600], y[at : at + 600], classes=np.arange(10))
    assert model.score(X, y) > 0.93
    assert model.n_iter_ == 15 and len(model.loss_curve_) == 15
    assert model.loss_curve_[-1] < model.loss_curve_[0] / 2
    by_rows = CrossEntropyClassifier(batch_size=64).partial_fit(X, y, np.arange(10))
    parts = CrossEntropyClassifier(batch_size=64)
    for at in range(0, len(X), 640):
        parts.partial_fit(X[at : at + 640], y[at : at + 640], np.arange(10))
    np.testing.assert_array_equal(by_rows.coef_, parts.coef_)
    # A fit forgets what partial fits have gathered.
    np.testing.assert_array_equal(model.fit(X, y).coef_, CrossEntropyClassifier(batch_size=64).fit(X, y).coef_)


def test_partial_fit_of_matrices() -> None:
    X, Y = make_multilabel_classification(200, 10, n_classes=3, random_state=0)
    model = CrossEntropyClassifier()
    for _ in range(20):
        model.partial_fit(X, sp.csr_array(Y))
    assert model.multilabel_ and model.score(X, Y) > 0.3
    with pytest.raises(ValueError, match="matrix in one call"):
        model.partial_fit(X, Y[:, 0])


def test_a_changed_loss_changes_no_predictions_until_the_next_fit() -> None:
    X, y = problem(classes=2)
    model = CrossEntropyClassifier().fit(X, y)
    before = model.predict_proba(X)
    model.set_params(loss="softmax")
    np.testing.assert_array_equal(model.predict_proba(X), before)
    with pytest.raises(ValueError, match=r"needs coef_ of 2 row\(s\), but there are 1"):
        model.partial_fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(X), before)


def test_partial_fits_go_on_with_the_kind_of_the_first() -> None:
    """Also where a later part's distributions are all of 0 and 1."""
    X, y = problem()
    for classes in (2, 4):
        hard = np.eye(classes)[y % classes]
        soft = 0.8 * hard + 0.2 / classes
        model = CrossEntropyClassifier().partial_fit(X, soft).partial_fit(X, hard)
        assert not model.multilabel_ and model.n_iter_ == 2
        named = CrossEntropyClassifier(loss=model.loss_).partial_fit(X, y % classes, range(classes))
        assert named.coef_.shape == model.coef_.shape
    with pytest.raises(ValueError, match=r"y\[0\] sums to 0.6"):
        CrossEntropyClassifier().partial_fit(X, np.full((400, 2), 0.5)).partial_fit(X, np.full((400, 2), 0.3))


def test_intercepts_may_come_and_go_between_partial_fits() -> None:
    X, y = problem()
    model = CrossEntropyClassifier().partial_fit(X, y, classes=range(4))
    assert not model.set_params(fit_intercept=False).partial_fit(X, y).intercept_.any()
    assert model.set_params(fit_intercept=True).partial_fit(X, y).intercept_.all()


# ---- refusals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"loss": "hinge"}, ValueError, "loss is 'hinge'"),
        ({"loss": losses.SoftmaxCrossEntropy}, TypeError, r"SoftmaxCrossEntropy\(\)"),
        ({"loss": losses.SoftmaxCrossEntropy(n_classes=5)}, ValueError, "n_classes"),
        ({"alpha": -1.0}, ValueError, "alpha is -1"),
        ({"alpha": "1"}, TypeError, "alpha is '1'"),
        ({"tol": np.nan}, ValueError, "tol is nan"),
        ({"max_iter": 0}, ValueError, "max_iter is 0"),
        ({"batch_size": 2.5}, TypeError, "batch_size is 2.5"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate is 0"),
        ({"solver": "sag"}, ValueError, "solver is 'sag'"),
        ({"fit_intercept": "no"}, TypeError, "fit_intercept is 'no'"),
        ({"warm_start": 1}, TypeError, "warm_start is 1"),
        ({"loss": losses.SoftmaxCrossEntropy(ignore_index=0)}, ValueError, "ignore_index of the loss is 0"),
        ({"n_threads": 0}, ValueError, "n_threads"),
        ({"class_weight": {9: 1.0}}, ValueError, "not in class_weight"),
        ({"class_weight": "even"}, ValueError, "even"),
        ({"loss": losses.PolyCrossEntropy(), "solver": "newton-cg"}, ValueError, 'use "lbfgs"'),
    ],
)
def test_refused_parameters(options: dict[str, Any], error: type[Exception], words: str) -> None:
    X, y = problem()
    model = CrossEntropyClassifier(**options)
    with pytest.raises(error, match=words):
        model.fit(X, y)
    assert vars(model).keys() == vars(CrossEntropyClassifier(**options)).keys()


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg"])
def test_what_is_not_finite_is_refused(solver: str) -> None:
    X, y = problem()
    excluded = CrossEntropyClassifier(losses.SoftmaxCrossEntropy(logit_bias=[0.0, 0.0, 0.0, -np.inf]), solver=solver)
    with pytest.raises(ValueError, match="the objective is inf where the search starts"):
        excluded.fit(X, y)
    with pytest.raises(ValueError, match="the loss of the batch from row 0 on is inf"):
        excluded.partial_fit(X, y, classes=range(4))
    with pytest.raises(ValueError, match="scale X"):
        CrossEntropyClassifier(solver=solver).fit(X * 1e200, y)
    assert not hasattr(excluded, "coef_")


@pytest.mark.parametrize("make", [CrossEntropyClassifier, SampledSoftmaxClassifier])
def test_masked_arrays_are_refused(make: Any) -> None:
    """scikit-learn takes what is under the mask."""
    x, y = np.random.default_rng(0).standard_normal((20, 3)), np.arange(20) % 4
    hidden = np.ma.masked_greater(x, 0.5)
    for arguments in ((hidden, y), (x, np.ma.masked_equal(y, 3))):
        with pytest.raises(TypeError, match="is a masked array"):
            make().fit(*arguments)
    fitted = make().fit(x, y)
    for method in (fitted.predict, fitted.predict_proba, fitted.decision_function):
        with pytest.raises(TypeError, match="X is a masked array"):
            method(hidden)


def test_refused_targets() -> None:
    X, y = problem()
    model = CrossEntropyClassifier()
    with pytest.raises(ValueError, match="only one class: "):
        model.fit(X, np.full(len(y), 2))
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        model.fit(X, X[:, 0])
    with pytest.raises(ValueError, match=r"y\[1\] sums to 0.9"):
        model.fit(X[:2], [[0.5, 0.5, 0.0], [0.5, 0.4, 0.0]])
    with pytest.raises(ValueError, match=r"at least 2 classes, or labels \(400,\)"):
        model.fit(X, sp.csr_array(y[:, None] == 0))
    with pytest.raises(ValueError, match="name each column"):
        model.fit(X, np.eye(4)[y], classes=["a", "a", "b", "c"])
    with pytest.raises(ValueError, match="has classes not in `classes`"):
        model.fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match=r"outside \[0, 1\]|targets\[0"):
        CrossEntropyClassifier(loss="sigmoid").fit(X, np.eye(4)[y] * 2)
    with pytest.raises(ValueError, match="pos_weight"):
        CrossEntropyClassifier(class_weight="balanced").fit(X, np.eye(4, dtype=int)[y])
    with pytest.raises(ValueError, match=r"sample_weight|egative"):
        model.fit(X, y, sample_weight=-np.ones(len(y)))
    with pytest.raises(ValueError, match="non-zero"):
        model.fit(X, y, sample_weight=np.zeros(len(y)))
    with pytest.raises(NotFittedError):
        model.predict(X)
    with pytest.warns(DataConversionWarning):
        model.fit(X, y[:, None])
    # All labels there are, of which some do not occur.
    assert model.fit(X, y, classes=range(6)).predict_proba(X).shape == (len(y), 6)


def test_refused_partial_fits() -> None:
    X, y = problem()
    model = CrossEntropyClassifier()
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        model.partial_fit(X, y)
    with pytest.raises(NotFittedError):
        model.predict(X)
    model.partial_fit(X[:10], y[:10], classes=np.arange(4))
    before = model.coef_.copy()
    with pytest.raises(ValueError, match="is not the same as on last call to partial_fit"):
        model.partial_fit(X, y, classes=np.arange(5))
    with pytest.raises(ValueError, match=r"`y` has classes not in `self\.classes_`"):
        model.partial_fit(X, y + 1)
    with pytest.raises(ValueError, match="X has 7 features, but CrossEntropyClassifier is expecting 8 features"):
        model.partial_fit(X[:, :7], y)
    with pytest.raises(ValueError, match="X has 7 features, but CrossEntropyClassifier is expecting 8 features"):
        model.predict(X[:, :7])
    np.testing.assert_array_equal(model.coef_, before)


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg"])
def test_an_interrupted_fit_is_none(solver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = problem()
    fitted = CrossEntropyClassifier(solver=solver).fit(X[:, :5], y)
    before = dict(vars(fitted))
    fresh = CrossEntropyClassifier(solver=solver)
    gradient = Objective.gradient
    calls = []

    def interrupted(self: Objective, params: np.ndarray) -> Any:
        calls.append(len(params))
        if len(calls) % 3 == 0:
            np.seterr(over="raise")  # as if it came while `np.errstate` is left
            raise KeyboardInterrupt
        return gradient(self, params)

    monkeypatch.setattr(Objective, "gradient", interrupted)
    for model in (fresh, fitted):
        with pytest.raises(KeyboardInterrupt):
            model.fit(X, y)
    with pytest.raises(NotFittedError):
        fresh.predict(X)
    assert vars(fresh) == vars(CrossEntropyClassifier(solver=solver))
    assert vars(fitted) == before


def test_ctrl_c_is_heard() -> None:
    X, y = problem(20_000, 60)
    model = CrossEntropyClassifier(tol=0.0, alpha=0.0)
    sent = []

    def send() -> None:
        sent.append(time.perf_counter())
        signal.raise_signal(signal.SIGINT)

    # What a shell starts in the background ignores it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Timer(0.5, send).start()
        # Heard within scikit-learn's checks it may leave NumPy's error handling changed.
        with np.errstate(), pytest.raises(KeyboardInterrupt), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            while not sent or time.perf_counter() < sent[0] + 10:
                model.fit(X, y)
    finally:
        signal.signal(signal.SIGINT, before)
    # Half a second is what a user waits for; four times that for a machine with other things to do.
    assert time.perf_counter() - sent[0] < 2.0
