import numpy as np

def is_direct(array: np.ndarray) -> bool: ...
def product(
    a: np.ndarray, b: np.ndarray, out: np.ndarray, accumulate: bool, bias: np.ndarray | None, n_threads: int | None
) -> None: ...
def add_columns(x: np.ndarray, out: np.ndarray, n_threads: int | None) -> None: ...
def csr_product(
    csr: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    weight: np.ndarray,
    out: np.ndarray,
    accumulate: bool,
    bias: np.ndarray | None,
    n_threads: int | None,
) -> None: ...
def csr_add_product(
    csr: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    grad: np.ndarray,
    out: np.ndarray,
    before: np.ndarray,
    n_threads: int | None,
) -> None: ...
