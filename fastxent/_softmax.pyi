from typing import Any

import numpy as np

def first_bad_label(labels: np.ndarray, classes: int, ignored: int | None) -> int: ...
def first_bad_csr(
    indptr: np.ndarray, indices: np.ndarray, values: np.ndarray, classes: int
) -> tuple[Any, ...] | None: ...
def loss(
    scores: np.ndarray,
    labels: np.ndarray | None,
    dense: np.ndarray | None,
    sparse: tuple[np.ndarray, np.ndarray, np.ndarray] | None,
    weights: np.ndarray | None,
    smoothing: float,
    ignored: int | None,
    reduction: str,
    grad: np.ndarray | None,
    hess: np.ndarray | None,
    in_place: bool,
    n_threads: int | None,
) -> Any: ...
def special(wanted: str, scores: np.ndarray, out: np.ndarray | None, n_threads: int | None) -> Any: ...
