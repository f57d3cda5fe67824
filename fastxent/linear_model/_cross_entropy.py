"""A linear classifier by any of the losses, fitted as a whole or piece by piece."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import compute_class_weight
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastxent import _kernels, _validate
from fastxent._blas import serial_blas
from fastxent.linear_model._objective import Objective
from fastxent.linear_model._progress import Progress
from fastxent.linear_model._scores import scores_of
from fastxent.linear_model._solvers import find_minimum
from fastxent.linear_model._targets import Targets, is_matrix, loss_of, targets_of
from fastxent.linear_model._whole import all_or_nothing
from fastxent.special import expit, log_expit, log_softmax, softmax

_FLOATS = (np.float64, np.float32)


class CrossEntropyClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Linear classifier by cross-entropy or any other loss of scores, without an array of all scores.

    Minimises, over coefficients W and intercepts b, with weights w of the rows::

        sum_i w_i loss(y_i, W x_i + b) / sum_i w_i  +  alpha / 2 ||W||^2

    For independent outputs it is the sum of this over all outputs. Where the loss is cross-entropy, it is what
    `sklearn.linear_model.LogisticRegression` minimises with ``C = 1 / (alpha * sum_i w_i)``.

    Parameters
    ----------
    loss : {"softmax", "sigmoid"}, object of `fastxent.losses`, or None, default None
        Exclusive classes, or independent outputs; an object brings options, those by class in the order of
        `classes_`, and no `ignore_index`. None: sigmoid for two classes and for matrices of 0 and 1, softmax for
        everything else. Labels of more than two classes under a sigmoid loss are one against the rest.
    alpha : float, default 1e-4
        Factor of the L2 penalty, which does not include the intercepts.
    fit_intercept : bool, default True
        Whether there are intercepts.
    class_weight : dict of class to weight, "balanced" or None, default None
        Weights of the rows by their classes, "balanced" inversely to how frequent these are; of distributions the
        weight is the mean over the row. Not for independent labels: give `pos_weight` to the loss.
    solver : {"lbfgs", "newton-cg"}, default "lbfgs"
        Of `scipy.optimize`, both in variables that even out the curvature. "newton-cg" takes fewer iterations and more
        passes; it needs the Hessian's product, which among softmax losses cross-entropy has.
    tol : float, default 1e-4
        Where to stop: no element of the gradient is larger.
    max_iter : int, default 100
        How many iterations to do at most; of "newton-cg", each of at most 200 products with the Hessian.
    learning_rate : float, default 0.1
        Of the steps of `partial_fit`, by Adagrad.
    batch_size : int, default 256
        How many rows a step of `partial_fit` takes.
    warm_start : bool, default False
        Whether `fit` starts from what the last one found.
    n_threads : int, optional
        How many threads to use at most; the result has the same bits for every number.
    verbose : int, default 0
        Whether to show a progress bar.

    Attributes
    ----------
    classes_ : ndarray, shape (C,)
        Labels in order; for matrices, what their columns stand for.
    coef_ : ndarray, shape (K, d)
        float32 if the inputs are, otherwise float64. K is 1 for two classes under a sigmoid loss, otherwise C.
    intercept_ : ndarray, shape (K,)
    n_iter_ : ndarray of one int
        Iterations of the solver, or how often `partial_fit` was called.
    loss_curve_ : list of float
        The objective after each.
    loss_ : object of `fastxent.losses`
        The loss that was minimised, by which predictions are made.
    multilabel_ : bool
        Whether rows may have any number of the classes.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, if the inputs had names

    Raises
    ------
    TypeError, ValueError
        As `fastxent.linear_cross_entropy` and scikit-learn's validation; a fit that is refused or interrupted leaves
        the estimator as it was.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastxent.linear_model import CrossEntropyClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = CrossEntropyClassifier(alpha=1e-3).fit(X, y)
    >>> round(model.score(X, y), 2)
    0.99
    >>> model.predict_proba(X[:1]).round(3)
    array([[0.996, 0.004, 0.   ]])

    Source: Bohning, "Multinomial logistic regression algorithm" (1992).
    """

    def __init__(
        self,
        loss: Any = None,
        *,
        alpha: float = 1e-4,
        fit_intercept: bool = True,
        class_weight: Any = None,
        solver: str = "lbfgs",
        tol: float = 1e-4,
        max_iter: int = 100,
        learning_rate: float = 0.1,
        batch_size: int = 256,
        warm_start: bool = False,
        n_threads: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.loss = loss
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.warm_start = warm_start
        self.n_threads = n_threads
        self.verbose = verbose

    # ---- fitting ----

    def fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> CrossEntropyClassifier:
        """Find the minimum.

        Parameters
        ----------
        X : array_like or scipy.sparse, shape (n, d)
            float32 and float64 are taken as they are, a memory map too; everything else becomes float64. Sparse ones
            become CSR, of which a second copy, by columns, may be held while the fit goes on.
        y : array_like, shape (n,), or array_like or scipy.sparse, shape (n, C)
            Labels; or a column for each class: 0 and 1 for any number of classes a row, or distributions.
        sample_weight : array_like, shape (n,), optional
            Weights of the rows, not negative.
        classes : array_like, shape (C,), optional
            All labels there are, or what the columns of y stand for.

        Returns
        -------
        The estimator itself.
        """
        with all_or_nothing(self):
            X, y = self._validated(X, y, reset=True)
            targets = targets_of(y, self.loss, classes)
            objective = self._objective(X, targets, sample_weight)
            if self.solver == "newton-cg" and not objective.has_hessian_product:
                raise ValueError(
                    f'solver is "newton-cg", but loss {targets.loss!r} has no Hessian product: use "lbfgs"'
                )
            start = self._start(objective, targets) if self.warm_start else None
            with Progress(self.verbose, self.max_iter, "fit") as progress, serial_blas.throughout():

                def report(loss: float, slope: float) -> None:
                    progress.advance(1, loss=loss, gradient=slope)

                found = find_minimum(objective, start, self.solver, self.tol, self.max_iter, report)
            if found.trouble:
                warnings.warn(
                    f"{self.solver} failed to converge after {len(found.losses)} iteration(s): {found.trouble}\n"
                    "Increase max_iter, or scale the data.",
                    ConvergenceWarning,
                    stacklevel=2,
                )
            self._keep(found.params, targets, X.dtype)
            self.n_iter_ = np.array([len(found.losses)])
            self.loss_curve_ = found.losses
            self.__dict__.pop("_squares", None)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> CrossEntropyClassifier:
        """Take one step of Adagrad for each `batch_size` rows, in their order.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`, some of the rows.
        classes : array_like, shape (C,)
            All labels there are: needed at the first call for labels.

        Returns
        -------
        The estimator itself.
        """
        with all_or_nothing(self):
            first = not hasattr(self, "coef_")
            X, y = self._validated(X, y, reset=first)
            names = self._all_classes(y, classes, first)
            if first:
                targets = targets_of(y, self.loss, names)
            else:
                targets = targets_of(y, self.loss_ if self.loss is None else self.loss, names, self.multilabel_)
            if not first and targets.multilabel != self.multilabel_:
                raise ValueError("y is a matrix in one call of partial_fit and labels in another: give the same kind")
            whole = self._objective(X, targets, sample_weight)
            params = np.zeros(whole.shape) if first else self._params()
            if params.shape != whole.shape:
                raise ValueError(
                    f"loss {targets.loss!r} needs coef_ of {whole.shape[1]} row(s), but there are {params.shape[1]}: go"
                    f" on with {self.loss_!r}, or begin anew"
                )
            # With a row for the intercepts, which may come and go.
            sums = getattr(self, "_squares", np.zeros((whole.features + 1, whole.shape[1]))).copy()
            squares = sums[: len(params)]
            losses = []
            for at in range(0, whole.rows, self.batch_size):
                batch = whole.part(slice(at, at + self.batch_size))
                loss, gradient = batch.gradient(params)
                if not (np.isfinite(loss) and np.isfinite(gradient).all()):
                    raise ValueError(
                        f"the loss of the batch from row {at} on is {loss}, or its gradient is not finite: scale X,"
                        " give a smaller learning_rate, or change options of the loss"
                    )
                squares += gradient * gradient
                params = params - self.learning_rate * gradient / np.sqrt(squares + np.finfo(np.float64).tiny)
                losses.append(loss * batch.weight)
            self._keep(params, targets, X.dtype if first else self.coef_.dtype)
            self._squares = sums
            self.n_iter_ = getattr(self, "n_iter_", np.zeros(1, int)) + 1
            self.loss_curve_ = [*getattr(self, "loss_curve_", []), sum(losses) / whole.weight]
        return self

    def _validated(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        """Parameters, inputs and targets, checked by themselves."""
        loss_of(self.loss)
        _validate.number("alpha", self.alpha, 0.0, np.inf)
        _validate.number("tol", self.tol, 0.0, np.inf)
        _validate.above_zero("learning_rate", self.learning_rate)
        _validate.count_of("max_iter", self.max_iter)
        _validate.count_of("batch_size", self.batch_size)
        _validate.choice_of("solver", self.solver, ("lbfgs", "newton-cg"))
        _validate.flag("fit_intercept", self.fit_intercept)
        _validate.flag("warm_start", self.warm_start)
        _kernels.check_threads(self.n_threads)
        _validate.check_unmasked("X", X)
        _validate.check_unmasked("y", y)
        X, y = validate_data(
            self, X, y, reset=reset, accept_sparse="csr", dtype=_FLOATS, multi_output=True, accept_large_sparse=True
        )
        return X, y

    def _objective(self, X: Any, targets: Targets, sample_weight: Any) -> Objective:
        weights = None
        if sample_weight is not None:
            weights = _check_sample_weight(sample_weight, X, dtype=np.float64)
        factors = self._class_weights(targets, weights)
        if factors is not None:
            weights = factors if weights is None else weights * factors
        if weights is not None and not weights.any():
            raise ValueError("Sample weights must contain at least one non-zero number.")
        return Objective(
            X, targets.values, targets.loss, targets.outputs, weights, self.alpha, self.fit_intercept, self.n_threads
        )

    def _class_weights(self, targets: Targets, weights: np.ndarray | None) -> np.ndarray | None:
        """Weights of the rows by their classes."""
        if self.class_weight is None:
            return None
        if targets.multilabel:
            raise ValueError(
                "class_weight is for exclusive classes: give loss=SigmoidCrossEntropy(pos_weight=...) for independent"
                " labels"
            )
        values, classes = targets.values, targets.classes
        if targets.labels is None:
            if targets.outputs == 1:
                values = np.stack([1 - values, values], 1)
            shares = np.asarray((values if weights is None else values * weights[:, None]).sum(0)).ravel()
        else:
            shares = np.bincount(targets.labels, weights, len(classes))
        if isinstance(self.class_weight, str) and self.class_weight == "balanced":
            present = shares > 0
            factors = np.where(present, shares.sum() / (present.sum() * np.where(present, shares, 1.0)), 0.0)
        else:
            factors = compute_class_weight(self.class_weight, classes=classes, y=classes)
        return np.asarray(factors[targets.labels] if targets.labels is not None else values @ factors)

    def _all_classes(self, y: Any, classes: Any, first: bool) -> Any:
        """What `partial_fit` takes for all classes, in scikit-learn's words where it refuses."""
        if first:
            if classes is None and not is_matrix(y):
                raise ValueError("classes must be passed on the first call to partial_fit.")
            return classes
        if classes is not None and not np.array_equal(self.classes_, classes if is_matrix(y) else np.unique(classes)):
            raise ValueError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {self.classes_!r}"
            )
        if not is_matrix(y) and len(np.setdiff1d(y, self.classes_)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {np.unique(y)}."
            )
        return self.classes_

    def _start(self, objective: Objective, targets: Targets) -> np.ndarray | None:
        """What the last fit found, if it was of the same classes and features."""
        if not hasattr(self, "coef_"):
            return None
        if not np.array_equal(self.classes_, targets.classes):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously"
                f" got {self.classes_}, `y` has {targets.classes}"
            )
        params = self._params()
        if params.shape != objective.shape:
            raise ValueError(
                f"warm_start starts from coef_ of shape {self.coef_.shape}, but the new fit has"
                f" {objective.shape[1]} output(s) and {objective.features} features: use warm_start=False"
            )
        return params

    def _params(self) -> np.ndarray:
        """Coefficients and intercepts as the objective takes them."""
        rows = (self.coef_.T, self.intercept_[None])
        return np.concatenate(rows[: 1 + bool(self.fit_intercept)], dtype=np.float64)

    def _keep(self, params: np.ndarray, targets: Targets, dtype: Any) -> None:
        features = len(params) - bool(self.fit_intercept)
        self.coef_ = np.ascontiguousarray(params[:features].T, dtype)
        self.intercept_ = params[features].astype(dtype) if self.fit_intercept else np.zeros(params.shape[1], dtype)
        self.classes_ = targets.classes
        self.multilabel_ = targets.multilabel
        self.loss_ = targets.loss

    # ---- prediction ----

    def decision_function(self, X: Any) -> np.ndarray:
        """Scores, after cap, bias, temperature and mask of the loss.

        Parameters
        ----------
        X : array_like or scipy.sparse, shape (n, d)

        Returns
        -------
        ndarray, shape (n,) for two classes: that of the second less that of the first; otherwise (n, C)
        """
        scores = self._scores(X)
        if self.multilabel_ or len(self.classes_) > 2:
            return scores
        return scores[:, 0] if scores.shape[1] == 1 else scores[:, 1] - scores[:, 0]

    def predict(self, X: Any) -> np.ndarray:
        """Classes of the largest score; of independent labels, 0 and 1.

        Parameters
        ----------
        X : array_like or scipy.sparse, shape (n, d)

        Returns
        -------
        ndarray, shape (n,), or (n, C) of int for independent labels
        """
        scores = self.decision_function(X)
        if self.multilabel_:
            return (scores > 0).astype(np.int64)
        places = (scores > 0).astype(np.intp) if scores.ndim == 1 else scores.argmax(1)
        return np.asarray(self.classes_[places])

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes; of one against the rest, normalised.

        Parameters
        ----------
        X : array_like or scipy.sparse, shape (n, d)

        Returns
        -------
        ndarray, shape (n, C)
        """
        scores = self._scores(X)
        if self.multilabel_:
            return np.asarray(expit(scores, n_threads=self.n_threads))
        return np.asarray(softmax(self._exclusive(scores), axis=1, n_threads=self.n_threads))

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Logarithms of the probabilities, exact also where these are nearly 1 or vanish.

        Parameters
        ----------
        X : array_like or scipy.sparse, shape (n, d)

        Returns
        -------
        ndarray, shape (n, C)
        """
        scores = self._scores(X)
        if self.multilabel_:
            return np.asarray(log_expit(scores, n_threads=self.n_threads))
        return np.asarray(log_softmax(self._exclusive(scores), axis=1, n_threads=self.n_threads))

    def _scores(self, X: Any) -> np.ndarray:
        """A score for each output."""
        check_is_fitted(self)
        _validate.check_unmasked("X", X)
        X = validate_data(self, X, reset=False, accept_sparse="csr", dtype=self.coef_.dtype)
        scores = scores_of(X, self.coef_, self.intercept_, self.n_threads)
        return np.asarray(self.loss_.transformed(scores)) if self.loss_.is_multiclass else scores

    def _exclusive(self, scores: np.ndarray) -> np.ndarray:
        """Scores of exclusive classes, the softmax of which are their probabilities."""
        if self.loss_.is_multiclass:
            return scores
        if scores.shape[1] == 1:
            return np.concatenate((np.zeros_like(scores), scores), axis=1)
        return np.asarray(log_expit(scores, n_threads=self.n_threads))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        loss = loss_of(self.loss)
        tags.classifier_tags.multi_label = loss is None or not loss.is_multiclass
        return tags
