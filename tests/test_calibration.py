"""Temperature scaling against closed forms, an exact derivative and scikit-learn; calibration errors against their
definition."""

from __future__ import annotations

import importlib.util
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastxent as fx
import oracle
from fastxent._evaluate import evaluate_files
from fastxent._temperature import LARGEST, SMALLEST, fit_temperature
from fastxent.calibration import expected_calibration_error, reliability_curve
from subprocesses import output

needs_sklearn = pytest.mark.skipif(not importlib.util.find_spec("sklearn"), reason="needs scikit-learn")

if importlib.util.find_spec("sklearn"):
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.exceptions import ConvergenceWarning, NotFittedError
    from sklearn.pipeline import make_pipeline
    from sklearn.utils.estimator_checks import parametrize_with_checks

    from fastxent.calibration import TemperatureScaling


def overconfident(n: int = 3000, classes: int = 10, dtype: Any = np.float64, temperature: float = 1.7) -> Any:
    """Scores, and labels drawn from their softmax at a temperature."""
    rng = np.random.default_rng(classes)
    scores = (3 * rng.standard_normal((n, classes))).astype(dtype)
    return scores, (scores / temperature + rng.gumbel(size=scores.shape)).argmax(axis=1)


def exact_slope(scores: np.ndarray, labels: np.ndarray, temperature: float, weights: Any = 1.0) -> float:
    """The derivative of the summed loss by 1/T: the mean score under softmax, less that of the label."""
    z = oracle.exact(scores)
    p = oracle.softmax(z / oracle.exact(temperature))
    of_labels = np.take_along_axis(z, labels[:, None], 1)[:, 0]
    with np.errstate(invalid="ignore"):
        mean = np.where(p == 0, oracle.exact(0.0), p * z).sum(axis=1)
    return float((oracle.exact(weights) * (mean - of_labels)).sum())


# ---- the search ----------------------------------------------------------------------------------------------


def test_search_of_a_known_minimum() -> None:
    # (log T - 3)^2 falls up to exp(3).
    def loss_and_slope(temperature: float) -> tuple[float, float]:
        off = np.log(temperature) - 3
        return off * off, 2 * off / temperature

    found = fit_temperature(loss_and_slope, tol=1e-10)
    assert found.value == pytest.approx(np.exp(3), rel=1e-10)
    assert found.loss == pytest.approx(0, abs=1e-18)
    assert found.trouble == ""
    assert 2 < found.passes < 20


@pytest.mark.parametrize("limit", range(1, 9))
def test_search_stops_in_time(limit: int) -> None:
    calls = []

    def loss_and_slope(temperature: float) -> tuple[float, float]:
        calls.append(temperature)
        off = np.log(temperature) - np.sin(temperature)
        return off * off, 2 * off * (1 / temperature - np.cos(temperature))

    found = fit_temperature(loss_and_slope, tol=1e-12, max_iter=limit)
    assert len(calls) == found.passes == limit
    assert "max_iter" in found.trouble
    assert found.loss == min(loss_and_slope(t)[0] for t in calls[:limit])


# ---- the estimator -------------------------------------------------------------------------------------------


@needs_sklearn
@pytest.mark.parametrize("margin", [1e-3, 0.4, 4.0, 5000.0])
def test_closed_form(margin: float) -> None:
    # Of 8 rows of 3 classes 6 are right: exp(margin / T) = 6, as the other two classes share the rest.
    scores = margin * np.eye(3)[[0, 1, 2, 0, 1, 2, 0, 1]]
    labels = np.array([0, 1, 2, 0, 1, 2, 1, 0])
    fitted = TemperatureScaling(tol=1e-9).fit(scores, labels)
    assert fitted.temperature_ == pytest.approx(margin / np.log(6), rel=1e-8)
    assert fitted.loss_ == pytest.approx(-0.75 * np.log(0.75) - 0.25 * np.log(0.125), rel=1e-12)
    np.testing.assert_allclose(fitted.predict_proba(margin * np.eye(3)[[1]]), [[0.125, 0.75, 0.125]], rtol=1e-8)


