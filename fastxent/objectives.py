"""Objectives and metrics for gradient boosting, LightGBM's and XGBoost's, from loss objects.

Neither library is imported here: an objective is what theirs call with scores and labels. It knows by its arguments
which of a library's interfaces calls it.

The built-in objectives start from the scores that fit the shares of the classes best. With a custom one LightGBM starts
from 0, and XGBoost from its ``base_score``, 0.5 in many of its interfaces unless one is given, wherever rows have no
``base_margin``. `initial_scores` gives the best start: LightGBM takes it as ``init_score``, and leaves it out of raw
predictions, to which it has to be added; XGBoost takes it as ``base_margin``, of new data too.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from fastxent import _validate
from fastxent.losses import _ScoreLoss, _SoftmaxLoss

__all__ = [
    "LightGBMMetric",
    "LightGBMObjective",
    "XGBoostMetric",
    "XGBoostObjective",
    "lightgbm_metric",
    "lightgbm_objective",
    "xgboost_metric",
    "xgboost_objective",
]

HESSIANS = ("exact", "upper", "lightgbm", "abs")
# XGBoost's own: trees divide by sums of second derivatives.
SMALLEST_HESSIAN = 1e-16


@dataclasses.dataclass(frozen=True)
class _Objective:
    """First and second derivatives of a loss by raw scores, as trees take them."""

    loss: _ScoreLoss
    hessian: str = "exact"
    n_threads: int | None = None

    def __post_init__(self) -> None:
        _check_loss(self.loss)
        _validate.choice_of("hessian", self.hessian, HESSIANS)

    def derivatives(self, y_true: Any, scores: np.ndarray, weight: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Gradient and second derivative, of the shape of the scores.

        Parameters
        ----------
        y_true : array_like, shape (n,), or (n, K) for independent outcomes
            Labels, floats among them.
        scores : ndarray, shape (n,) or (n, K)
            Raw scores.
        weight : array_like, shape (n,), optional
            Weights of the rows.

        Returns
        -------
        gradient, hessian : ndarray
            Of the dtype of the scores; second derivatives are at least 1e-16.
        """
        if self.hessian == "abs":
            gradient = self.loss.gradient(y_true, scores, weight, n_threads=self.n_threads)
            hessian = np.abs(gradient)
        else:
            gradient, hessian = self.loss.gradient_hessian(y_true, scores, weight, n_threads=self.n_threads)
            if self.hessian == "upper":
                hessian *= 2
            elif self.hessian == "lightgbm" and self.loss.is_multiclass:
                classes = scores.shape[-1]
                hessian *= classes / (classes - 1)
        np.maximum(hessian, SMALLEST_HESSIAN, out=hessian)
        return gradient, hessian

    def initial_scores(self, y_true: Any, sample_weight: Any = None, n: int | None = None) -> np.ndarray:
        """The raw scores of the smallest loss among those that are the same for every row.

        Parameters
        ----------
        y_true : array_like, shape (n,) or (n, K)
            Labels of the training rows.
        sample_weight : array_like, shape (n,), optional
            Weights of the training rows.
        n : int, optional
            For how many rows; by default those of `y_true`.

        Returns
        -------
        ndarray, shape (n,) or (n, K)
            For LightGBM's ``init_score`` and XGBoost's ``base_margin``, of training and evaluation sets alike. LightGBM
            leaves them out of raw predictions: add them. XGBoost takes them as the ``base_margin`` of new data.
        """
        labels = np.asarray(y_true)
        scores = np.asarray(self.loss.fit_intercept_only(labels, sample_weight))
        rows = len(labels) if n is None else n
        return np.tile(scores, (rows, *(1,) * scores.ndim)) if scores.ndim else np.full(rows, scores)


