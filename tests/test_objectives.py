"""Objectives and metrics for gradient boosting: their numbers and layouts, and, where LightGBM and XGBoost are
installed (as `make test-peers` does), training with them."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from fastxent import losses
from fastxent.objectives import lightgbm_metric, lightgbm_objective, xgboost_metric, xgboost_objective
from losses import same_bits

RNG = np.random.default_rng(0)
N, K = 50, 4
BINARY = [losses.SigmoidCrossEntropy(), losses.SigmoidFocalLoss(), losses.SigmoidFocalLoss(gamma=5.0, alpha=0.25)]
MULTICLASS = [losses.SoftmaxCrossEntropy(), losses.SoftmaxFocalLoss(), losses.GeneralizedCrossEntropy()]
every_loss = pytest.mark.parametrize("loss", BINARY + MULTICLASS, ids=repr)
both = pytest.mark.parametrize("make", [lightgbm_objective, xgboost_objective])


class Data:
    """What both libraries' data sets have in common."""

    def __init__(self, label: Any, weight: Any = None) -> None:
        self.label, self.weight = label, weight

    def get_label(self) -> Any:
        return self.label

    def get_weight(self) -> Any:
        return self.weight


def draw(loss: Any, dtype: Any = np.float64) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if loss.is_multiclass:
        return RNG.integers(0, K, N).astype(np.float32), RNG.normal(size=(N, K)).astype(dtype), RNG.random(N)
    return RNG.integers(0, 2, N).astype(np.float32), 3 * RNG.normal(size=N).astype(dtype), RNG.random(N)


# ---- numbers ---------------------------------------------------------------------------------------------------


@every_loss
@both
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_derivatives_are_those_of_the_loss(loss: Any, make: Any, dtype: Any) -> None:
    y, scores, weight = draw(loss, dtype)
    gradient, hessian = loss.gradient_hessian(y, scores, weight)
    smallest = dtype(1e-16)
    factor = K / (K - 1) if loss.is_multiclass else 1.0
    for name, wanted in {
        "exact": np.maximum(hessian, smallest),
        "upper": np.maximum(2 * hessian, smallest),
        "lightgbm": np.maximum(dtype(factor) * hessian, smallest),
        "abs": np.maximum(np.abs(gradient), smallest),
    }.items():
        got = make(loss, hessian=name)(y, scores, weight)
        assert same_bits(got[0], gradient)
        np.testing.assert_allclose(got[1], wanted, rtol=1e-6 if dtype == np.float32 else 1e-15)
        assert got[1].dtype == dtype and (got[1] >= smallest).all()
        # xgboost.train and lightgbm.train: scores first, labels and weights in the data.
        again = make(loss, hessian=name)(scores, Data(y, weight))
        assert all(map(same_bits, got, again))


def test_cross_entropy_s_second_derivatives_in_words() -> None:
    y, z = np.array([2, 0]), np.array([[0.5, -1.0, 2.0], [0.0, 1.0, 3.0]])
    p = losses.SoftmaxCrossEntropy().predict_proba(z)
    for name, wanted in {
        "exact": p * (1 - p),
        "upper": 2 * p * (1 - p),
        "lightgbm": 1.5 * p * (1 - p),
        "abs": np.abs(p - np.eye(3)[y]),
    }.items():
        objective = xgboost_objective(losses.SoftmaxCrossEntropy(), hessian=name)
        np.testing.assert_allclose(objective(y, z)[1], wanted, rtol=1e-12)


def test_second_derivatives_stay_above_zero() -> None:
    """A focal loss bends the other way far on the wrong side, and nothing bends where all is right."""
    z = np.array([-8.0, 800.0, 0.5])
    for hessian in ("exact", "upper", "lightgbm", "abs"):
        for make in (lightgbm_objective, xgboost_objective):
            got = make(losses.SigmoidFocalLoss(), hessian=hessian)(np.ones(3), z)[1]
            assert (got >= 1e-16).all()
    assert losses.SigmoidFocalLoss().gradient_hessian(np.ones(3), z)[1][0] < 0


@every_loss
def test_layouts_of_lightgbm(loss: Any) -> None:
    y, scores, weight = draw(loss)
    objective = lightgbm_objective(loss)
    wanted = objective(y, scores, weight)
    ordered = objective(y, np.asfortranarray(scores), weight)
    for a, b in zip(ordered, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-15)
        # What LightGBM flattens class by class, without a copy.
        assert a.flags.f_contiguous and np.shares_memory(a.ravel(order="F"), a)
    flat = objective(scores.ravel(order="F"), Data(y, weight))
    for a, b in zip(flat, wanted, strict=True):
        np.testing.assert_allclose(a, b.ravel(order="F"), rtol=1e-15)


