from typing import Any

import numpy as np

def first_bad_label(labels: np.ndarray, classes: int, ignored: int | None) -> int: ...
def first_bad_csr(
    indptr: np.ndarray, indices: np.ndarray, values: np.ndarray, classes: int
) -> tuple[Any, ...] | None: ...
def class_weighted(
    n: int,
    classes: int,
    labels: np.ndarray | None,
    dense: np.ndarray | None,
    sparse: tuple[np.ndarray, np.ndarray, np.ndarray] | None,
    weights: np.ndarray | None,
    ignored: int | None,
    single: bool,
    class_weights: np.ndarray,
    n_threads: int | None,
) -> np.ndarray: ...
def has_masked_target(
    mask: np.ndarray,
    labels: np.ndarray | None,
    dense: np.ndarray | None,
    sparse: tuple[np.ndarray, np.ndarray, np.ndarray] | None,
    ignored: int | None,
    n_threads: int | None,
) -> bool: ...
def has_bad_dense(dense: np.ndarray, single: bool, n_threads: int | None) -> bool: ...
def quick(*arguments: Any) -> Any: ...
def quick_at(
    scores: int,
    labels: int,
    grad: int,
    loss: int,
    single: bool,
    reduction: str,
    n_threads: int | None,
    n: int,
    classes: int,
    ignored: int,
    class_weights: int,
) -> bool: ...
def loss(
    scores: np.ndarray,
    labels: np.ndarray | None,
    dense: np.ndarray | None,
    sparse: tuple[np.ndarray, np.ndarray, np.ndarray] | None,
    weights: np.ndarray | None,
    head: str,
    parameter: float,
    alpha: np.ndarray | None,
    smoothing: float,
    z_loss: float,
    transform: tuple[float, float, float, np.ndarray | None, np.ndarray | None] | None,
    ignored: int | None,
    reduction: str,
    grad: np.ndarray | None,
    hess: np.ndarray | None,
    vector: np.ndarray | None,
    in_place: bool,
    temperature: np.ndarray | None,
    n_threads: int | None,
    divisor: float | None = None,
) -> Any: ...
