"""The examples in Keras's documentation of its cross-entropies, run unchanged with `keras` being ours.

What they print must be what we compute, to the last digit printed or seen in float32. Two of the examples are wrong:
those in WRONG call the focal loss with its default gamma of 2 and print what gamma 0 gives.
"""

from __future__ import annotations

import doctest
import os
import re
import sys
from typing import Any

import numpy as np

os.environ["KERAS_BACKEND"] = "numpy"

import keras.src.losses.losses as peer

import fastxent.compat.keras as ours

NAMES = [name for name in ours.__all__ if hasattr(peer, name) and callable(getattr(peer, name)) and name != "Loss"]
WRONG = {"bce_loss", "focal_loss/bce_loss"}
NUMBER = re.compile(r"-?\d+\.?\d*(?:[eE][-+]?\d+)?")


def numbers(text: str) -> list[tuple[float, float]]:
    """The numbers in what was printed, each with the size of one in its last digit."""
    text = re.sub(r"dtype=\w+", "", text)
    found = []
    for number in NUMBER.findall(text):
        mantissa, _, exponent = number.lower().partition("e")
        decimals = len(mantissa.partition(".")[2])
        found.append((float(number), 10.0 ** (int(exponent or 0) - decimals)))
    return found


def run(name: str) -> tuple[int, list[str]]:
    """How many examples of a docstring print numbers, and what is wrong with ours."""
    # One page asserts the shape of a `loss` that it never made.
    names: dict[str, Any] = {"np": np, "keras": ours, "loss": np.empty(2)}
    compared, failures = 0, []
    for example in doctest.DocTestParser().get_examples(getattr(peer, name).__doc__):
        source = example.source.strip()
        if not numbers(example.want) or source in WRONG:
            exec(example.source, names)
            continue
        got = np.ravel(eval(source.split("#")[0], names))
        want = numbers(example.want)
        compared += 1
        # What follows the last digit is cut off on some pages, rounded on others; and Keras computes in float32.
        close = [abs(g - w) <= max(unit, 1e-6 * abs(w)) for g, (w, unit) in zip(got, want, strict=False)]
        if len(got) != len(want) or not all(close):
            failures.append(f"{name}: {source} is {got.tolist()}, documented {example.want.strip()}")
    return compared, failures


def main() -> int:
    total, failures = 0, []
    for name in NAMES:
        compared, wrong = run(name)
        print(f"{name}: {compared} examples")
        total += compared
        failures += wrong
    print(*failures, f"{total - len(failures)} passed, {len(failures)} failed", sep="\n")
    return bool(failures) or total < 25


if __name__ == "__main__":
    sys.exit(main())