@every_loss
def test_metrics_are_the_average_loss(loss: Any) -> None:
    y, scores, weight = draw(loss)
    for weights in (None, weight):
        wanted = loss(y, scores, weights)
        metric = lightgbm_metric(loss, name="mine")
        assert metric(y, scores, weights) == metric(scores, Data(y, weights)) == ("mine", wanted, False)
        metric = xgboost_metric(loss, name="mine")
        assert metric(y, scores, weights) == wanted
        assert metric(scores, Data(y, np.array([]) if weights is None else weights)) == ("mine", wanted)
        assert metric.__name__ == "mine" and xgboost_metric(loss).__name__ == type(loss).__name__


@every_loss
@both
def test_initial_scores(loss: Any, make: Any) -> None:
    y, _, weight = draw(loss)
    objective = make(loss)
    scores = objective.initial_scores(y, weight)
    assert scores.shape == ((N, K) if loss.is_multiclass else (N,))
    np.testing.assert_array_equal(scores[0], loss.fit_intercept_only(y, weight))
    np.testing.assert_array_equal(objective.initial_scores(y, weight, n=3), scores[:3])
    gradient, _ = objective(y, scores, weight)
    np.testing.assert_allclose(gradient.sum(0), 0, atol=1e-6)


def test_independent_outcomes() -> None:
    y, z = RNG.integers(0, 2, (N, 3)), RNG.normal(size=(N, 3)).astype(np.float32)
    wanted = losses.SigmoidCrossEntropy().gradient_hessian(y, z)
    # A DMatrix gives its labels flat.
    got = xgboost_objective(losses.SigmoidCrossEntropy())(z, Data(y.ravel().astype(np.float32), np.array([])))
    assert all(map(same_bits, got, wanted))


@both
def test_objectives_are_values(make: Any) -> None:
    objective = make(losses.SigmoidFocalLoss(alpha=0.25), hessian="abs", n_threads=1)
    for other in (pickle.loads(pickle.dumps(objective)), copy.deepcopy(objective)):
        assert other == objective and hash(other) == hash(objective)
    assert objective != make(losses.SigmoidFocalLoss(alpha=0.5), hessian="abs", n_threads=1)


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: lightgbm_objective("softmax"), "loss is 'softmax': give an object of fastxent.losses"),
        (lambda: xgboost_metric(losses.SoftmaxCrossEntropy), "give an object of fastxent.losses"),
        (lambda: xgboost_objective(losses.SoftmaxCrossEntropy(), hessian="exactly"), "hessian is 'exactly'"),
        (lambda: xgboost_metric(losses.SigmoidCrossEntropy(), name="my loss"), "name is 'my loss'"),
        (lambda: lightgbm_metric(losses.SigmoidCrossEntropy(), name="my:loss"), "name is 'my:loss'"),
        (
            lambda: lightgbm_metric(losses.SoftmaxCrossEntropy())(np.zeros(2), np.array([[0.25, 0.75], [0.5, 0.5]])),
            "add up to 1, as probabilities do",
        ),
        (
            lambda: lightgbm_objective(losses.SoftmaxCrossEntropy())(np.zeros(4), np.zeros(4)),
            "one for each row.*num_class",
        ),
        (
            lambda: lightgbm_objective(losses.SoftmaxCrossEntropy())(np.array([0, 5]), np.zeros((2, 3))),
            r"y_true\[1\] is 5",
        ),
        (lambda: xgboost_objective(losses.SigmoidCrossEntropy())(np.array([0, 5]), np.zeros(2)), r"y_true\[1\] is 5"),
    ],
)
def test_refusals(call: Any, says: str) -> None:
    with pytest.raises((ValueError, TypeError), match=says):
        call()


# ---- training --------------------------------------------------------------------------------------------------


def split(X: np.ndarray, y: np.ndarray) -> Any:
    from sklearn.model_selection import train_test_split

    return train_test_split(X, y, random_state=0, stratify=y)


def cancer() -> Any:
    from sklearn.datasets import load_breast_cancer

    return split(*load_breast_cancer(return_X_y=True))


def digits() -> Any:
    from sklearn.datasets import load_digits

    return split(*load_digits(return_X_y=True))


def one_in_a_hundred() -> Any:
    from sklearn.datasets import make_classification

    made = make_classification(8000, 20, n_informative=6, weights=[0.99], flip_y=0.002, random_state=1)
    return split(*made)


LIGHTGBM = {"num_leaves": 15, "learning_rate": 0.1, "verbosity": -1, "num_threads": 2, "deterministic": True, "seed": 0}
XGBOOST = {"max_depth": 4, "eta": 0.3, "nthread": 2, "seed": 0, "base_score": 0.5}