@needs_sklearn
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("classes", [2, 3, 10, 300])
@pytest.mark.parametrize("kind", ["plain", "weighted", "masked"])
def test_the_exact_derivative_changes_sign_there(kind: str, classes: int, dtype: Any, isa: str) -> None:
    scores, labels = overconfident(1000, classes, dtype)
    rng = np.random.default_rng(0)
    weights = rng.choice([0.0, 0.5, 3.0], len(scores)) if kind == "weighted" else None
    if kind == "masked":
        scores[rng.random(scores.shape) < 0.3] = -np.inf
        scores[np.arange(len(scores)), labels] = 1.0
        scores[:, 0] = np.where(labels == 0, 1.0, 0.5)
    tol = 1e-9 if dtype == np.float64 else 1e-6
    fitted = TemperatureScaling(classes=np.arange(classes), tol=tol).fit(scores, labels, weights)
    assert exact_slope(scores, labels, fitted.temperature_ * (1 + 2 * tol), 1.0 if weights is None else weights) < 0
    assert exact_slope(scores, labels, fitted.temperature_ * (1 - 2 * tol), 1.0 if weights is None else weights) > 0
    assert fitted.n_iter_ < 20
    wanted = fx.softmax_cross_entropy(
        scores.astype(np.float64) / fitted.temperature_, labels, sample_weight=weights, reduction="mean"
    )
    assert fitted.loss_ == pytest.approx(wanted, rel=1e-12 if dtype == np.float64 else 1e-6)


@needs_sklearn
def test_scale_of_scores_and_weights() -> None:
    scores, labels = overconfident()
    weights = np.random.default_rng(1).random(len(labels))
    one = TemperatureScaling(tol=1e-10).fit(scores, labels, weights)
    for factor in (2.0**-13, 1 / 3, 50.0, 2.0**14):
        other = TemperatureScaling(tol=1e-10).fit(factor * scores, labels, 1000 * weights)
        assert other.temperature_ == pytest.approx(factor * one.temperature_, rel=1e-9)
        assert other.loss_ == pytest.approx(one.loss_, rel=1e-13)


@needs_sklearn
def test_a_weight_is_so_many_rows() -> None:
    scores, labels = overconfident(400, 4)
    times = np.random.default_rng(2).integers(0, 4, len(labels))
    weighted = TemperatureScaling(tol=1e-10).fit(scores, labels, times)
    scores_of_none = scores.copy()
    scores_of_none[times == 0] = np.nan  # rows of weight 0 do not count, whatever they hold
    also = TemperatureScaling(tol=1e-10).fit(scores_of_none, labels, times)
    repeated = TemperatureScaling(tol=1e-10).fit(np.repeat(scores, times, axis=0), np.repeat(labels, times))
    assert weighted.temperature_ == also.temperature_
    assert weighted.temperature_ == pytest.approx(repeated.temperature_, rel=1e-9)


@needs_sklearn
def test_against_sklearn() -> None:
    pytest.importorskip("sklearn", minversion="1.8")  # which has method="temperature"
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.datasets import make_classification
    from sklearn.frozen import FrozenEstimator
    from sklearn.linear_model import LogisticRegression

    data: dict[str, Any] = {"n_features": 30, "n_informative": 12, "n_classes": 4, "flip_y": 0.1, "random_state": 0}
    x, y = make_classification(2400, **data)
    labels = np.array(["ant", "bee", "cat", "dog"])[y]
    model = LogisticRegression(C=100.0, max_iter=2000).fit(x[:200], labels[:200])
    theirs = CalibratedClassifierCV(FrozenEstimator(model), method="temperature").fit(x[200:], labels[200:])
    ours = TemperatureScaling(tol=1e-9).fit(model.decision_function(x[200:]), labels[200:])
    assert ours.temperature_ > 1.1
    beta = theirs.calibrated_classifiers_[0].calibrators[0].beta_
    # Theirs minimises the loss by its values alone, to which it is flat at the minimum: half of the digits.
    assert ours.temperature_ == pytest.approx(float(1 / beta), rel=1e-6)
    p = ours.predict_proba(model.decision_function(x))
    np.testing.assert_allclose(p, theirs.predict_proba(x), rtol=1e-5)
    assert (ours.predict(model.decision_function(x)) == model.predict(x)).all()