@dataclasses.dataclass(frozen=True)
class _Metric:
    """The weighted average of a loss, as an evaluation metric of raw scores."""

    loss: _ScoreLoss
    name: str | None = None
    n_threads: int | None = None

    def __post_init__(self) -> None:
        _check_loss(self.loss)
        if self.name is not None and (not self.name or ":" in self.name or any(map(str.isspace, self.name))):
            # XGBoost takes its own lines of names and values apart by these.
            raise ValueError(f"name is {self.name!r}: give a name without spaces and colons")

    @property
    def __name__(self) -> str:
        """What the metric is called in a library's records: as the class of the loss, unless a name was given."""
        return type(self.loss).__name__ if self.name is None else self.name

    def average(self, y_true: Any, scores: np.ndarray, weight: Any = None) -> float:
        """The loss, averaged over rows as the loss object averages it; 1 everywhere for weights of None."""
        if self.loss.is_multiclass and scores.size and _validate.look_like_probabilities(scores):
            raise ValueError(
                "scores of each row add up to 1, as probabilities do: a built-in objective passes these, but the metric"
                " takes raw scores, give it together with a custom objective"
            )
        return self.loss(y_true, scores, weight, n_threads=self.n_threads)


def _check_loss(loss: Any) -> None:
    if not isinstance(loss, _ScoreLoss):
        raise TypeError(f"loss is {loss!r}: give an object of fastxent.losses, such as SoftmaxCrossEntropy()")


def _shaped(loss: _ScoreLoss, scores: Any, rows: int) -> np.ndarray:
    """Raw scores (n,) or (n, K); flat ones hold all first columns, then all second ones."""
    array = _validate.float_array("scores", scores)
    if array.ndim == 1 and array.size != rows and rows and array.size % rows == 0:
        array = array.reshape(rows, -1, order="F")
    if isinstance(loss, _SoftmaxLoss) and array.ndim == 1:
        raise ValueError(
            f"scores have shape {array.shape}, one for each row, but {type(loss).__name__} wants one for each class:"
            " set the number of classes (num_class), or use a sigmoid loss for two classes"
        )
    return array


# ---- LightGBM ------------------------------------------------------------------------------------------------


