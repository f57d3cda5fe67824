"""Keras's own tests of its cross-entropies (`keras/src/losses/losses_test.py`, NumPy backend), run on ours.

Twice: with our functions in place of those behind Keras's classes, and with our classes in place of Keras's.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import pytest

os.environ["KERAS_BACKEND"] = "numpy"

import keras
import keras.src.losses.losses as peer

import fastxent.compat.keras as ours

FUNCTIONS = (
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_generalized_cross_entropy",
    "sparse_categorical_crossentropy",
)
CLASSES = (
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalGeneralizedCrossEntropy",
    "SparseCategoricalCrossentropy",
)


def run(names: tuple[str, ...]) -> int:
    for name in names:
        function_or_class = getattr(ours, name)
        if names is CLASSES:
            # As Keras asks for every class that it is to save.
            function_or_class = keras.saving.register_keras_serializable()(function_or_class)
        setattr(peer, name, function_or_class)
    os.chdir(tempfile.gettempdir())  # away from the conftest of our own tests
    tests = " or ".join(f"{name}Test" for name in CLASSES)
    options = ["-q", "-rs", "-p", "no:cacheprovider", "-c", os.devnull]
    return pytest.main(["--pyargs", "keras.src.losses.losses_test", "-k", tests, *options])


if __name__ == "__main__":
    if len(sys.argv) == 2:
        sys.exit(run(FUNCTIONS if sys.argv[1] == "functions" else CLASSES))
    codes = []
    for what in ("functions", "classes"):
        print(f"\n==== Keras's tests with our {what}", flush=True)
        codes.append(subprocess.call([sys.executable, __file__, what]))
    sys.exit(max(codes))