@needs_sklearn
def test_labels_and_columns() -> None:
    scores, labels = overconfident(500, 3)
    names = np.array(["x", "yy", "z"])
    plain = TemperatureScaling().fit(scores, labels)
    assert (plain.classes_ == [0, 1, 2]).all()
    for classes in (names, names.astype(object), np.array([-7, 3, 40], np.int8), np.array([0.0, 1.0, 5.0])):
        fitted = TemperatureScaling().fit(scores, classes[labels])
        assert fitted.temperature_ == plain.temperature_
        assert (fitted.classes_ == classes).all()
        assert (fitted.predict(scores) == classes[scores.argmax(1)]).all()
        assert fitted.score(scores, classes[labels]) == (scores.argmax(1) == labels).mean()

    # Columns in an order of their own, and a class that has no row.
    order = np.array([2, 0, 1])
    for name in (list, np.asarray):
        fitted = TemperatureScaling(classes=name(names[order])).fit(scores[:, order], names[labels])
        assert fitted.temperature_ == pytest.approx(plain.temperature_, rel=1e-12)
        assert (fitted.predict(scores[:, order]) == names[scores.argmax(1)]).all()
    some = labels != 1
    fitted = TemperatureScaling(classes=names).fit(scores[some], names[labels[some]])
    assert fitted.predict_proba(scores).shape == (500, 3)


@needs_sklearn
def test_one_column_is_log_odds() -> None:
    scores, labels = overconfident(500, 2)
    two = TemperatureScaling().fit(scores, labels)
    odds = (scores[:, 1] - scores[:, 0])[:, None]
    one = TemperatureScaling().fit(odds, labels == 1)
    assert one.temperature_ == pytest.approx(two.temperature_, rel=1e-6)
    np.testing.assert_allclose(one.predict_proba(odds), two.predict_proba(scores), rtol=1e-5)
    np.testing.assert_allclose(one.decision_function(odds), two.decision_function(scores), rtol=1e-5)
    assert one.predict(odds).dtype == np.bool_
    assert (one.predict([[0.0], [1e-300], [-1.0]]) == [False, True, False]).all()


@needs_sklearn
def test_bfloat16() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    scores, labels = overconfident(500, 5, ml_dtypes.bfloat16)
    fitted = TemperatureScaling().fit(scores, labels)
    wide = TemperatureScaling().fit(scores.astype(np.float32), labels)
    assert fitted.temperature_ == wide.temperature_
    assert fitted.predict_proba(scores).dtype == np.float32
    assert (fitted.predict(scores) == wide.predict(scores)).all()
    p = fx.softmax(scores.astype(np.float64), axis=1)
    error = expected_calibration_error(p.astype(ml_dtypes.bfloat16), labels)
    assert error == pytest.approx(expected_calibration_error(p, labels), abs=0.02)


@needs_sklearn
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_what_comes_back(dtype: Any) -> None:
    scores, labels = overconfident(20_000, 5, dtype)
    before = scores.tobytes()
    fitted = TemperatureScaling().fit(scores, labels)
    p, decision = fitted.predict_proba(scores), fitted.decision_function(scores)
    wide = np.float64 if dtype == np.float64 else np.float32
    assert p.dtype == decision.dtype == wide
    assert type(fitted.temperature_) is type(fitted.loss_) is float
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(p, oracle.softmax(decision).astype(float), rtol=1e-6)
    assert scores.tobytes() == before
    copy = pickle.loads(pickle.dumps(fitted))
    assert copy.predict_proba(scores).tobytes() == p.tobytes()
    for n_threads in (1, 2):
        again = TemperatureScaling(n_threads=n_threads).fit(scores, labels)
        assert again.temperature_ == fitted.temperature_
        assert again.predict_proba(scores).tobytes() == p.tobytes()


