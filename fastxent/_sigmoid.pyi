import numpy as np

def total(weights: np.ndarray) -> float: ...
def loss(
    scores: np.ndarray,
    dense: np.ndarray | None,
    sparse: tuple[np.ndarray, np.ndarray, np.ndarray] | None,
    weights: np.ndarray | None,
    row_weights: np.ndarray | None,
    total_weight: float,
    smoothing: float,
    gamma: float,
    positive: float | np.ndarray,
    negative: float | np.ndarray,
    losses: np.ndarray | None,
    grad: np.ndarray | None,
    hess: np.ndarray | None,
    vector: np.ndarray | None,
    n_threads: int | None,
) -> float | None: ...
def elementwise(wanted: str, x: np.ndarray, out: np.ndarray, n_threads: int | None) -> None: ...
def quick_at(
    scores: int,
    targets: int,
    grad: int,
    loss: int,
    single: bool,
    reduction: str,
    n_threads: int | None,
    n: int,
    pos_weight: float,
) -> bool: ...
