"""The BLAS held to one thread, for products that our own threads call for: its threads and ours would wait for each
other's processors."""

from __future__ import annotations

import importlib
import threading
from typing import Any


class SerialBlas:
    """A context in which the BLAS uses one thread; for several calls at a time, until the last of them leaves."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0
        self.controller: Any = None
        self.limits: Any = None

    def __enter__(self) -> None:
        with self.lock:
            if self.inside == 0:
                if self.controller is None:
                    # Only libraries that are loaded are found.
                    importlib.import_module("scipy.linalg.cython_blas")
                    from threadpoolctl import ThreadpoolController

                    self.controller = ThreadpoolController().select(user_api="blas")
                self.limits = self.controller.limit(limits=1)
            self.inside += 1

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.limits.restore_original_limits()


serial_blas = SerialBlas()
