"""The BLAS held to one thread, for products that our own threads call for: its threads and ours would wait for each
other's processors."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class SerialBlas:
    """A context in which the BLAS uses one thread; for several Python threads at a time, until the last of them leaves.

    It notes who is inside, not how often: an interrupt may come between any two steps of Python, and the next call of
    that thread then sets right what was left behind.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside: set[int] = set()
        self.kept: set[int] = set()
        self.libraries: list[Any] | None = None
        # How many threads each library had; None while they are not held.
        self.before: list[int] | None = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.after_fork)

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                if self.libraries is None:
                    # Only libraries that are loaded are found.
                    importlib.import_module("scipy.linalg.cython_blas")
                    from threadpoolctl import ThreadpoolController

                    self.libraries = ThreadpoolController().select(user_api="blas").lib_controllers
                if self.before is None:
                    self.before = [library.num_threads for library in self.libraries]
                for library in self.libraries:
                    set_threads(library, 1)
            self.inside.add(threading.get_ident())

    def __exit__(self, *error: object) -> None:
        thread = threading.get_ident()
        if thread in self.kept:
            return
        with self.lock:
            self.inside.discard(thread)
            self.release()

    @contextmanager
    def throughout(self) -> Iterator[None]:
        """The same around many such contexts of this thread, and for what else it does meanwhile: threads of OpenBLAS
        stay on their processors for a tenth of a second after each call."""
        thread = threading.get_ident()
        try:
            self.kept.add(thread)
            with self:
                yield
        finally:
            self.kept.discard(thread)
            self.__exit__()

    def release(self) -> None:
        """Give the BLAS its threads back if nobody is inside."""
        if self.before is not None and self.libraries is not None and not self.inside:
            for library, n_threads in zip(self.libraries, self.before, strict=True):
                set_threads(library, n_threads)
            self.before = None

    def after_fork(self) -> None:
        """Of the threads that were inside, a child process has at most the one that forked."""
        self.lock = threading.Lock()
        self.inside &= {threading.get_ident()}
        self.kept &= {threading.get_ident()}
        self.release()


def set_threads(library: Any, n_threads: int) -> None:
    """Set the threads of a BLAS; also where threadpoolctl, which has no lock for it, leaves OpenBLAS to the first
    Python thread that asked and passes over all others without a word."""
    getattr(library, "_real_set_num_threads", library.set_num_threads)(n_threads)


serial_blas = SerialBlas()
