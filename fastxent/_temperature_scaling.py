"""The scikit-learn estimator of a temperature; all that is imported from scikit-learn for calibration."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from fastxent import _validate
from fastxent._temperature import fit_temperature
from fastxent.softmax import softmax_cross_entropy
from fastxent.special import softmax

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "sklearn":
        raise
    raise ImportError('TemperatureScaling is a scikit-learn estimator: pip install "fastxent[sklearn]"') from None


class TemperatureScaling(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Calibrate a classifier by one number that divides its scores, fitted to held-out rows.

    For scores z and labels y of held-out rows, the temperature T > 0 of the smallest cross-entropy::

        loss(T) = -sum_i w_i log softmax(z_i / T)[y_i] / sum_i w_i

    Above 1 it makes an overconfident classifier less so. It changes no prediction, only the probabilities. The loss is
    convex in 1/T, and its minimum is found by bracketing the root of its derivative. It has none if it keeps falling as
    T goes to 0 (every label has the largest score) or to infinity (the scores are worse than a uniform guess): then
    `temperature_` is the end of the search, 2**-20 or 2**20 (about a millionth and a million), and fit gives a
    ConvergenceWarning.

    Parameters
    ----------
    classes : array_like, shape (C,), optional
        The label of each column of the scores, such as ``classes_`` of the classifier that made them. By default the
        sorted distinct labels of y, which must then be as many as there are columns.
    tol : float, default 1e-6
        Relative accuracy of the temperature.
    max_iter : int, default 100
        How often to evaluate the loss at most; some ten times are usual.
    n_threads : int, optional
        How many threads to use at most; the result has the same bits for every number.

    Attributes
    ----------
    temperature_ : float
    loss_ : float
        The mean cross-entropy at this temperature, in nats.
    n_iter_ : int
        How often the loss was evaluated, each time in one pass over the scores.
    classes_ : ndarray, shape (C,)
        The label of each column.
    n_features_in_ : int
        Number of columns.

    Examples
    --------
    >>> import numpy as np
    >>> from fastxent.calibration import TemperatureScaling
    >>> logits = np.array([[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0]])
    >>> calibrated = TemperatureScaling().fit(logits, ["ant", "bee", "cat", "cat"])
    >>> round(calibrated.temperature_, 4)    # 4 / log(6): three of four are right, the other two classes share the rest
    2.2324
    >>> calibrated.predict_proba([[0.0, 4.0, 0.0]]).round(3)
    array([[0.125, 0.75 , 0.125]])
    >>> calibrated.predict([[0.0, 4.0, 0.0]])
    array(['bee'], dtype='<U3')

    Source: Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks" (2017).
    """

    def __init__(
        self, *, classes: Any = None, tol: float = 1e-6, max_iter: int = 100, n_threads: int | None = None
    ) -> None:
        self.classes = classes
        self.tol = tol
        self.max_iter = max_iter
        self.n_threads = n_threads

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> TemperatureScaling:
        """Find the temperature.

        Parameters
        ----------
        X : array_like, shape (n, C)
            Scores: logits, log-probabilities, or what decision_function returns; one column a class, -inf for a class
            that is left out. A single column holds log-odds of the second of two classes. Not probabilities.
        y : array_like, shape (n,)
            Labels of any kind.
        sample_weight : array_like, shape (n,), optional
            Weight of each row, finite and not negative. Rows of weight 0 do not count.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            Labels that do not fit the columns; probabilities in place of scores; NaN or +inf; a label at -inf.
        """
        tol = _validate.number("tol", self.tol, 1e-15, 1.0)
        max_iter = _validate.count_of("max_iter", self.max_iter)
        X, y = validate_data(self, X, y, dtype=_dtype_of(X), ensure_all_finite=False)
        check_classification_targets(y)
        scores = _validate.float_array("X", X)
        weights = None if sample_weight is None else _validate.weights_of("sample_weight", sample_weight, y.shape)
        counts = np.ones(y.shape, np.bool_) if weights is None else weights > 0
        if not counts.any():
            raise ValueError("sample_weight is zero in every row: there is nothing to fit to")
        _validate.scores_to_fit("X", scores, counts)
        if scores.shape[1] > 1 and _validate.look_like_probabilities(scores if counts.all() else scores[counts]):
            raise ValueError(
                "X holds probabilities (every row is in [0, 1] and adds up to 1), but a temperature divides scores: use"
                " numpy.log(X)"
            )
        scores = _two_columns(scores)
        classes, labels = self._classes_of(y, scores.shape[1])
        unreachable = (scores[np.arange(len(labels)), labels] == -np.inf) & counts
        if unreachable.any():
            row = int(unreachable.argmax())
            raise ValueError(
                f"X[{row}, {labels[row]}] is -inf at the label {y[row]!r}: the loss is infinite at every temperature,"
                " mend the label or give the row a sample_weight of 0"
            )

        options: dict[str, Any] = {"sample_weight": weights, "temperature_grad": True, "n_threads": self.n_threads}

        def loss_and_slope(temperature: float) -> tuple[float, float]:
            options["temperature"] = temperature
            result: Any = softmax_cross_entropy(scores, labels, **options)
            return float(result[0]), float(result[1])

        found = fit_temperature(loss_and_slope, tol=tol, max_iter=max_iter)
        if found.trouble:
            warnings.warn(found.trouble, ConvergenceWarning, stacklevel=2)
        self.classes_ = classes
        self.temperature_ = found.value
        self.loss_ = found.loss
        self.n_iter_ = found.passes
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities, ``softmax(X / temperature_)``.

        Parameters
        ----------
        X : array_like, shape (n, C)
            Scores, as `fit` takes them.

        Returns
        -------
        ndarray, shape (n, C)
            In the order of `classes_`; of the dtype of X, float32 for 16-bit X.
        """
        scores = _two_columns(self._tempered(X))
        result: np.ndarray = softmax(scores, axis=1, out=scores, n_threads=self.n_threads)
        return result

    def decision_function(self, X: Any) -> np.ndarray:
        """Scores divided by the temperature.

        Parameters
        ----------
        X : array_like, shape (n, C)
            Scores, as `fit` takes them.

        Returns
        -------
        ndarray, shape (n, C), or (n,) for two classes
            For two classes the log-odds of the second.
        """
        scores = self._tempered(X)
        if scores.shape[1] == 1:
            return scores[:, 0]
        if scores.shape[1] == 2:
            return np.asarray(scores[:, 1] - scores[:, 0])
        return scores

    def predict(self, X: Any) -> np.ndarray:
        """The label of the largest score of each row, of equal ones the first.

        Parameters
        ----------
        X : array_like, shape (n, C)
            Scores, as `fit` takes them.

        Returns
        -------
        ndarray, shape (n,)
        """
        scores = _two_columns(self._checked(X))
        result: np.ndarray = self.classes_[scores.argmax(axis=1)]
        return result

    def _checked(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "temperature_")
        X = validate_data(self, X, reset=False, dtype=_dtype_of(X), ensure_all_finite=False)
        scores = _validate.float_array("X", X)
        _validate.scores_to_fit("X", scores)
        return scores

    def _tempered(self, X: Any) -> np.ndarray:
        scores = self._checked(X)
        dtype = np.dtype(np.float32) if _validate.is_half(scores.dtype) else scores.dtype
        with np.errstate(all="ignore"):
            return np.asarray(np.divide(scores, dtype.type(self.temperature_), dtype=dtype))

    def _classes_of(self, y: np.ndarray, columns: int) -> tuple[np.ndarray, np.ndarray]:
        """The label of each column, and the column of each label."""
        if self.classes is None:
            classes, labels = np.unique(y, return_inverse=True)
            if len(classes) != columns:
                raise ValueError(
                    f"y holds {len(classes)} {'class' if len(classes) == 1 else 'classes'}, but X has columns for"
                    f" {columns}: name the label of every column, TemperatureScaling(classes=...)"
                )
            return classes, labels
        classes = np.asarray(self.classes)
        if classes.shape != (columns,) or len(np.unique(classes)) != columns:
            raise ValueError(
                f"classes has shape {classes.shape}, but X has columns for {columns} classes: give each column one"
                " label of its own"
            )
        order = np.argsort(classes)
        labels = order[np.minimum(np.searchsorted(classes, y, sorter=order), columns - 1)]
        unknown = classes[labels] != y
        if unknown.any():
            row = int(unknown.argmax())
            raise ValueError(f"y[{row}] is {y[row]!r}, which is not in classes: mend the label or add its column")
        return classes, labels

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # Predictions are those of the scores, whatever is fitted.
        tags.classifier_tags.poor_score = True
        return tags


def _dtype_of(X: Any) -> str | None:
    """What scikit-learn is to convert to: numbers, but for bfloat16, which it takes for bytes."""
    return None if getattr(getattr(X, "dtype", None), "name", "") == "bfloat16" else "numeric"


def _two_columns(scores: np.ndarray) -> np.ndarray:
    """Log-odds of one column as scores of two classes."""
    return np.concatenate([np.zeros_like(scores), scores], axis=1) if scores.shape[1] == 1 else scores
