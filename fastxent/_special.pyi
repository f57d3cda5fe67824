from typing import Any

import numpy as np

def special(wanted: str, scores: np.ndarray, out: np.ndarray | None, n_threads: int | None) -> Any: ...
