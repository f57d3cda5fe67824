import numpy as np

def gather(source: np.ndarray, which: np.ndarray, out: np.ndarray, n_threads: int | None) -> None: ...
def true_logits(inputs: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None: ...
def add_true(factors: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None: ...
def sigmoid_rows(
    logits: np.ndarray, target: float, scales: np.ndarray, losses: np.ndarray, grad: bool, n_threads: int | None
) -> None: ...
def sum_by_class(
    order: np.ndarray,
    starts: np.ndarray,
    of_sampled: np.ndarray,
    of_true: np.ndarray,
    inputs: np.ndarray,
    out: np.ndarray,
    bias: np.ndarray,
    n_threads: int | None,
) -> None: ...
def scatter_add(
    ids: np.ndarray, values: np.ndarray, target: np.ndarray, scale: float, n_threads: int | None
) -> None: ...
def adagrad(
    ids: np.ndarray,
    values: np.ndarray,
    target: np.ndarray,
    accumulator: np.ndarray,
    learning_rate: float,
    eps: float,
    n_threads: int | None,
) -> None: ...
def adam(
    ids: np.ndarray,
    values: np.ndarray,
    target: np.ndarray,
    mean: np.ndarray,
    square: np.ndarray,
    step: float,
    beta1: float,
    beta2: float,
    root: float,
    eps: float,
    n_threads: int | None,
) -> None: ...
