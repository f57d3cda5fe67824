"""Arrays of which few rows are not zero: what the sampled losses return for weights of millions of classes."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastxent import _sampled, _validate


@dataclass(frozen=True, eq=False)
class RowSparse:
    """An array by its rows that are not zero; its methods change the rows of others in place.

    Parameters
    ----------
    ids : ndarray of integers, shape (u,)
        The rows, in rising order and each once.
    values : ndarray of float32 or float64, shape (u, d), or (u,) of a one-dimensional array
        What is in them.
    shape : tuple of int, (n, d) or (n,)
        The shape of the whole array.

    Raises
    ------
    TypeError, ValueError
        Ids that are not integers, out of range, not rising; values of another dtype, or whose shape does not go with
        ids and shape.

    Examples
    --------
    >>> import numpy as np
    >>> import fastxent as fx
    >>> grad = fx.RowSparse(np.array([1, 3]), np.array([[1.0, 2.0], [0.5, 0.0]]), (5, 2))
    >>> weight = np.zeros((5, 2))
    >>> grad.sgd(weight, learning_rate=0.1)
    >>> weight.tolist()
    [[0.0, 0.0], [-0.1, -0.2], [0.0, 0.0], [-0.05, 0.0], [0.0, 0.0]]
    """

    ids: np.ndarray
    values: np.ndarray
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        shape, ids, values = _validate.row_sparse(self.ids, self.values, self.shape)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "ids", ids)
        object.__setattr__(self, "values", values)

    def toarray(self) -> np.ndarray:
        """The whole array."""
        whole = np.zeros(self.shape, self.values.dtype)
        whole[self.ids] = self.values
        return whole

    def to_scipy(self) -> Any:
        """A `scipy.sparse.csr_array` (n, d), of which all d elements of a row are stored; (n, 1) of a shape (n,)."""
        from scipy.sparse import csr_array

        width = math.prod(self.shape[1:])
        counts = np.zeros(self.shape[0] + 1, np.int64)
        counts[self.ids + 1] = width
        indices = np.tile(np.arange(width), len(self.ids))
        return csr_array((self.values.reshape(-1), indices, np.cumsum(counts)), shape=(self.shape[0], width))

    def scatter_add(self, target: np.ndarray, scale: float = 1.0, *, n_threads: int | None = None) -> None:
        """Add it to an array: ``target[ids] += scale * values``, in place.

        Parameters
        ----------
        target : ndarray of float32 or float64, of the whole shape
            Rows of elements next to each other, as in a C-contiguous array. Values are rounded to its dtype.
        scale : float, default 1
            Factor, finite.
        n_threads : int, optional
            How many threads to use at most; the result has the same bits for every number.

        Raises
        ------
        TypeError, ValueError
            A target that is no array of that kind, is read-only or overlaps the values; nothing has been written then.
        """
        factor = _validate.number("scale", scale, -sys.float_info.max, math.inf)
        ids, values = self._checked(target=target)
        _sampled.scatter_add(ids, values, target, factor, n_threads)

    def sgd(self, target: np.ndarray, learning_rate: float, *, n_threads: int | None = None) -> None:
        """One step of stochastic gradient descent: ``target[ids] -= learning_rate * values``; see `scatter_add`."""
        rate = _validate.number("learning_rate", learning_rate, 0.0, math.inf)
        ids, values = self._checked(target=target)
        _sampled.scatter_add(ids, values, target, -rate, n_threads)

    def adagrad(
        self,
        target: np.ndarray,
        accumulator: np.ndarray,
        learning_rate: float = 0.01,
        eps: float = 1e-10,
        *,
        n_threads: int | None = None,
    ) -> None:
        """One step of Adagrad on the rows that are not zero; the others would not change.

        ::

            accumulator += g^2,    target -= learning_rate g / (sqrt(accumulator) + eps)

        Parameters
        ----------
        target, accumulator : ndarray of float32 or float64, of the whole shape
            As in `scatter_add`, both of one dtype.
        learning_rate, eps : float, at least 0
            As above.
        n_threads : int, optional
            As in `scatter_add`.

        Raises
        ------
        TypeError, ValueError
            As `scatter_add`.

        Source: Duchi, Hazan and Singer, "Adaptive subgradient methods" (2011).
        """
        rate = _validate.number("learning_rate", learning_rate, 0.0, math.inf)
        least = _validate.number("eps", eps, 0.0, math.inf)
        ids, values = self._checked(target=target, accumulator=accumulator)
        _sampled.adagrad(ids, values, target, accumulator, rate, _not_zero(least, values), n_threads)

    def adam(
        self,
        target: np.ndarray,
        mean: np.ndarray,
        square: np.ndarray,
        step: int,
        learning_rate: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        *,
        n_threads: int | None = None,
    ) -> None:
        """One step of lazy Adam: moments and weights of the rows that are not zero; the others wait.

        ::

            mean += (1 - beta1) (g - mean),    square += (1 - beta2) (g^2 - square)
            target -= learning_rate mean / (1 - beta1^step) / (sqrt(square / (1 - beta2^step)) + eps)

        Parameters
        ----------
        target, mean, square : ndarray of float32 or float64, of the whole shape
            As in `scatter_add`, all of one dtype; the moments begin as zeros.
        step : int, at least 1
            The number of the step, 1 for the first.
        learning_rate, eps : float, at least 0
            As above.
        beta1, beta2 : float in [0, 1)
            What is kept of the moments.
        n_threads : int, optional
            As in `scatter_add`.

        Raises
        ------
        TypeError, ValueError
            As `scatter_add`.

        Source: Kingma and Ba, "Adam: a method for stochastic optimization" (2015).
        """
        number = _validate.count_of("step", step)
        rate = _validate.number("learning_rate", learning_rate, 0.0, math.inf)
        least = _validate.number("eps", eps, 0.0, math.inf)
        kept1, kept2 = (
            _validate.number(name, value, 0.0, math.nextafter(1.0, 0.0))
            for name, value in (("beta1", beta1), ("beta2", beta2))
        )
        ids, values = self._checked(target=target, mean=mean, square=square)
        root = math.sqrt(1.0 - kept2**number)
        rate /= 1.0 - kept1**number
        least = _not_zero(least, values)
        _sampled.adam(ids, values, target, mean, square, rate, kept1, kept2, root, least, n_threads)

    def _checked(self, **arrays: Any) -> tuple[np.ndarray, np.ndarray]:
        """Ids and values as the row loops take them, for arrays to write to that have been checked."""
        dtype = _validate.rows_to_update(self.shape, (self.ids, self.values), arrays)
        with np.errstate(over="ignore", under="ignore"):
            return self.ids, np.ascontiguousarray(self.values, dtype)


def _not_zero(eps: float, values: np.ndarray) -> float:
    """The least number by which 0 can be divided, where 0 was given or what is 0 in the dtype."""
    return max(eps, float(np.finfo(values.dtype).tiny))
