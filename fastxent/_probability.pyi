from typing import Any

import numpy as np

def binary(
    probabilities: np.ndarray,
    dense: np.ndarray | None,
    sparse: tuple[np.ndarray, np.ndarray, np.ndarray] | None,
    weights: np.ndarray | None,
    row_weights: np.ndarray | None,
    total_weight: float,
    smoothing: float,
    pos_weight: float | np.ndarray,
    eps: float,
    losses: np.ndarray | None,
    grad: np.ndarray | None,
    hess: np.ndarray | None,
    n_threads: int | None,
) -> float | None: ...
def categorical(
    probabilities: np.ndarray,
    labels: np.ndarray | None,
    dense: np.ndarray | None,
    sparse: tuple[np.ndarray, np.ndarray, np.ndarray] | None,
    weights: np.ndarray | None,
    smoothing: float,
    normalize: bool,
    eps: float,
    reduction: str,
    grad: np.ndarray | None,
    hess: np.ndarray | None,
    zeros: bool,
    checking: bool,
    sound: bool,
    n_threads: int | None,
) -> Any: ...
def row_weights(
    n: int,
    classes: int,
    labels: np.ndarray | None,
    dense: np.ndarray | None,
    sparse: tuple[np.ndarray, np.ndarray, np.ndarray] | None,
    class_weight: np.ndarray | None,
    sample_weight: np.ndarray | None,
    ignored: int | None,
) -> np.ndarray: ...
def any_outside(array: np.ndarray, nan_too: bool, n_threads: int | None) -> bool: ...