@needs_sklearn
@pytest.mark.parametrize(
    "case, temperature, words",
    [
        ("separated", SMALLEST, "smallest temperature"),
        ("far apart", SMALLEST, "smallest temperature"),
        ("shared", SMALLEST, "smallest temperature"),
        ("reversed", LARGEST, "worse than a uniform guess"),
        ("equal", 1.0, "no effect"),
    ],
)
def test_no_minimum_is_said(case: str, temperature: float, words: str) -> None:
    labels = np.array([0, 1, 2, 1])
    scores = {
        "separated": 3.0 * np.eye(3)[labels],
        "far apart": 3e5 * np.eye(3)[labels],  # nothing is left of the derivative at temperature 1
        "shared": np.eye(3)[labels] + np.eye(3)[(labels + 1) % 3],
        "reversed": -np.eye(3)[labels],
        "equal": np.repeat(np.array([[1.0], [2.0], [-3.0], [0.0]]), 3, axis=1),
    }[case]
    estimator = TemperatureScaling()
    with pytest.warns(ConvergenceWarning, match=words):
        estimator.fit(scores, labels)
    assert estimator.temperature_ == temperature
    assert np.isfinite(estimator.predict_proba(scores)).all()
    if case in ("separated", "far apart"):
        assert (estimator.predict_proba(scores) == np.eye(3)[labels]).all()


@needs_sklearn
def test_few_evaluations_are_said() -> None:
    scores, labels = overconfident()
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        few = TemperatureScaling(max_iter=4).fit(scores, labels)
    assert few.n_iter_ == 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        enough = TemperatureScaling().fit(scores, labels)
    assert few.loss_ >= enough.loss_


SCORES = np.array([[2.0, 0.0, 1.0], [0.0, 3.0, 1.0], [1.0, 0.0, 0.5], [0.0, 0.5, 0.0]])
LABELS = np.array(["a", "b", "c", "a"])


def changed(at: Any, value: Any, array: np.ndarray = SCORES) -> np.ndarray:
    copy = array.copy()
    copy[at] = value
    return copy


@needs_sklearn
@pytest.mark.parametrize(
    "scores, labels, options, words",
    [
        (changed((2, 1), np.nan), LABELS, {}, ["X[2, 1]", "nan", "-inf for a class"]),
        (changed((2, 1), np.inf), LABELS, {}, ["X[2, 1]", "inf"]),
        (changed(2, -np.inf), LABELS, {}, ["X[2]", "-inf in every column"]),
        (changed((2, 2), -np.inf), LABELS, {}, ["X[2, 2]", "'c'", "-inf at the label"]),
        (SCORES[:, :2], LABELS, {}, ["3 classes", "columns for 2", "classes="]),
        (SCORES, np.array([0, 1, 0, 1]), {}, ["2 classes", "columns for 3", "classes="]),
        (SCORES, np.zeros(4, int), {}, ["1 class,"]),
        (SCORES, LABELS, {"classes": ["a", "b"]}, ["classes", "(2,)", "columns for 3"]),
        (SCORES, LABELS, {"classes": ["a", "b", "b"]}, ["classes", "of its own"]),
        (SCORES, LABELS, {"classes": ["a", "b", "d"]}, ["y[2]", "'c'", "not in classes"]),
        (SCORES, np.array([0, 1, 2, 3]), {"classes": [0, 1, 2]}, ["y[3]", "3", "not in classes"]),
        (SCORES, LABELS[:3], {}, ["inconsistent numbers of samples"]),
        (SCORES, LABELS, {"sample_weight": [1, 1, 1]}, ["sample_weight", "(3,)"]),
        (SCORES, LABELS, {"sample_weight": [1, 1, -1, 1]}, ["sample_weight[2]", "-1"]),
        (SCORES, LABELS, {"sample_weight": np.zeros(4)}, ["sample_weight is zero"]),
        (np.array(fx.softmax(SCORES, axis=1)), LABELS, {}, ["probabilities", "numpy.log(X)"]),
        (SCORES, LABELS, {"tol": -1.0}, ["tol", "-1"]),
        (SCORES, LABELS, {"max_iter": 0}, ["max_iter is 0"]),
    ],
)
def test_refusals(scores: Any, labels: Any, options: dict[str, Any], words: list[str]) -> None:
    options = dict(options)
    weights = options.pop("sample_weight", None)
    estimator = TemperatureScaling(**options)
    with pytest.raises(ValueError) as refused:
        estimator.fit(scores, labels, weights)
    for word in words:
        assert word in str(refused.value)
    with pytest.raises(NotFittedError):
        estimator.predict(scores)


