"""Boosted trees for any softmax loss of `fastxent.losses`: a scikit-learn estimator of one's own, in Newton steps.

In the example a fifth of the labels it learns from are wrong: one loss believes them all, the other one does not.
"""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, check_random_state, validate_data

from fastxent.losses import GeneralizedCrossEntropy, SoftmaxCrossEntropy


class BoostedTrees(ClassifierMixin, BaseEstimator):
    def __init__(self, loss=None, rounds=60, learning_rate=0.2, random_state=None):
        self.loss, self.rounds, self.learning_rate, self.random_state = loss, rounds, learning_rate, random_state

    def fit(self, X, y):
        X, y = validate_data(self, X, y)
        check_classification_targets(y)
        self.classes_, y = np.unique(y, return_inverse=True)
        self.loss_ = SoftmaxCrossEntropy() if self.loss is None else self.loss
        self.start_, self.trees_ = self.loss_.fit_intercept_only(y), []
        scores, rng = np.tile(self.start_, (len(y), 1)), check_random_state(self.random_state)
        for _ in range(self.rounds):
            gradient, hessian = self.loss_.gradient_hessian(y, scores)
            hessian = np.abs(hessian) + 1e-2  # steps lead downhill and are not too long, however the loss bends
            trees = [DecisionTreeRegressor(max_depth=3, max_features="sqrt", random_state=rng) for _ in scores.T]
            for tree, g, h in zip(trees, gradient.T, hessian.T, strict=True):
                tree.fit(X, -g / h, h)  # a leaf's mean, of -g / h with weights h, is a Newton step: -sum(g) / sum(h)
            scores += self._step(trees, X)
            self.trees_.append(trees)
        return self

    def _step(self, trees, X):
        return self.learning_rate * np.stack([tree.predict(X) for tree in trees], axis=1)

    def predict_proba(self, X):
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)
        return self.loss_.predict_proba(self.start_ + sum(self._step(trees, X) for trees in self.trees_))

    def predict(self, X):
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]


if __name__ == "__main__":
    X, X_test, y, y_test = train_test_split(*load_digits(return_X_y=True), test_size=0.25, random_state=0)
    rng = np.random.default_rng(0)
    y = np.where(rng.random(len(y)) < 0.2, (y + rng.integers(1, 10, len(y))) % 10, y)
    for loss in (SoftmaxCrossEntropy(), GeneralizedCrossEntropy(q=0.7)):
        proba = BoostedTrees(loss, random_state=0).fit(X, y).predict_proba(X_test)
        print(f"{loss}: accuracy {np.mean(proba.argmax(axis=1) == y_test):.1%}, log loss {log_loss(y_test, proba):.3f}")
