"""What a classifier is given as y, as what the losses take as targets."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from fastxent import _validate
from fastxent.losses import SigmoidCrossEntropy, SoftmaxCrossEntropy, _ScoreLoss

# How far sums of distributions may be from one.
_TOLERANCE = 1e-3


class Targets(NamedTuple):
    """Targets of a loss, and what they stand for.

    Parameters
    ----------
    values : labels (n,), ndarray or CSR (n, K)
    classes : ndarray, shape (C,)
    outputs : int
        K: one for two classes under a sigmoid loss, otherwise one for each class.
    loss : object of `fastxent.losses`
    labels : ndarray of the places of labels in `classes`, or None for matrices
    multilabel : bool
        Whether a row may have any number of the classes.
    """

    values: Any
    classes: np.ndarray
    outputs: int
    loss: Any
    labels: np.ndarray | None
    multilabel: bool


def loss_of(loss: Any) -> Any:
    """The object that a parameter `loss` stands for, None for one that depends on the targets."""
    if loss is None or isinstance(loss, _ScoreLoss):
        return loss
    if isinstance(loss, type) and issubclass(loss, _ScoreLoss):
        raise TypeError(f"loss is the class {loss.__name__}: give an object of it, {loss.__name__}()")
    family = _validate.choice_of("loss", loss, ("softmax", "sigmoid"))
    return SoftmaxCrossEntropy() if family == "softmax" else SigmoidCrossEntropy()


def is_matrix(y: Any) -> bool:
    """Whether y has columns of classes, more than one."""
    return _validate.is_sparse(y) or (np.ndim(y) == 2 and y.shape[1] > 1)


def targets_of(y: Any, loss: Any, classes: Any, multilabel: bool | None = None) -> Targets:
    """Targets of y: labels, one for each row, or a matrix of a column for each class; for `multilabel` what they were
    found to be before, if so."""
    loss = loss_of(loss)
    ignored = getattr(loss, "ignore_index", None)
    if ignored is not None:
        raise ValueError(
            f"ignore_index of the loss is {ignored}: classes are found in y, whatever they are; leave rows out of X and"
            " y, or give them a sample_weight of 0"
        )
    return _of_matrix(y, loss, classes, multilabel) if is_matrix(y) else _of_labels(y, loss, classes)


def _of_labels(y: Any, loss: Any, classes: Any) -> Targets:
    y = column_or_1d(y, warn=True)
    check_classification_targets(y)
    found, labels = np.unique(y, return_inverse=True)
    if classes is not None:
        classes = np.unique(classes)
        unseen = np.setdiff1d(found, classes)
        if len(unseen):
            raise ValueError(f"`y` has classes not in `classes`. `classes` has {classes}. 'y' has {found}.")
        labels = np.searchsorted(classes, found)[labels]
        found = classes
    if len(found) < 2:
        raise ValueError(
            "This solver needs samples of at least 2 classes in the data, but the data contains only one class:"
            f" {found[0]!r}"
        )
    if loss is None:
        loss = SigmoidCrossEntropy() if len(found) == 2 else SoftmaxCrossEntropy()
    if loss.is_multiclass:
        return Targets(labels, found, len(found), loss, labels, False)
    if len(found) == 2:
        return Targets(labels, found, 1, loss, labels, False)
    rows = np.arange(len(labels) + 1)
    one_hot = csr_array((np.ones(len(labels)), labels, rows), shape=(len(labels), len(found)))
    return Targets(one_hot, found, len(found), loss, labels, False)


def _of_matrix(y: Any, loss: Any, classes: Any, multilabel: bool | None) -> Targets:
    if not _validate.is_sparse(y):
        y = _validate.real_array("y", y)
    columns = y.shape[1]
    if columns < 2:
        raise ValueError(
            f"y has shape {y.shape}: give a column for each of at least 2 classes, or labels ({y.shape[0]},)"
        )
    names = np.arange(columns) if classes is None else np.asarray(classes)
    if names.shape != (columns,) or len(np.unique(names)) != columns:
        raise ValueError(f"classes has shape {names.shape}, y {y.shape}: name each column of y, all differently")
    values = y.data if _validate.is_sparse(y) else y
    if loss is None:
        multilabel = bool(np.isin(values, (0, 1)).all())
        if not multilabel:
            _check_sums(y)
        loss = SigmoidCrossEntropy() if multilabel or columns == 2 else SoftmaxCrossEntropy()
    elif loss.is_multiclass:
        multilabel = False
    elif multilabel is False and columns == 2:
        _check_sums(y)
    else:
        multilabel = True
    if multilabel:
        return Targets(y, names, columns, loss, None, True)
    if loss.is_multiclass:
        return Targets(y, names, columns, loss, None, False)
    second = y[:, [1]].toarray() if _validate.is_sparse(y) else y[:, 1:]
    return Targets(second.ravel(), names, 1, loss, None, False)


def _check_sums(y: Any) -> None:
    """Refuse what is neither an indicator matrix nor distributions."""
    sums = np.asarray(y.sum(axis=1)).ravel()
    wrong = np.flatnonzero(~(np.abs(sums - 1) <= _TOLERANCE))
    if len(wrong):
        raise ValueError(
            f"y[{wrong[0]}] sums to {sums[wrong[0]]:.6g}: rows of a matrix are distributions, which sum to 1, or hold"
            ' nothing but 0 and 1 for any number of classes; for independent probabilities use loss="sigmoid", for'
            ' distributions of another sum loss="softmax"'
        )