@needs_sklearn
def test_predictions_refuse_what_fit_does() -> None:
    fitted = TemperatureScaling().fit(SCORES, LABELS)
    for method in (fitted.predict, fitted.predict_proba, fitted.decision_function):
        with pytest.raises(ValueError, match=r"X\[1, 2\] is nan"):
            method(changed((1, 2), np.nan))
        with pytest.raises(ValueError, match="2 features"):
            method(SCORES[:, :2])
    assert fitted.predict_proba([[-np.inf, 0.0, 1.0]])[0, 0] == 0


if importlib.util.find_spec("sklearn"):

    class Scores(TransformerMixin, BaseEstimator):  # type: ignore[misc]
        """A column for each class: minus the squared distance to its mean, so that a check's features become scores."""

        def fit(self, X: Any, y: Any) -> Scores:
            from sklearn.utils.multiclass import check_classification_targets
            from sklearn.utils.validation import validate_data

            X, y = validate_data(self, X, y, dtype=np.float64)
            check_classification_targets(y)
            self.means_ = np.array([X[y == label].mean(axis=0) for label in np.unique(y)])
            return self

        def transform(self, X: Any) -> np.ndarray:
            from sklearn.utils.validation import check_is_fitted, validate_data

            check_is_fitted(self)
            X = validate_data(self, X, dtype=np.float64, reset=False)
            return np.asarray(-((X[:, None] - self.means_) ** 2).sum(axis=2))

    COLUMNS = "columns are classes: the check's X has another number of columns than its y has classes"
    FAILING = dict.fromkeys(
        (
            "check_estimators_overwrite_params",
            "check_estimators_fit_returns_self",
            "check_readonly_memmap_input",
            "check_n_features_in_after_fitting",
            "check_positive_only_tag_during_fit",
            "check_estimators_dtypes",
            "check_sample_weight_equivalence_on_dense_data",
            "check_dtype_object",
            "check_pipeline_consistency",
            "check_estimators_nan_inf",
            "check_estimators_pickle",
            "check_classifiers_classes",
            "check_classifiers_train",
            "check_non_transformer_estimators_n_iter",
        ),
        COLUMNS,
    )

    PIPELINE = "the pipeline itself replaces its steps by fitted ones"
    FAILING_PIPELINE = dict.fromkeys(("check_estimators_overwrite_params", "check_dont_overwrite_parameters"), PIPELINE)

    @pytest.mark.filterwarnings("ignore")
    @parametrize_with_checks(
        [TemperatureScaling(), make_pipeline(Scores(), TemperatureScaling())],
        expected_failed_checks=lambda estimator: (
            FAILING if isinstance(estimator, TemperatureScaling) else FAILING_PIPELINE
        ),
    )
    def test_sklearn_checks(estimator: Any, check: Any) -> None:
        check(estimator)


def test_without_sklearn() -> None:
    program = """
        import sys
        sys.modules["sklearn"] = None
        from fastxent import calibration
        print(calibration.expected_calibration_error([0.25, 0.75], [0, 1]))
        try:
            calibration.TemperatureScaling
        except ImportError as error:
            print(error)
        try:
            calibration.Temperature
        except AttributeError as error:
            print(error)
    """
    assert output(program).splitlines() == [
        "0.25",
        'TemperatureScaling is a scikit-learn estimator: pip install "fastxent[sklearn]"',
        "module 'fastxent.calibration' has no attribute 'Temperature'",
    ]


# ---- calibration errors --------------------------------------------------------------------------------------


