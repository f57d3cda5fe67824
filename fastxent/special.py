"""SciPy's special functions of the field, with its signatures and semantics, and `out=` and `n_threads=` added.

What the kernels do not cover (complex numbers, long double, weights `b`, tuples of axes that do not flatten, single
numbers) is handed to SciPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastxent import _memory, _sigmoid, _special, _validate

_KERNEL_DTYPES = frozenset(np.dtype(name) for name in ("float16", "float32", "float64"))


def _rows(x: Any, axis: Any) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]] | None:
    """The array, a view (rows, n) or (outer, inner, n) of it, and the reduced axes; None if that is SciPy's."""
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError("x is a masked array: fill it first, for example x.filled(-numpy.inf)")
    array = np.asarray(x)
    if array.dtype.kind in "iu":
        array = array.astype(np.float64)
    array = _validate.native(array)
    if array.dtype not in _KERNEL_DTYPES or array.ndim == 0 or array.size == 0:
        return None
    if axis is None:
        axes = tuple(range(array.ndim))
    elif any(isinstance(one, (bool, np.bool_)) for one in (axis if isinstance(axis, tuple) else (axis,))):
        raise TypeError(f"axis is {axis}: give an integer, a tuple of them or None")
    else:
        axes = np.lib.array_utils.normalize_axis_tuple(axis, array.ndim)
    if len(axes) == 1:
        return array, _validate.as_rows(array, axes[0]), axes
    if not axes or not array.flags.c_contiguous or sorted(axes) != list(range(min(axes), max(axes) + 1)):
        return None
    first, last = min(axes), max(axes) + 1
    shape = (*array.shape[:first], -1, *array.shape[last:])
    return array, _validate.as_rows(array.reshape(shape), first), tuple(sorted(axes))


def _buffer(out: Any, like: np.ndarray, x: Any) -> np.ndarray:
    return _validate.buffer("out", out, like, (like.dtype,), (("x", np.asarray(x)),), "x")


def logsumexp(
    a: Any,
    axis: Any = None,
    b: Any = None,
    keepdims: bool = False,
    return_sign: bool = False,
    *,
    out: Any = None,
    n_threads: int | None = None,
) -> Any:
    """Logarithm of the sum of exponentials, ``log(sum(exp(a)))``, as `scipy.special.logsumexp`.

    Parameters
    ----------
    a : array_like
        Real float16, float32 or float64 (or integers, as float64) go to the kernels, everything else to SciPy.
    axis : None, int or tuple of ints, optional
        Axes summed over; all by default.
    b : array_like, optional
        Factors of the exponentials (SciPy's code).
    keepdims : bool, default False
        Keep the reduced axes with length one.
    return_sign : bool, default False
        Also return the sign of the sum (SciPy's code).
    out : ndarray, optional
        Where to put the result.
    n_threads : int, optional
        How many threads to use at most.

    Returns
    -------
    ndarray or scalar of the dtype of `a`; within 2 ulp of the larger of the result and the largest score.

    Raises
    ------
    TypeError, ValueError
        `a` is a masked array; `out` has another shape or dtype, is read-only, or overlaps `a`.

    Examples
    --------
    >>> import fastxent as fx
    >>> fx.logsumexp([[1000.0, 1000.0], [-1000.0, -1000.0]], axis=1)
    array([1000.69314718, -999.30685282])

    Source: Blanchard, Higham and Higham, "Accurately computing the log-sum-exp and softmax functions" (2021).
    """
    covered = _rows(a, axis) if b is None and not return_sign else None
    if covered is None:
        from scipy import special

        result = special.logsumexp(a, axis=axis, b=b, keepdims=keepdims, return_sign=return_sign)
        if out is None or return_sign:
            return result
        buffer = _buffer(out, np.asarray(result), a)
        buffer[...] = result
        return buffer
    array, rows, axes = covered
    shape = tuple(1 if i in axes else size for i, size in enumerate(array.shape) if keepdims or i not in axes)
    if out is None:
        result = np.empty(shape, array.dtype)
    else:
        result = _buffer(out, np.broadcast_to(np.empty((), array.dtype), shape), a)
    result[...] = _special.special("logsumexp", rows, None, n_threads).reshape(shape)
    return result if shape or out is not None else result[()]


def _softmax_like(wanted: str, x: Any, axis: Any, out: Any, n_threads: int | None) -> Any:
    if np.ndim(x) == 0 and axis is None and out is None:
        return _softmax_like(wanted, np.reshape(x, 1), None, None, n_threads)[0]
    covered = _rows(x, axis)
    if covered is None:
        from scipy import special

        result = getattr(special, wanted)(x, axis=axis)
        if out is None:
            return result
        buffer = _buffer(out, np.asarray(result), x)
        buffer[...] = result
        return buffer
    array, rows, axes = covered
    result = _memory.empty_like(array) if out is None else _buffer(out, array, x)
    if len(axes) == 1:
        target = _validate.as_rows(result, axes[0])
        _special.special(wanted, rows, target, n_threads)
        _validate.put_back(result, target, axes[0])
        return result
    # Several axes: as one axis of contiguous memory.
    first, last = axes[0], axes[-1] + 1
    shape = (*array.shape[:first], -1, *array.shape[last:])
    block = result if result.flags.c_contiguous else np.empty_like(array, order="C")
    _special.special(wanted, rows, _validate.as_rows(block.reshape(shape), first), n_threads)
    if block is not result:
        result[...] = block
    return result