@pytest.mark.parametrize(
    "data, built_in, loss, hessian",
    [
        (cancer, {"objective": "binary", "metric": "binary_logloss"}, losses.SigmoidCrossEntropy(), "exact"),
        (
            digits,
            {"objective": "multiclass", "metric": "multi_logloss", "num_class": 10},
            losses.SoftmaxCrossEntropy(),
            "lightgbm",
        ),
    ],
    ids=["binary", "multiclass"],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_lightgbm_s_own_curve(data: Any, built_in: dict[str, Any], loss: Any, hessian: str, weighted: bool) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    X, X_test, y, y_test = data()
    weight = np.linspace(0.5, 1.5, len(y)) if weighted else None
    objective, metric = lightgbm_objective(loss, hessian=hessian), lightgbm_metric(loss, name="ours")

    def curve(parameters: dict[str, Any], start: bool, feval: Any = None) -> np.ndarray:
        scores = [objective.initial_scores(y, weight, n) if start else None for n in (len(y), len(y_test))]
        train = lightgbm.Dataset(X, y, weight=weight, init_score=scores[0])
        test = lightgbm.Dataset(X_test, y_test, reference=train, init_score=scores[1])
        seen: dict[str, Any] = {}
        callbacks = [lightgbm.record_evaluation(seen)]
        lightgbm.train({**LIGHTGBM, **parameters}, train, 30, valid_sets=[test], feval=feval, callbacks=callbacks)
        (values,) = seen["valid_0"].values()
        return np.array(values)

    ours = curve({**built_in, "objective": objective, "metric": "none"}, True, metric)
    np.testing.assert_allclose(ours, curve(built_in, False), rtol=1e-6)


@pytest.mark.parametrize(
    "data, built_in, loss, hessian",
    [
        (cancer, {"objective": "binary:logistic", "eval_metric": "logloss"}, losses.SigmoidCrossEntropy(), "exact"),
        (
            digits,
            {"objective": "multi:softprob", "eval_metric": "mlogloss", "num_class": 10},
            losses.SoftmaxCrossEntropy(),
            "upper",
        ),
    ],
    ids=["binary", "multiclass"],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_xgboost_s_own_curve(data: Any, built_in: dict[str, Any], loss: Any, hessian: str, weighted: bool) -> None:
    xgboost = pytest.importorskip("xgboost")
    X, X_test, y, y_test = data()
    weight = np.linspace(0.5, 1.5, len(y)) if weighted else None
    train, test = xgboost.DMatrix(X, y, weight=weight), xgboost.DMatrix(X_test, y_test)

    def curve(parameters: dict[str, Any], **ours: Any) -> np.ndarray:
        seen: dict[str, Any] = {}
        everything = {**XGBOOST, **parameters}
        xgboost.train(everything, train, 15, evals=[(test, "test")], evals_result=seen, verbose_eval=False, **ours)
        (values,) = seen["test"].values()
        return np.array(values)

    theirs = curve(built_in)
    objective, metric = xgboost_objective(loss, hessian=hessian), xgboost_metric(loss, name="ours")
    # A margin of 0 is what their base score of a half comes to.
    own = {"base_score": 0.0, "disable_default_eval_metric": True, "num_class": built_in.get("num_class", 0)}
    np.testing.assert_allclose(curve(own, obj=objective, custom_metric=metric), theirs, rtol=2e-5)


@pytest.mark.parametrize(
    "built_in, loss", [("binary:logistic", losses.SigmoidCrossEntropy()), ("multi:softprob", None)]
)
def test_xgboost_from_its_own_start(built_in: str, loss: Any) -> None:
    xgboost = pytest.importorskip("xgboost")
    X, X_test, y, _ = cancer() if loss else digits()
    options = {} if loss else {"num_class": 10}
    objective = xgboost_objective(loss or losses.SoftmaxCrossEntropy(), hessian="exact" if loss else "upper")
    start = objective.initial_scores(y)
    train = xgboost.DMatrix(X, y, base_margin=start)
    test = xgboost.DMatrix(X_test, base_margin=objective.initial_scores(y, n=len(X_test)))
    ours = xgboost.train({**XGBOOST, **options}, train, 5, obj=objective).predict(test, output_margin=True)
    theirs = xgboost.train({**XGBOOST, **options, "objective": built_in}, train, 5).predict(test, output_margin=True)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_metrics_without_a_name_of_their_own() -> None:
    xgboost = pytest.importorskip("xgboost")
    X, _, y, _ = cancer()
    train = xgboost.DMatrix(X, y)
    loss = losses.SigmoidFocalLoss(gamma=2.5, alpha=0.3)
    seen: dict[str, Any] = {}
    xgboost.train(
        {**XGBOOST, "disable_default_eval_metric": True},
        train,
        3,
        obj=xgboost_objective(loss),
        custom_metric=xgboost_metric(loss),
        evals=[(train, "train")],
        evals_result=seen,
        verbose_eval=False,
    )
    assert list(seen["train"]) == ["SigmoidFocalLoss"]


@pytest.mark.parametrize("hessian", ["exact", "upper", "lightgbm", "abs"])
@pytest.mark.parametrize("loss", BINARY, ids=repr)
@pytest.mark.parametrize("data", [cancer, one_in_a_hundred])
def test_classifiers_learn_two_classes(data: Any, loss: Any, hessian: str) -> None:
    lightgbm, xgboost = pytest.importorskip("lightgbm"), pytest.importorskip("xgboost")
    from sklearn.metrics import average_precision_score

    X, X_test, y, y_test = data()
    wanted = 0.97 if data is cancer else 0.4  # chance: 0.63 and 0.01; XGBoost's own objective: 0.53
    objective = lightgbm_objective(loss, hessian=hessian)
    start = objective.initial_scores(y)
    model = lightgbm.LGBMClassifier(objective=objective, n_estimators=60, verbosity=-1).fit(X, y, init_score=start)
    assert average_precision_score(y_test, model.predict(X_test, raw_score=True)) > wanted
    assert loss(y, model.predict(X, raw_score=True) + start) < 0.5 * loss(y, start)
    model = xgboost.XGBClassifier(objective=xgboost_objective(loss, hessian=hessian), n_estimators=60)
    assert average_precision_score(y_test, model.fit(X, y).predict(X_test, output_margin=True)) > wanted


@pytest.mark.parametrize("loss", MULTICLASS, ids=repr)
def test_classifiers_learn_several_classes(loss: Any) -> None:
    lightgbm, xgboost = pytest.importorskip("lightgbm"), pytest.importorskip("xgboost")
    X, X_test, y, y_test = digits()
    weight = np.ones(len(y))
    # The exact one of a bounded loss bends the other way for most rows at the start.
    hessian = "abs" if isinstance(loss, losses.GeneralizedCrossEntropy) else "exact"
    objective = lightgbm_objective(loss, hessian=hessian)
    model = lightgbm.LGBMClassifier(objective=objective, n_estimators=40, verbosity=-1)
    model.fit(X, y, sample_weight=weight)
    assert (model.predict(X_test, raw_score=True).argmax(1) == y_test).mean() > 0.94
    model = xgboost.XGBClassifier(
        objective=xgboost_objective(loss, hessian=hessian),
        n_estimators=20,
        eval_metric=xgboost_metric(loss, name="ours"),
    )
    model.fit(X, y, sample_weight=weight, eval_set=[(X_test, y_test)], verbose=False)
    assert model.score(X_test, y_test) > 0.93
    curve = model.evals_result()["validation_0"]["ours"]
    assert curve[-1] < 0.5 * curve[0]
    assert curve[-1] == pytest.approx(loss(y_test, model.predict(X_test, output_margin=True)), rel=1e-5)


def numpy_focal(gamma: float, alpha: float) -> Any:
    """The focal objective as it goes around, in NumPy."""

    def objective(y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sign, p = 2 * y - 1, 1 / (1 + np.exp(-z))
        at, pt = np.where(y, alpha, 1 - alpha), np.where(y, p, 1 - p)
        u, du = at * sign * (1 - pt) ** gamma, -at * sign * gamma * (1 - pt) ** (gamma - 1)
        v, dv = gamma * pt * np.log(pt) + pt - 1, gamma * np.log(pt) + gamma + 1
        return u * v, np.maximum((du * v + u * dv) * sign * pt * (1 - pt), 1e-16)

    return objective


def splits(node: dict[str, Any]) -> Any:
    """A tree without what its leaves add."""
    if "leaf_value" in node:
        return node["leaf_count"]
    return node["split_feature"], node["threshold"], splits(node["left_child"]), splits(node["right_child"])


@pytest.mark.parametrize("gamma", [2.0, 1.5])
def test_lightgbm_grows_the_trees_of_the_usual_focal_objective(gamma: float) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    X, X_test, y, _ = one_in_a_hundred()
    ours = lightgbm_objective(losses.SigmoidFocalLoss(gamma=gamma, alpha=0.25))
    trees = []
    for objective in (ours, numpy_focal(gamma, 0.25)):
        model = lightgbm.LGBMClassifier(
            objective=objective, n_estimators=20, verbosity=-1, deterministic=True, n_jobs=1, random_state=0
        ).fit(X, y)
        grown = [splits(tree["tree_structure"]) for tree in model.booster_.dump_model()["tree_info"]]
        trees.append((grown, model.predict(X_test, raw_score=True)))
    assert trees[0][0] == trees[1][0] and len(trees[0][0]) == 20
    np.testing.assert_allclose(trees[0][1], trees[1][1], rtol=1e-6)