def definition(confidence: Any, right: Any, weights: Any, edges: Any, norm: str) -> float:
    """Row by row and bin by bin."""
    total, gaps = sum(weights), []
    for b in range(len(edges) - 1):
        inside = [
            i
            for i, p in enumerate(confidence)
            if weights[i] and (edges[b] < p or b == 0) and (p <= edges[b + 1] or b == len(edges) - 2)
        ]
        if inside:
            weight = sum(weights[i] for i in inside)
            gap = sum(weights[i] * (right[i] - confidence[i]) for i in inside) / weight
            gaps.append((weight / total, abs(gap)))
    if norm == "max":
        return float(max(gap for _, gap in gaps))
    power = 1 if norm == "l1" else 2
    return float(sum(share * gap**power for share, gap in gaps) ** (1 / power))


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_bins", [1, 7, 15])
@pytest.mark.parametrize("classes", [1, 2, 5])
def test_definition(classes: int, n_bins: int, weighted: bool, norm: str) -> None:
    rng = np.random.default_rng(classes)
    weights = rng.choice([0.0, 0.3, 2.0], 300) if weighted else None
    w = np.ones(300) if weights is None else weights
    if classes == 1:
        p = rng.random(300).round(2)  # many on the edges
        labels = (rng.random(300) < p**2).astype(int)
        confidence, right = p, labels
    else:
        p = rng.dirichlet(np.full(classes, 0.4), 300)
        labels = rng.integers(0, classes, 300)
        confidence, right = p.max(axis=1), p.argmax(axis=1) == labels
    error = expected_calibration_error(p, labels, n_bins=n_bins, norm=norm, sample_weight=weights)
    assert error == pytest.approx(definition(confidence, right, w, np.linspace(0, 1, n_bins + 1), norm), rel=1e-12)

    curve = reliability_curve(p, labels, n_bins=n_bins, strategy="quantile", sample_weight=weights)
    error = expected_calibration_error(p, labels, n_bins=n_bins, strategy="quantile", norm=norm, sample_weight=weights)
    assert error == pytest.approx(definition(confidence, right, w, curve.edges, norm), rel=1e-12)
    assert curve.weight.sum() == pytest.approx(w.sum())
    assert curve.edges.shape == (n_bins + 1,)
    if classes > 1:  # no ties
        assert curve.weight.max() - curve.weight.min() <= 2 * w.max()


@needs_sklearn
@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_curve_against_sklearn(strategy: str) -> None:
    from sklearn.calibration import calibration_curve

    rng = np.random.default_rng(0)
    p = rng.random(3000)
    p[:4] = 0.0, 1.0, 0.5, 0.2
    labels = rng.random(3000) < p**1.5
    for n_bins in (1, 5, 10, 15):
        accuracy, confidence = calibration_curve(labels, p, n_bins=n_bins, strategy=strategy)
        curve = reliability_curve(p, labels, n_bins=n_bins, strategy=strategy)
        np.testing.assert_allclose(curve.accuracy, accuracy, rtol=1e-12)
        np.testing.assert_allclose(curve.confidence, confidence, rtol=1e-12)
        if strategy == "quantile":
            assert (curve.weight == 3000 / n_bins).all()


def test_a_weight_of_a_prediction_is_so_many_rows() -> None:
    rng = np.random.default_rng(3)
    p, labels, times = rng.dirichlet([1, 1, 1], 200), rng.integers(0, 3, 200), rng.integers(0, 4, 200)
    p[times == 0] = np.nan  # do not count, whatever they hold
    for strategy in ("uniform", "quantile"):
        weighted = reliability_curve(p, labels, strategy=strategy, sample_weight=times)
        repeated = reliability_curve(np.repeat(p, times, axis=0), np.repeat(labels, times), strategy=strategy)
        np.testing.assert_allclose(weighted.edges, repeated.edges)
        np.testing.assert_allclose(weighted.confidence, repeated.confidence)
        np.testing.assert_allclose(weighted.accuracy, repeated.accuracy)
        np.testing.assert_allclose(weighted.weight / weighted.weight.sum(), repeated.weight / repeated.weight.sum())


def test_the_command_line_agrees(tmp_path: Path) -> None:
    scores, labels = overconfident(2000, 6)
    weights = np.random.default_rng(4).random(2000)
    files = {"z": scores, "y": labels, "w": weights}
    for name, array in files.items():
        np.save(tmp_path / f"{name}.npy", array)
    metrics = evaluate_files(*(str(tmp_path / f"{name}.npy") for name in "zy"), weights=str(tmp_path / "w.npy"))
    error = expected_calibration_error(fx.softmax(scores, axis=1), labels, sample_weight=weights)
    assert error == pytest.approx(metrics.expected_calibration_error, rel=1e-9)


