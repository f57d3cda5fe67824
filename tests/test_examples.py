"""The examples run, on little data, and learn."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastxent as fx
from fastxent import losses
from subprocesses import output

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def module(name: str) -> Any:
    """An example, imported."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found  # where pickle looks for its classes
    spec.loader.exec_module(found)
    return found


BoostedTrees = module("custom_estimator").BoostedTrees


def test_word_vectors(tmp_path: Path) -> None:
    png = tmp_path / "words.png"
    arguments = ("--words", "60000", "--epochs", "2", "--dimensions", "16", "--png", str(png))
    said = output(str(EXAMPLES / "word_vectors.py"), *arguments, timeout=300)
    epochs = [float(line.split("loss ")[1].split(",")[0]) for line in said.splitlines() if line.startswith("epoch")]
    assert len(epochs) == 2 and epochs[1] < epochs[0]
    assert "list: " in said
    assert png.read_bytes().startswith(b"\x89PNG")


# ---- an estimator of one's own -------------------------------------------------------------------------------


@parametrize_with_checks([BoostedTrees(rounds=5), BoostedTrees(losses.SoftmaxFocalLoss(gamma=1.0), rounds=5)])
def test_custom_estimator_as_scikit_learn_checks_it(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize(
    "loss", [None, losses.SoftmaxFocalLoss(gamma=1.0), losses.PolyCrossEntropy(), losses.GeneralizedCrossEntropy()]
)
def test_custom_estimator_learns(loss: Any) -> None:
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])
    model = BoostedTrees(loss, rounds=20, random_state=0).fit(X[::2], names[y[::2]])
    assert model.score(X[1::2], names[y[1::2]]) > 0.9
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1.0)


def test_custom_estimator_prints_both_losses() -> None:
    """The one that is made for wrong labels does better on them."""
    said = output(str(EXAMPLES / "custom_estimator.py"), timeout=300)
    plain, robust = re.findall(r"accuracy (.*)%, log loss (.*)", said)
    assert "SoftmaxCrossEntropy()" in said and "GeneralizedCrossEntropy()" in said
    assert float(plain[0]) > 85 and float(robust[0]) > 90
    assert float(robust[1]) < float(plain[1])


# ---- a perceptron --------------------------------------------------------------------------------------------


def test_mlp_digits_learns() -> None:
    said = output(str(EXAMPLES / "mlp_digits.py"), timeout=300)
    epochs = np.array(re.findall(r"loss (\S+); test: loss (\S+), accuracy (\S+)%", said), float)
    assert epochs.shape == (30, 3)
    assert epochs[-1, 0] < epochs[0, 0] / 10 and epochs[-1, 1] < 0.2
    assert epochs[-1, 2] > 97


def test_mlp_digits_backpropagates() -> None:
    """Its gradients are what differences of the loss are."""
    example, rng = module("mlp_digits"), np.random.default_rng(0)
    model = example.Perceptron((5, 7, 6, 3), rng)
    x, y = rng.normal(size=(20, 5)).astype(np.float32), rng.integers(0, 3, 20)
    params = [param.copy() for param in model.params]
    model.step(x, y)
    for param, before in zip(model.params, params, strict=True):
        param[...] = before
    for param, before, grad in zip(model.params, params, model.grads, strict=True):
        change = 1e-4 * rng.choice([-1.0, 1.0], param.shape)  # short: rectifiers have kinks
        around = []
        for sign in (1, -1):
            param[...] = before + sign * change
            around.append(fx.softmax_cross_entropy(model.scores(x).astype(float), y))
        param[...] = before
        assert around[0] - around[1] == pytest.approx(2 * np.vdot(grad, change), rel=0.01, abs=1e-6)
