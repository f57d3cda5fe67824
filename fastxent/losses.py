"""Losses as objects: options bound once, and the methods that scikit-learn's estimators call on theirs.

An object is frozen, can be pickled and compared, and holds nothing but options. Its methods and flags have the names,
keywords and ``*_out`` buffers of scikit-learn's `BaseLoss`, all but the `link` and the intervals, so that an estimator
written against that takes one of these instead, with any option of the functions behind them. Unlike the functions they
take what estimators have at hand: labels as floats, if these are integral; a single column of scores for labels (n,);
sample weights of any sign, which multiply.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from fastxent import _validate
from fastxent._words import Words
from fastxent.sigmoid import sigmoid_cross_entropy, sigmoid_focal_loss
from fastxent.softmax import (
    generalized_cross_entropy,
    poly_cross_entropy,
    softmax_cross_entropy,
    softmax_focal_loss,
)
from fastxent.special import expit, softmax

__all__ = [
    "GeneralizedCrossEntropy",
    "PolyCrossEntropy",
    "SigmoidCrossEntropy",
    "SigmoidFocalLoss",
    "SoftmaxCrossEntropy",
    "SoftmaxFocalLoss",
]

_WORDS = Words({"logits": "raw_prediction", "targets": "y_true", "grad": "gradient_out", "hess": "hessian_out"})
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class _ScoreLoss:
    """What the losses share: all methods, in terms of one function of scores and targets."""

    function: ClassVar[Callable[..., Any]]
    is_multiclass: ClassVar[bool]
    differentiable: ClassVar[bool] = True
    approx_hessian: ClassVar[bool] = False
    constant_hessian: ClassVar[bool] = False

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        for name, value in self._changed().items():
            if np.ndim(value):
                array = np.array(value)
                array.flags.writeable = False
                object.__setattr__(self, name, array)
        self._check_options()

    @functools.cached_property
    def _options(self) -> dict[str, Any]:
        """What the function is called with."""
        options = self._changed()
        options.pop("n_classes", None)
        return options

    def _changed(self) -> dict[str, Any]:
        """The fields that differ from their defaults."""
        fields = {
            field.name: (field.default, getattr(self, field.name)) for field in dataclasses.fields(self) if field.init
        }
        return {name: value for name, (default, value) in fields.items() if np.ndim(value) or value != default}

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self._changed().items())
        return f"{type(self).__name__}({options})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        own, theirs = self._changed(), other._changed()
        return own.keys() == theirs.keys() and all(np.array_equal(own[name], theirs[name]) for name in own)

    def __hash__(self) -> int:
        # As numbers that are equal where the options are: -0.0 + 0.0 is 0.0.
        options = ((name, (np.asarray(value, np.float64) + 0.0).tobytes()) for name, value in self._changed().items())
        return hash((type(self), *options))

    def __reduce__(self) -> tuple[Any, ...]:
        # By way of the constructor, so that copies are frozen like their originals.
        return functools.partial(type(self), **self._changed()), ()

    # ---- losses and derivatives ----

    def loss(
        self,
        y_true: Any,
        raw_prediction: Any,
        sample_weight: Any = None,
        loss_out: np.ndarray | None = None,
        n_threads: int | None = None,
    ) -> np.ndarray:
        """The loss of each row (sigmoid losses of several columns: of each element), times its weight.

        Parameters
        ----------
        y_true : array_like
            Softmax losses: labels (n,) of an integer dtype or integral floats, a distribution (n, C), or CSR. Sigmoid
            losses: labels 0 and 1 or probabilities, of the shape of the raw predictions.
        raw_prediction : array_like, shape (n, C); sigmoid losses: (n,), (n, 1) or (n, K)
            Scores.
        sample_weight : array_like, shape (n,), optional
            Factors of the rows, finite, of any sign.
        loss_out : ndarray of float32 or float64, optional
            Where to put the losses.
        n_threads : int, optional
            How many threads to use at most.

        Returns
        -------
        ndarray, `loss_out` if given

        Raises
        ------
        TypeError, ValueError
            As the function of the same name; nothing has been written then.
        """
        return self._run(y_true, raw_prediction, sample_weight, n_threads, loss=loss_out)[0]

    def gradient(
        self,
        y_true: Any,
        raw_prediction: Any,
        sample_weight: Any = None,
        gradient_out: np.ndarray | None = None,
        n_threads: int | None = None,
    ) -> np.ndarray:
        """The derivative of each row's `loss` by the raw predictions.

        Parameters
        ----------
        y_true, raw_prediction, sample_weight, n_threads
            As in `loss`.
        gradient_out : ndarray of float32 or float64, optional
            Where to put the gradient; the raw predictions themselves: in place.

        Returns
        -------
        ndarray, `gradient_out` if given
        """
        return self._run(y_true, raw_prediction, sample_weight, n_threads, gradient=gradient_out)[0]

    def loss_gradient(
        self,
        y_true: Any,
        raw_prediction: Any,
        sample_weight: Any = None,
        loss_out: np.ndarray | None = None,
        gradient_out: np.ndarray | None = None,
        n_threads: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """`loss` and `gradient` in one pass.

        Parameters
        ----------
        y_true, raw_prediction, sample_weight, loss_out, gradient_out, n_threads
            As in `loss` and `gradient`.

        Returns
        -------
        loss, gradient : ndarray
        """
        loss, gradient = self._run(
            y_true, raw_prediction, sample_weight, n_threads, loss=loss_out, gradient=gradient_out
        )
        return loss, gradient

    def gradient_hessian(
        self,
        y_true: Any,
        raw_prediction: Any,
        sample_weight: Any = None,
        gradient_out: np.ndarray | None = None,
        hessian_out: np.ndarray | None = None,
        n_threads: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """`gradient` and the diagonal of the Hessian in one pass.

        Parameters
        ----------
        y_true, raw_prediction, sample_weight, gradient_out, n_threads
            As in `gradient`.
        hessian_out : ndarray of float32 or float64, optional
            Where to put the Hessian's diagonal; the raw predictions themselves: in place.

        Returns
        -------
        gradient, hessian : ndarray
        """
        gradient, hessian = self._run(
            y_true, raw_prediction, sample_weight, n_threads, gradient=gradient_out, hessian=hessian_out
        )
        return gradient, hessian

    def gradient_proba(
        self,
        y_true: Any,
        raw_prediction: Any,
        sample_weight: Any = None,
        gradient_out: np.ndarray | None = None,
        proba_out: np.ndarray | None = None,
        n_threads: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """`gradient` and the probabilities of `predict_proba`.

        Parameters
        ----------
        y_true, raw_prediction, sample_weight, gradient_out, n_threads
            As in `gradient`, but not in place.
        proba_out : ndarray of float32 or float64, optional
            Where to put the probabilities.

        Returns
        -------
        gradient, proba : ndarray
        """
        proba = self.predict_proba(raw_prediction, n_threads=n_threads)
        inputs = _inputs(raw_prediction, y_true, sample_weight)
        if gradient_out is not None:
            inputs += (("gradient_out", gradient_out),)
        if proba_out is not None:
            _validate.buffer("proba_out", proba_out, proba, _FLOATS, inputs, "")
        gradient = self.gradient(y_true, raw_prediction, sample_weight, gradient_out, n_threads)
        return gradient, _put(proba, proba_out)

    def __call__(
        self, y_true: Any, raw_prediction: Any, sample_weight: Any = None, n_threads: int | None = None
    ) -> float:
        """The weighted average of the losses, as the function gives it with ``reduction="mean"``.

        Parameters
        ----------
        y_true, raw_prediction, n_threads
            As in `loss`.
        sample_weight : array_like, shape (n,), optional
            Weights of the rows, finite and not negative.

        Returns
        -------
        float
        """
        x, y, _ = self._arrays(y_true, raw_prediction, ())
        with _WORDS:
            value: float = self.function(x, y, sample_weight=sample_weight, n_threads=n_threads, **self._options)
        return value

    def init_gradient_and_hessian(
        self, n_samples: int, dtype: Any = np.float64, order: str = "F"
    ) -> tuple[np.ndarray, np.ndarray]:
        """New arrays for the buffers of `gradient_hessian`, not filled.

        Parameters
        ----------
        n_samples : int
            The number of rows.
        dtype : float32 or float64
        order : {"C", "F"}
            Memory order; scikit-learn's default is columns together.

        Returns
        -------
        gradient, hessian : ndarray, shape (n_samples,), or (n_samples, n_classes) for several classes
        """
        if np.dtype(dtype) not in _FLOATS:
            raise TypeError(f"dtype is {dtype!r}: give float32 or float64")
        shape = (n_samples, *self._columns())
        layout = _validate.choice_of("order", order, ("C", "F"))
        return np.empty(shape, dtype, layout), np.empty(shape, dtype, layout)  # type: ignore[call-overload]

    def _run(
        self, y_true: Any, raw_prediction: Any, sample_weight: Any, n_threads: int | None, **asked: np.ndarray | None
    ) -> list[np.ndarray]:
        """What is asked for, among loss, gradient and hessian, each into the array given for it or a new one."""
        x, y, arrays = self._arrays(y_true, raw_prediction, asked.values())
        outs = dict(zip(asked, arrays, strict=True))
        given = {name: out for name, out in asked.items() if out is not None}
        weights, negative = _magnitudes(sample_weight)
        inputs = _inputs(x, y_true, sample_weight)
        for name, out in outs.items():
            like = x if name != "loss" or not self.is_multiclass else x[:, 0]
            if out is not None:
                others = tuple((f"{other}_out", outs[other]) for other in outs if other != name)
                others = tuple(pair for pair in others if pair[1] is not None)
                _validate.buffer(f"{name}_out", out, like, _FLOATS, inputs + others, "raw_prediction")
        # What the function cannot write into is copied afterwards.
        direct = {name: out is not None and name != "loss" and out.dtype == x.dtype for name, out in outs.items()}
        with _WORDS:
            results = self.function(
                x,
                y,
                reduction="none",
                sample_weight=weights,
                n_threads=n_threads,
                **{
                    option: outs[name] if direct[name] else True
                    for name, option in (("gradient", "grad"), ("hessian", "hess"))
                    if name in outs
                },
                **self._options,
            )
        results = list(results) if len(outs) > 1 or "loss" not in outs else [results]
        if "loss" not in outs:
            del results[0]
        if negative is not None:
            for result in results:
                rows = negative.reshape(-1, *(1,) * (result.ndim - 1))
                np.negative(result, where=rows, out=result)
        filled = [
            result if direct[name] else _put(result, out)
            for result, (name, out) in zip(results, outs.items(), strict=True)
        ]
        return [given.get(name, result) for name, result in zip(outs, filled, strict=True)]

    # ---- what the families differ in ----

    def _columns(self) -> tuple[int, ...]:
        """The shape of a row of raw predictions."""
        raise NotImplementedError

    def _check_options(self) -> None:
        """Refuse what the function would refuse."""
        raise NotImplementedError

    def _arrays(self, y_true: Any, raw_prediction: Any, outs: Any) -> tuple[np.ndarray, Any, list[Any]]:
        """Scores, targets and arrays to fill, of shapes that belong together."""
        raise NotImplementedError

    def predict_proba(
        self, raw_prediction: Any, proba_out: np.ndarray | None = None, n_threads: int | None = None
    ) -> np.ndarray:
        """Probabilities."""
        raise NotImplementedError

    def fit_intercept_only(self, y_true: Any, sample_weight: Any = None) -> Any:
        """The raw prediction that, the same for every row, has the smallest loss."""
        raise NotImplementedError


def _inputs(*arrays: Any) -> tuple[tuple[str, Any], ...]:
    """Raw predictions, targets and weights with their names."""
    names = ("raw_prediction", "y_true", "sample_weight")
    return tuple(pair for pair in zip(names, arrays, strict=True) if pair[1] is not None)


def _put(result: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    """The result, in the array given for it if there is one."""
    if out is None:
        return result
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        out[...] = result
    return out


def _magnitudes(sample_weight: Any) -> tuple[Any, np.ndarray | None]:
    """Weights without their signs, and where they were negative, if anywhere."""
    if sample_weight is None:
        return None, None
    weights = _validate.real_array("sample_weight", sample_weight)
    _validate.check_finite("sample_weight", weights)
    negative = weights < 0
    return (np.abs(weights), negative) if negative.any() else (weights, None)


# ---- exclusive classes ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class _SoftmaxLoss(_ScoreLoss):
    is_multiclass = True

    n_classes: int | None = None
    class_weight: Any = None
    ignore_index: int | None = None
    class_mask: Any = None
    temperature: float = 1.0
    softcap: float | None = None
    logit_bias: Any = None
    z_loss: float = 0.0

    @property
    def shift_invariant(self) -> bool:
        """Whether a constant that is added to all scores of a row changes nothing."""
        return self.softcap is None and self.z_loss == 0.0

    def _check_options(self) -> None:
        classes = self._classes()
        if classes is None:
            classes = 2
        elif classes < 2:
            raise ValueError(f"n_classes is {classes}: a softmax needs two classes or more, use SigmoidCrossEntropy")
        targets = np.zeros((1, classes))
        options = dict(self._options)
        options.pop("ignore_index", None)
        self.function(np.zeros((1, classes)), targets, **options)
        _validate.ignored(self.ignore_index)

    def _classes(self) -> int | None:
        """The number of classes, as far as options tell."""
        if self.n_classes is not None:
            return _validate.count_of("n_classes", self.n_classes)
        for name in ("class_weight", "class_mask", "logit_bias", "alpha"):
            value: Any = getattr(self, name, None)
            if np.ndim(value):
                return len(value)
        return None

    def _form(self) -> tuple[str, float, Any]:
        """The name of the head, its parameter, and a factor of targets."""
        return "cross_entropy", 0.0, None

    def _columns(self) -> tuple[int, ...]:
        classes = self._classes()
        if classes is None:
            raise ValueError("n_classes is None: name the number of classes")
        return (classes,)

    def _arrays(self, y_true: Any, raw_prediction: Any, outs: Any) -> tuple[np.ndarray, Any, list[Any]]:
        x = _validate.float_array("raw_prediction", raw_prediction)
        if x.ndim != 2:
            raise ValueError(f"raw_prediction has shape {x.shape}: give (n, C), one column for each class")
        if self.n_classes is not None and x.shape[1] != self.n_classes:
            raise ValueError(f"raw_prediction has {x.shape[1]} columns, but n_classes is {self.n_classes}")
        return x, _labels(y_true), list(outs)

    def predict_proba(
        self, raw_prediction: Any, proba_out: np.ndarray | None = None, n_threads: int | None = None
    ) -> np.ndarray:
        """Probabilities, the softmax of the raw predictions after cap, bias, temperature and mask.

        Parameters
        ----------
        raw_prediction : array_like, shape (n, C)
            Scores.
        proba_out : ndarray of float32 or float64, optional
            Where to put the probabilities.
        n_threads : int, optional
            How many threads to use at most.

        Returns
        -------
        ndarray, shape (n, C)
            Of scores in double after cap, bias and temperature: in range where a loss of float32 scores may not be.
        """
        x, _, _ = self._arrays(None, raw_prediction, ())
        if proba_out is not None:
            _validate.buffer("proba_out", proba_out, x, _FLOATS, _inputs(x, None, None), "")
        shares = softmax(self._transformed(x), axis=1, n_threads=n_threads)
        with np.errstate(under="ignore"):
            return _put(shares.astype(x.dtype, copy=False), proba_out)

    def transformed(self, scores: np.ndarray) -> np.ndarray:
        """Scores after cap, bias, temperature and mask, in their dtype; the same array if there is none of these.

        Parameters
        ----------
        scores : ndarray of float32 or float64, shape (n, C)

        Returns
        -------
        ndarray, shape (n, C)
        """
        with np.errstate(over="ignore", under="ignore"):
            return self._transformed(scores).astype(scores.dtype, copy=False)

    def _transformed(self, scores: np.ndarray) -> np.ndarray:
        """The same before they are rounded, as doubles but for a mask; the given array if there is nothing to do."""
        with np.errstate(over="ignore", under="ignore"):
            if self.softcap is not None:
                wide = scores.astype(np.float64)
                scores = np.where(scores == -np.inf, wide, self.softcap * np.tanh(wide / self.softcap))
            if self.logit_bias is not None:
                bias = np.asarray(self.logit_bias, np.float64)
                masked = bias == -np.inf
                scores = np.where(masked, -np.inf, scores + np.where(masked, 0.0, bias))
            if self.temperature != 1.0:
                scores = scores.astype(np.float64) / self.temperature
            if self.class_mask is not None:
                scores = np.where(self.class_mask, -np.inf, scores)
        return scores

    def fit_intercept_only(self, y_true: Any, sample_weight: Any = None) -> np.ndarray:
        """The raw prediction that, the same for every row, has the smallest loss.

        For cross-entropy the logarithm of the weighted shares of the classes, less their mean; for the other losses
        found from there by `scipy.optimize`. Shares are kept from 0 by the epsilon of the dtype.

        Parameters
        ----------
        y_true : array_like
            As in `loss`. With `n_classes` labels of no class are left out, as in scikit-learn.
        sample_weight : array_like, shape (n,), optional
            Weights of the rows, finite and not negative.

        Returns
        -------
        ndarray, shape (C,)
            float32 for float32 targets, otherwise float64. Without `n_classes` or an option of that length, C is one
            more than the largest label.
        """
        y = _labels(y_true)
        dtype = np.dtype(np.float32) if getattr(y_true, "dtype", None) == np.float32 else np.dtype(np.float64)
        eps = float(np.finfo(dtype).eps)
        with _WORDS:
            means = self._means(y, sample_weight)
        kept = np.ones(len(means), bool)
        biased_out = None if self.logit_bias is None else np.isneginf(self.logit_bias)
        for out, what, instead in (
            (self.class_mask, "class_mask leaves out", "unmask it"),
            (biased_out, "logit_bias is -inf for", "give a number"),
        ):
            if out is not None:
                kept &= ~np.asarray(out)
            if means[~kept].any():
                label = int(np.flatnonzero(~kept & (means > 0))[0])
                raise ValueError(f"{what} class {label}, which is a target in y_true: {instead}")
        means = np.where(kept, (1 - self.label_smoothing) * means + self.label_smoothing / kept.sum(), 0.0)
        scores = self.temperature * np.log(np.clip(means / means.sum(), eps, 1 - eps))
        if self.logit_bias is not None:
            scores = scores - np.where(kept, self.logit_bias, 0.0)
        if type(self) is not SoftmaxCrossEntropy or not self.shift_invariant:
            scores = self._minimised(np.where(kept, scores, 0.0), np.where(kept, np.clip(means, eps, None), 0.0))
        if self.shift_invariant:
            scores = scores - scores[kept].mean()
        return np.where(kept, scores, 0.0).astype(dtype)

    def _means(self, y: Any, sample_weight: Any) -> np.ndarray:
        """The weighted mean of the targets, which for labels are 1 in one class."""
        if _validate.is_sparse(y) or np.ndim(y) == 2:
            rows, weights = _distributions(y, sample_weight, self.class_weight)
            if self.n_classes is not None and rows.shape[1] != self.n_classes:
                raise ValueError(f"targets have {rows.shape[1]} columns, but n_classes is {self.n_classes}")
            whole, totals = weights.sum(), np.asarray(rows.T @ weights, np.float64)
        else:
            labels = _validate.real_array("targets", y)
            sample_weights = _validate.moderate(_validate.weights_of("sample_weight", sample_weight, labels.shape))
            counted = np.ones(labels.shape, bool) if self.ignore_index is None else labels != self.ignore_index
            classes = self._classes()
            if classes is not None and self.n_classes is not None:
                counted &= (labels >= 0) & (labels < classes)
            labels = labels[counted]
            if classes is None:
                classes = max(2, int(labels.max(initial=0)) + 1)
            _validate.labels_of(labels, classes, None)
            counts = None if sample_weights is None else sample_weights[counted]
            totals = np.bincount(labels, counts, classes).astype(np.float64)
            if self.class_weight is not None:
                totals *= self.class_weight
            whole = totals.sum()
        if not (whole > 0 and totals.sum() > 0):
            raise ValueError("targets have no row that counts: there are none, or their weights are 0")
        return np.asarray(totals / whole)

    def _minimised(self, start: np.ndarray, means: np.ndarray) -> np.ndarray:
        """The minimum of the loss of one row whose targets are the means: losses are linear in their targets."""
        from scipy.optimize import minimize  # a quarter of a second, for those who come this far

        options = dict(self._options)
        for name in ("class_weight", "ignore_index", "label_smoothing"):  # in the means already
            options.pop(name, None)

        def loss_and_gradient(scores: np.ndarray) -> tuple[float, np.ndarray]:
            loss, gradient = self.function(scores[None], means[None], grad=True, **options)
            return loss, gradient[0]

        found = minimize(loss_and_gradient, start, jac=True, method="L-BFGS-B", options={"ftol": 0.0, "gtol": 1e-12})
        return np.asarray(found.x)


def _labels(y_true: Any) -> Any:
    """Targets as the functions take them, labels as integers."""
    if _validate.is_sparse(y_true) or isinstance(y_true, np.ma.MaskedArray) or np.ndim(y_true) != 1:
        return y_true
    return _validate.whole_numbers("y_true", np.asarray(y_true))


def _distributions(y: Any, sample_weight: Any, class_weight: Any) -> tuple[Any, np.ndarray]:
    """Rows of distributions, dense or sparse, and their weights."""
    if _validate.is_sparse(y):
        _validate.csr_of("targets", y, y.shape)
        rows = y
    else:
        rows = _validate.real_array("targets", y)
        _validate.check_dense(rows, np.dtype(np.float64), rows.shape, 1)
    weights = _validate.moderate(_validate.weights_of("sample_weight", sample_weight, rows.shape[:1]))
    if class_weight is not None:
        by_row = rows @ np.asarray(class_weight, np.float64)
        weights = by_row if weights is None else weights * by_row
    return rows, np.ones(rows.shape[0]) if weights is None else weights


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SoftmaxCrossEntropy(_SoftmaxLoss):
    """Cross-entropy of exclusive classes, from scores, as an object.

    Parameters
    ----------
    n_classes : int, optional
        How many classes there are, for `fit_intercept_only` and as a check of the raw predictions.
    class_weight, label_smoothing, ignore_index, class_mask, temperature, softcap, logit_bias, z_loss
        As in `fastxent.softmax_cross_entropy`; of `class_mask` the form (C,).

    Raises
    ------
    TypeError, ValueError
        An option outside its domain.

    Examples
    --------
    >>> import numpy as np
    >>> from fastxent.losses import SoftmaxCrossEntropy
    >>> loss = SoftmaxCrossEntropy(label_smoothing=0.1)
    >>> loss
    SoftmaxCrossEntropy(label_smoothing=0.1)
    >>> SoftmaxCrossEntropy().loss(np.array([0.0, 1.0]), np.array([[20.0, 0.0], [1.0, 2.0]]))
    array([2.06115362e-09, 3.13261688e-01])
    >>> SoftmaxCrossEntropy(n_classes=3).fit_intercept_only([0, 0, 1, 2]).round(4)
    array([ 0.4621, -0.231 , -0.231 ])

    Source: Bridle, "Probabilistic interpretation of feedforward classification network outputs" (1990).
    """

    function = staticmethod(softmax_cross_entropy)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SoftmaxFocalLoss(_SoftmaxLoss):
    """Focal loss of exclusive classes, from scores, as an object.

    Parameters
    ----------
    gamma, alpha
        As in `fastxent.softmax_focal_loss`.
    n_classes and other options
        As in `SoftmaxCrossEntropy`.

    Examples
    --------
    >>> from fastxent.losses import SoftmaxFocalLoss
    >>> SoftmaxFocalLoss(gamma=0.5).loss([0], [[40.0, 0.0]])
    array([8.75651076e-27])

    Source: Lin et al., "Focal loss for dense object detection" (2017).
    """

    function = staticmethod(softmax_focal_loss)

    gamma: float = 2.0
    alpha: Any = None

    def _form(self) -> tuple[str, float, Any]:
        if self.gamma == 0.0 and self.alpha is None:
            return super()._form()
        return "focal", float(self.gamma), self.alpha


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PolyCrossEntropy(_SoftmaxLoss):
    """Poly-1 cross-entropy of exclusive classes, from scores, as an object.

    Parameters
    ----------
    epsilon
        As in `fastxent.poly_cross_entropy`.
    n_classes and other options
        As in `SoftmaxCrossEntropy`.

    Examples
    --------
    >>> from fastxent.losses import PolyCrossEntropy
    >>> PolyCrossEntropy(epsilon=-1.0).loss([0], [[0.0, 0.0]])
    array([0.19314718])

    Source: Leng et al., "PolyLoss" (2022).
    """

    function = staticmethod(poly_cross_entropy)

    epsilon: float = 1.0

    def _form(self) -> tuple[str, float, Any]:
        return "poly", float(self.epsilon), None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class GeneralizedCrossEntropy(_SoftmaxLoss):
    """Generalised cross-entropy of exclusive classes, from scores, as an object.

    Parameters
    ----------
    q
        As in `fastxent.generalized_cross_entropy`.
    n_classes and other options
        As in `SoftmaxCrossEntropy`.

    Examples
    --------
    >>> from fastxent.losses import GeneralizedCrossEntropy
    >>> GeneralizedCrossEntropy(q=1.0).loss([0], [[0.0, 0.0]])
    array([0.5])

    Source: Zhang and Sabuncu, "Generalized cross entropy loss for training deep neural networks with noisy labels"
    (2018).
    """

    function = staticmethod(generalized_cross_entropy)

    q: float = 0.7

    def _form(self) -> tuple[str, float, Any]:
        return "generalized", float(self.q), None


# ---- two outcomes, or independent ones -----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class _SigmoidLoss(_ScoreLoss):
    is_multiclass = False
    n_classes: ClassVar[int] = 2

    pos_weight: Any = 1.0

    def _check_options(self) -> None:
        shape = (1, *(self._columns() or (1,)))
        self.function(np.zeros(shape), np.zeros(shape), **self._options)

    def _columns(self) -> tuple[int, ...]:
        lengths = {len(value) for value in self._options.values() if np.ndim(value)}
        return (max(lengths),) if lengths else ()

    def _arrays(self, y_true: Any, raw_prediction: Any, outs: Any) -> tuple[np.ndarray, Any, list[Any]]:
        x = _validate.float_array("raw_prediction", raw_prediction)
        if not _validate.is_sparse(y_true):
            y_true = np.asarray(y_true) if type(y_true) is not np.ma.MaskedArray else y_true
            if x.ndim == 2 and x.shape[1] == 1 and y_true.ndim != 2:
                x = x[:, 0]
                outs = [out[:, 0] if np.ndim(out) == 2 and out.shape[1] == 1 else out for out in outs]
        return x, y_true, list(outs)

    def predict_proba(
        self, raw_prediction: Any, proba_out: np.ndarray | None = None, n_threads: int | None = None
    ) -> np.ndarray:
        """Probabilities of 0 and 1 for a single score a row, of 1 in each column for several.

        Parameters
        ----------
        raw_prediction : array_like, shape (n,), (n, 1) or (n, K)
            Scores.
        proba_out : ndarray of float32 or float64, optional
            Where to put the probabilities.
        n_threads : int, optional
            How many threads to use at most.

        Returns
        -------
        ndarray, shape (n, 2) or (n, K)
            Neither column is one less the other: both keep all digits.
        """
        x = _validate.float_array("raw_prediction", raw_prediction)
        if x.ndim not in (1, 2):
            raise ValueError(f"raw_prediction has shape {x.shape}: give (n,), (n, 1) or (n, K)")
        if x.ndim == 2 and x.shape[1] > 1:
            proba = np.asarray(expit(x, n_threads=n_threads))
        else:
            x = x.reshape(-1, 1)
            proba = np.concatenate([expit(-x, n_threads=n_threads), expit(x, n_threads=n_threads)], 1)
        if proba_out is not None:
            _validate.buffer("proba_out", proba_out, proba, _FLOATS, _inputs(x, None, None), "")
        return _put(proba, proba_out)

    def fit_intercept_only(self, y_true: Any, sample_weight: Any = None) -> Any:
        """The raw prediction that, the same for every row, has the smallest loss; one for each column.

        For cross-entropy the log-odds of the weighted mean of the targets; for the focal loss the root of its
        derivative, by `scipy.optimize`. Means are kept from 0 and 1 by ten epsilons of the dtype.

        Parameters
        ----------
        y_true : array_like, shape (n,) or (n, K)
            As in `loss`.
        sample_weight : array_like, shape (n,), optional
            Weights of the rows, finite and not negative.

        Returns
        -------
        NumPy scalar, or ndarray of shape (K,)
            float32 for float32 targets, otherwise float64.
        """
        if _validate.is_sparse(y_true):
            with _WORDS:
                _validate.sparse_outcomes(y_true, y_true.shape)
            y = y_true
        else:
            y = _validate.real_array("y_true", y_true)
            _validate.check_probabilities("y_true", y)
        columns = self._columns()
        if y.ndim not in (1, 2) or (columns and y.shape[1:] != columns):
            wanted = f"(n, {columns[0]}), as many columns as an option has" if columns else "(n,) or (n, K)"
            raise ValueError(f"y_true has shape {y.shape}: give {wanted}")
        dtype = np.dtype(np.float32) if y.dtype == np.float32 else np.dtype(np.float64)
        weights = _validate.moderate(_validate.weights_of("sample_weight", sample_weight, y.shape[:1]))
        if weights is None:
            weights = np.ones(y.shape[0])
        whole = weights.sum()
        if not whole > 0:
            raise ValueError("y_true has no row that counts: there are none, or their weights are 0")
        eps = 10 * float(np.finfo(dtype).eps)
        means = np.clip(np.asarray(y.T @ weights, np.float64) / whole, eps, 1 - eps)
        return self._intercepts(means).astype(dtype)[()]

    def _intercepts(self, means: np.ndarray) -> np.ndarray:
        mixed = (1 - self.label_smoothing) * means + self.label_smoothing / 2
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.pos_weight * mixed) - np.log1p(-mixed))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SigmoidCrossEntropy(_SigmoidLoss):
    """Cross-entropy of two outcomes, or of many independent ones, from scores, as an object.

    Parameters
    ----------
    pos_weight, label_smoothing
        As in `fastxent.sigmoid_cross_entropy`.

    Raises
    ------
    TypeError, ValueError
        An option outside its domain.

    Examples
    --------
    >>> from fastxent.losses import SigmoidCrossEntropy
    >>> gradient, hessian = SigmoidCrossEntropy().gradient_hessian([0, 1], [-40.0, 40.0])
    >>> gradient
    array([ 4.24835426e-18, -4.24835426e-18])
    >>> hessian
    array([4.24835426e-18, 4.24835426e-18])

    Source: Cox, "The regression analysis of binary sequences" (1958).
    """

    function = staticmethod(sigmoid_cross_entropy)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SigmoidFocalLoss(_SigmoidLoss):
    """Focal loss of two outcomes, or of many independent ones, from scores, as an object.

    Parameters
    ----------
    gamma, alpha, pos_weight, label_smoothing
        As in `fastxent.sigmoid_focal_loss`.

    Examples
    --------
    >>> from fastxent.losses import SigmoidFocalLoss
    >>> round(float(SigmoidFocalLoss(alpha=0.25).fit_intercept_only([0, 0, 0, 1])), 4)
    -0.8199

    Source: Lin et al., "Focal loss for dense object detection" (2017).
    """

    function = staticmethod(sigmoid_focal_loss)

    gamma: float = 2.0
    alpha: Any = None

    def _intercepts(self, means: np.ndarray) -> np.ndarray:
        from scipy.optimize import brentq  # a quarter of a second, for those who come this far

        function: Callable[..., Any] = self.function

        def root(column: int, mean: float) -> float:
            options = {name: float(value[column]) if np.ndim(value) else value for name, value in self._options.items()}

            def slope(score: float) -> float:
                weights = [1 - mean, mean]
                return float(function([score, score], [0, 1], sample_weight=weights, grad=True, **options)[1].sum())

            return float(brentq(slope, -700.0, 700.0, xtol=1e-12))

        return np.array([root(column, mean) for column, mean in enumerate(np.atleast_1d(means))]).reshape(means.shape)