def test_dtypes_and_edges() -> None:
    for dtype in (np.float16, np.float32, np.float64):
        p = np.array([[1.0, 0.0], [0.5, 0.5], [0.25, 0.75]], dtype)
        curve = reliability_curve(p, np.array([0, 0, 0], np.uint8), n_bins=4)
        assert (curve.confidence == [0.5, 0.75, 1.0]).all()
        assert (curve.accuracy == [1.0, 0.0, 1.0]).all()
        assert (curve.weight == 1).all()
        assert all(array.dtype == np.float64 for array in curve)
    assert expected_calibration_error([0.0, 1.0, 1.0], [False, True, True]) == 0.0
    assert expected_calibration_error([0.0, 1.0], [True, False]) == 1.0
    # Equal values share a bin, however the quantiles fall.
    assert (reliability_curve([0.5] * 10, [0, 1] * 5, n_bins=5, strategy="quantile").weight == [10]).all()


P = np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125], [0.0, 0.0, 1.0]])
Y = np.array([0, 1, 0])


@pytest.mark.parametrize(
    "p, y, options, error, words",
    [
        (changed((1, 2), 1.5, P), Y, {}, ValueError, ["probabilities[1, 2]", "1.5", "scores", "fastxent.softmax"]),
        (changed((1, 2), np.nan, P), Y, {}, ValueError, ["probabilities[1, 2]", "nan"]),
        (np.array([0.5, -0.5, 0.0]), Y, {}, ValueError, ["probabilities[1]", "-0.5", "fastxent.expit"]),
        (changed(1, 0.25, P), Y, {}, ValueError, ["probabilities[1]", "0.75", "divide each row"]),
        (P[:, :1], Y, {}, ValueError, ["(3, 1)", "(n,) of class 1"]),
        (P[None], Y, {}, ValueError, ["(1, 3, 3)"]),
        (P, Y[:2], {}, ValueError, ["labels", "(2,)", "(3,)"]),
        (P, np.eye(3)[Y], {}, ValueError, ["labels", "(3, 3)"]),
        (P, Y.astype(float), {}, TypeError, ["labels", "float64", "astype"]),
        (P, Y == 1, {}, TypeError, ["labels", "bool"]),
        (P, np.array(["a", "b", "c"]), {}, TypeError, ["labels"]),
        (P, np.array([0, 3, 1]), {}, ValueError, ["labels[1]", "3", "0 to 2"]),
        (P, np.array([0, 1, -1]), {}, ValueError, ["labels[2]", "-1"]),
        (P[:, 0], np.array([0, 2, 1]), {}, ValueError, ["labels[1]", "2", "0 to 1"]),
        (P[:0], Y[:0], {}, ValueError, ["no row counts"]),
        (P, Y, {"sample_weight": np.zeros(3)}, ValueError, ["no row counts"]),
        (P, Y, {"sample_weight": [1.0, np.nan, 1.0]}, ValueError, ["sample_weight[1]", "nan"]),
        (P, Y, {"sample_weight": [1.0]}, ValueError, ["sample_weight", "(1,)"]),
        (P, Y, {"n_bins": 0}, ValueError, ["n_bins is 0"]),
        (P, Y, {"n_bins": 2.5}, TypeError, ["n_bins is 2.5"]),
        (P, Y, {"n_bins": True}, TypeError, ["n_bins is True"]),
        (P, Y, {"strategy": "kmeans"}, ValueError, ["strategy is 'kmeans'", "uniform or quantile"]),
        (P, Y, {"norm": "l3"}, ValueError, ["norm is 'l3'", "l1, l2 or max"]),
        (P.astype(object), Y, {}, TypeError, ["probabilities", "object"]),
        (np.ma.masked_array(P), Y, {}, TypeError, ["masked"]),
    ],
)
def test_refused_predictions(p: Any, y: Any, options: dict[str, Any], error: type[Exception], words: list[str]) -> None:
    with pytest.raises(error) as refused:
        expected_calibration_error(p, y, **options)
    for word in words:
        assert word in str(refused.value)