class LightGBMObjective(_Objective):
    """A loss as an objective of LightGBM, made by `lightgbm_objective`."""

    def __call__(self, first: Any, second: Any, weight: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Gradient and second derivative.

        Parameters
        ----------
        first, second : ndarray and ndarray, or ndarray and Dataset
            Labels and raw scores, as ``LGBMClassifier(objective=...)`` calls it; or raw scores and the data set, as
            ``lightgbm.train`` does. Scores (n,), (n, K), or flat with the rows of the first class in front.
        weight : ndarray, shape (n,), optional
            Weights of the rows; a data set brings its own.

        Returns
        -------
        gradient, hessian : ndarray
            In the shape of the scores, ordered as LightGBM has them.
        """
        y_true, scores, weight, flat = _of_lightgbm(self.loss, first, second, weight)
        gradient, hessian = self.derivatives(y_true, scores, weight)
        if flat:
            return gradient.ravel(order="F"), hessian.ravel(order="F")
        return gradient, hessian


class LightGBMMetric(_Metric):
    """A loss as an evaluation metric of LightGBM, made by `lightgbm_metric`."""

    def __call__(self, first: Any, second: Any, weight: Any = None) -> tuple[str, float, bool]:
        """Name, value, and that lower is better.

        Parameters
        ----------
        first, second, weight
            As `LightGBMObjective` is called, with raw scores: together with a custom objective.

        Returns
        -------
        name : str
        value : float
        is_higher_better : bool
        """
        y_true, scores, weight, _ = _of_lightgbm(self.loss, first, second, weight)
        return self.__name__, self.average(y_true, scores, weight), False


def _of_lightgbm(loss: _ScoreLoss, first: Any, second: Any, weight: Any) -> tuple[Any, np.ndarray, Any, bool]:
    """Labels, scores, weights, and whether the scores came flat."""
    if hasattr(second, "get_label"):
        y_true, scores, weight = second.get_label(), first, second.get_weight()
    else:
        y_true, scores = first, second
    shaped = _shaped(loss, scores, len(y_true))
    return y_true, shaped, weight, np.ndim(scores) == 1 and shaped.ndim == 2


def lightgbm_objective(loss: _ScoreLoss, *, hessian: str = "exact", n_threads: int | None = None) -> LightGBMObjective:
    """An objective for LightGBM: ``LGBMClassifier(objective=...)``, or ``lightgbm.train`` with it in the parameters.

    For raw scores ``z`` and the loss ``l`` of a row::

        gradient_k = d l / d z_k,    hessian_k = d^2 l / d z_k^2

    Parameters
    ----------
    loss : object of `fastxent.losses`
        Softmax losses for several classes (``num_class`` scores a row), sigmoid ones for two (one score a row).
    hessian : {"exact", "upper", "lightgbm", "abs"}
        What stands for the second derivative: itself, ``p (1 - p)`` for cross-entropy; twice that, a bound of the whole
        Hessian; for softmax losses K / (K - 1) times it, as LightGBM's own objective has; or ``|gradient|``,
        ``|p - y|`` for cross-entropy. Never below 1e-16: far on the wrong side the exact one of focal losses and of
        generalised cross-entropy is negative, and where many rows are there "abs" learns better.
    n_threads : int, optional
        How many threads to use at most.

    Returns
    -------
    LightGBMObjective
        A callable that can be pickled and copied; ``initial_scores`` gives the scores to start from.

    Raises
    ------
    TypeError, ValueError
        A loss that is no loss object; an unknown `hessian`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastxent.losses import SigmoidFocalLoss
    >>> from fastxent.objectives import lightgbm_objective
    >>> objective = lightgbm_objective(SigmoidFocalLoss(gamma=2.0, alpha=0.25))
    >>> gradient, hessian = objective(np.array([0.0, 1.0]), np.array([0.5, -1.0]))
    >>> gradient.round(4)
    array([ 0.3946, -0.1921])

    Source: Ke et al., "LightGBM: a highly efficient gradient boosting decision tree" (2017).
    """
    return LightGBMObjective(loss, hessian, n_threads)


def lightgbm_metric(loss: _ScoreLoss, *, name: str | None = None, n_threads: int | None = None) -> LightGBMMetric:
    """An evaluation metric for LightGBM that belongs to `lightgbm_objective`: ``eval_metric=`` and ``feval=``.

    Parameters
    ----------
    loss : object of `fastxent.losses`
        The average of this loss is what is reported.
    name : str, optional
        What it is reported as, without spaces or colons; the class of the loss by default.
    n_threads : int, optional
        How many threads to use at most.

    Returns
    -------
    LightGBMMetric
        A callable that takes raw scores, as LightGBM passes them with a custom objective.

    Raises
    ------
    TypeError
        A loss that is no loss object.

    Examples
    --------
    >>> import numpy as np
    >>> from fastxent.losses import SigmoidCrossEntropy
    >>> from fastxent.objectives import lightgbm_metric
    >>> metric = lightgbm_metric(SigmoidCrossEntropy(), name="logloss")
    >>> metric(np.array([0.0, 1.0]), np.array([0.0, 0.0]))
    ('logloss', 0.6931471805599453, False)

    Source: Ke et al., "LightGBM: a highly efficient gradient boosting decision tree" (2017).
    """
    return LightGBMMetric(loss, name, n_threads)


# ---- XGBoost -------------------------------------------------------------------------------------------------


class XGBoostObjective(_Objective):
    """A loss as an objective of XGBoost, made by `xgboost_objective`."""

    def __call__(self, first: Any, second: Any, sample_weight: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Gradient and second derivative.

        Parameters
        ----------
        first, second : ndarray and ndarray, or ndarray and DMatrix
            Labels and raw scores, as ``XGBClassifier(objective=...)`` calls it; or raw scores and the data, as
            ``xgboost.train`` does.
        sample_weight : ndarray, shape (n,), optional
            Weights of the rows; a DMatrix brings its own.

        Returns
        -------
        gradient, hessian : ndarray
            In the shape of the scores, rows first.
        """
        y_true, scores, weight, _ = _of_xgboost(self.loss, first, second, sample_weight)
        return self.derivatives(y_true, scores, weight)


class XGBoostMetric(_Metric):
    """A loss as an evaluation metric of XGBoost, made by `xgboost_metric`."""

    def __call__(self, first: Any, second: Any, sample_weight: Any = None) -> Any:
        """The value; with its name where ``xgboost.train`` calls.

        Parameters
        ----------
        first, second, sample_weight
            As `XGBoostObjective` is called, with raw scores: together with a custom objective.

        Returns
        -------
        float, or (str, float)
        """
        y_true, scores, weight, from_train = _of_xgboost(self.loss, first, second, sample_weight)
        value = self.average(y_true, scores, weight)
        return (self.__name__, value) if from_train else value


def _of_xgboost(loss: _ScoreLoss, first: Any, second: Any, weight: Any) -> tuple[Any, np.ndarray, Any, bool]:
    """Labels, scores, weights, and whether it was `xgboost.train` that called."""
    if not hasattr(second, "get_label"):
        return first, _shaped(loss, second, len(first)), weight, False
    y_true, scores, weight = second.get_label(), first, second.get_weight()
    if np.ndim(scores) == 2 and np.size(y_true) == np.size(scores) and scores.shape[1] > 1:
        y_true = y_true.reshape(scores.shape)  # several outcomes a row
    return y_true, _shaped(loss, scores, len(y_true)), weight if np.size(weight) else None, True


def xgboost_objective(loss: _ScoreLoss, *, hessian: str = "exact", n_threads: int | None = None) -> XGBoostObjective:
    """An objective for XGBoost: ``XGBClassifier(objective=...)``, or ``xgboost.train`` with ``obj=``.

    For raw scores ``z`` and the loss ``l`` of a row::

        gradient_k = d l / d z_k,    hessian_k = d^2 l / d z_k^2

    Parameters
    ----------
    loss : object of `fastxent.losses`
        Softmax losses for several classes (``num_class`` scores a row), sigmoid ones for two, or for several outcomes
        that do not exclude each other.
    hessian : {"exact", "upper", "lightgbm", "abs"}
        As in `lightgbm_objective`. XGBoost's own multiclass objective has "upper" up to version 3.2, "abs" after; its
        binary one "exact".
    n_threads : int, optional
        How many threads to use at most.

    Returns
    -------
    XGBoostObjective
        A callable that can be pickled and copied; ``initial_scores`` gives the scores to start from.

    Raises
    ------
    TypeError, ValueError
        A loss that is no loss object; an unknown `hessian`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastxent.losses import SoftmaxCrossEntropy
    >>> from fastxent.objectives import xgboost_objective
    >>> objective = xgboost_objective(SoftmaxCrossEntropy(), hessian="upper")
    >>> gradient, hessian = objective(np.array([0, 2]), np.zeros((2, 3), np.float32))
    >>> hessian
    array([[0.44444445, 0.44444445, 0.44444445],
           [0.44444445, 0.44444445, 0.44444445]], dtype=float32)

    Source: Chen and Guestrin, "XGBoost: a scalable tree boosting system" (2016).
    """
    return XGBoostObjective(loss, hessian, n_threads)


def xgboost_metric(loss: _ScoreLoss, *, name: str | None = None, n_threads: int | None = None) -> XGBoostMetric:
    """An evaluation metric for XGBoost that belongs to `xgboost_objective`: ``eval_metric=`` and ``custom_metric=``.

    Parameters
    ----------
    loss, name, n_threads
        As in `lightgbm_metric`.

    Returns
    -------
    XGBoostMetric
        A callable that takes raw scores, as XGBoost passes them with a custom objective.

    Raises
    ------
    TypeError
        A loss that is no loss object.

    Examples
    --------
    >>> import numpy as np
    >>> from fastxent.losses import SigmoidCrossEntropy
    >>> from fastxent.objectives import xgboost_metric
    >>> xgboost_metric(SigmoidCrossEntropy())(np.array([0.0, 1.0]), np.array([0.0, 0.0]))
    0.6931471805599453

    Source: Chen and Guestrin, "XGBoost: a scalable tree boosting system" (2016).
    """
    return XGBoostMetric(loss, name, n_threads)