def softmax(x: Any, axis: Any = None, *, out: Any = None, n_threads: int | None = None) -> Any:
    """``exp(x) / sum(exp(x))``, as `scipy.special.softmax`.

    Parameters
    ----------
    x : array_like
        Real float16, float32 or float64 (or integers, as float64) go to the kernels, everything else to SciPy.
    axis : None, int or tuple of ints, optional
        Axes summed over; all by default.
    out : ndarray, optional
        Where to put the result; `x` itself: in place.
    n_threads : int, optional
        How many threads to use at most.

    Returns
    -------
    ndarray of the shape and dtype of `x`; scores of +inf share all of the mass.

    Raises
    ------
    TypeError, ValueError
        `x` is a masked array; `out` has another shape or dtype, is read-only, or overlaps `x` without being it.

    Examples
    --------
    >>> import fastxent as fx
    >>> fx.softmax([[1.0, 2.0], [0.0, 1000.0]], axis=1)
    array([[0.26894142, 0.73105858],
           [0.        , 1.        ]])

    Source: Bridle, "Probabilistic interpretation of feedforward classification network outputs" (1990).
    """
    return _softmax_like("softmax", x, axis, out, n_threads)


def log_softmax(x: Any, axis: Any = None, *, out: Any = None, n_threads: int | None = None) -> Any:
    """``x - logsumexp(x)``, as `scipy.special.log_softmax`, without cancellation.

    Parameters
    ----------
    x : array_like
        Real float16, float32 or float64 (or integers, as float64) go to the kernels, everything else to SciPy.
    axis : None, int or tuple of ints, optional
        Axes summed over; all by default.
    out : ndarray, optional
        Where to put the result; `x` itself: in place.
    n_threads : int, optional
        How many threads to use at most.

    Returns
    -------
    ndarray of the shape and dtype of `x`.

    Raises
    ------
    TypeError, ValueError
        `x` is a masked array; `out` has another shape or dtype, is read-only, or overlaps `x` without being it.

    Examples
    --------
    >>> import fastxent as fx
    >>> fx.log_softmax([20.0, 0.0])
    array([-2.06115362e-09, -2.00000000e+01])

    Source: Blanchard, Higham and Higham, "Accurately computing the log-sum-exp and softmax functions" (2021).
    """
    return _softmax_like("log_softmax", x, axis, out, n_threads)


def _elementwise(wanted: str, x: Any, out: Any, n_threads: int | None, options: dict[str, Any]) -> Any:
    if isinstance(out, tuple) and len(out) == 1:
        out = out[0]
    array = _validate.native(np.asarray(x))
    if array.dtype.kind in "iub" or array.dtype == np.float16:
        array = array.astype(np.float64)
    if options or array.dtype not in _KERNEL_DTYPES or isinstance(x, np.ma.MaskedArray):
        from scipy import special

        return getattr(special, wanted)(x, out, **options)
    result = _memory.empty_like(array) if out is None else _buffer(out, array, x)
    target = _validate.as_elements(result)
    _sigmoid.elementwise(wanted, _validate.as_elements(array), target, n_threads)
    _validate.put_back(result, target, result.ndim - 1)
    return result if result.ndim or out is not None else result[()]


def expit(x: Any, out: Any = None, *, n_threads: int | None = None, **options: Any) -> Any:
    """The logistic sigmoid ``1 / (1 + exp(-x))``, as `scipy.special.expit`.

    Parameters
    ----------
    x : array_like
        Real numbers; float32 and float64 go to the kernels, long double to SciPy.
    out : ndarray, optional
        Where to put the result; `x` itself: in place.
    n_threads : int, optional
        How many threads to use at most.
    **options
        Options of NumPy's ufuncs (`where`, `dtype`, ...), handed to SciPy.

    Returns
    -------
    ndarray or scalar; float32 for float32, otherwise float64.

    Raises
    ------
    TypeError, ValueError
        `out` has another shape or dtype, is read-only, or overlaps `x` without being it.

    Examples
    --------
    >>> import fastxent as fx
    >>> fx.expit([-40.0, 0.0, 40.0])
    array([4.24835426e-18, 5.00000000e-01, 1.00000000e+00])

    Source: Cox, "The regression analysis of binary sequences" (1958).
    """
    return _elementwise("expit", x, out, n_threads, options)


def log_expit(x: Any, out: Any = None, *, n_threads: int | None = None, **options: Any) -> Any:
    """``log(expit(x))``, as `scipy.special.log_expit`, without loss at either end.

    Parameters
    ----------
    x : array_like
        Real numbers; float32 and float64 go to the kernels, long double to SciPy.
    out : ndarray, optional
        Where to put the result; `x` itself: in place.
    n_threads : int, optional
        How many threads to use at most.
    **options
        Options of NumPy's ufuncs (`where`, `dtype`, ...), handed to SciPy.

    Returns
    -------
    ndarray or scalar; float32 for float32, otherwise float64.

    Raises
    ------
    TypeError, ValueError
        `out` has another shape or dtype, is read-only, or overlaps `x` without being it.

    Examples
    --------
    >>> import fastxent as fx
    >>> fx.log_expit([-40.0, 0.0, 40.0])
    array([-4.00000000e+01, -6.93147181e-01, -4.24835426e-18])

    Source: Mächler, "Accurately computing log(1 - exp(-|a|))" (2012).
    """
    return _elementwise("log_expit", x, out, n_threads, options)
