"""A multilayer perceptron that reads handwritten digits, with backpropagation written by hand.

The loss leaves the gradient by the scores where the scores stood, in the pass that computes it (`grad=`); the layers
below do the same with theirs. float32, minibatches, Adam.

    python examples/mlp_digits.py
"""

from __future__ import annotations

import argparse
from itertools import pairwise

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastxent as fx

SIZES = (64, 128, 64, 10)
BATCH = 64
RATE, FIRST, SECOND, TINY = 2e-3, 0.9, 0.999, 1e-8


class Perceptron:
    """Linear layers with rectifiers between them."""

    def __init__(self, sizes: tuple[int, ...], rng: np.random.Generator) -> None:
        shapes = list(pairwise(sizes))
        self.weights = [rng.normal(0, np.sqrt(2 / n), (n, m)).astype(np.float32) for n, m in shapes]
        self.biases = [np.zeros(m, np.float32) for _, m in shapes]
        self.params = self.weights + self.biases
        self.grads, self.means, self.squares = ([np.zeros_like(param) for param in self.params] for _ in range(3))
        self.outputs = self.empty(BATCH)
        self.steps = 0

    def empty(self, rows: int) -> list[np.ndarray]:
        """Room for the outputs of all layers."""
        return [np.empty((rows, len(bias)), np.float32) for bias in self.biases]

    def forward(self, x: np.ndarray, outputs: list[np.ndarray]) -> np.ndarray:
        """Fill the outputs; the last ones are the scores."""
        for weight, bias, out in zip(self.weights, self.biases, outputs, strict=True):
            np.matmul(x, weight, out=out)
            out += bias
            if out is not outputs[-1]:
                np.maximum(out, 0, out=out)
            x = out
        return x

    def step(self, x: np.ndarray, labels: np.ndarray) -> float:
        """One step down the mean loss of a batch, which is returned."""
        outputs = [out[: len(x)] for out in self.outputs]
        logits = self.forward(x, outputs)
        loss, delta = fx.softmax_cross_entropy(logits, labels, grad=logits)
        for i in reversed(range(len(outputs))):
            below = outputs[i - 1] if i else x
            np.matmul(below.T, delta, out=self.grads[i])
            np.sum(delta, axis=0, out=self.grads[len(outputs) + i])
            if i:
                active = below > 0
                delta = np.matmul(delta, self.weights[i].T, out=below)
                delta *= active
        self.adam()
        return float(loss)

    def adam(self) -> None:
        """Move each parameter by the mean of its gradients over the root of their mean square."""
        self.steps += 1
        rate = RATE * (1 - SECOND**self.steps) ** 0.5 / (1 - FIRST**self.steps)
        for param, grad, mean, square in zip(self.params, self.grads, self.means, self.squares, strict=True):
            mean += (1 - FIRST) * (grad - mean)
            square += (1 - SECOND) * (grad * grad - square)
            param -= rate * mean / (np.sqrt(square) + TINY)

    def scores(self, x: np.ndarray) -> np.ndarray:
        return self.forward(x, self.empty(len(x)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30, help="times through the digits (%(default)s)")
    options = parser.parse_args()

    X, y = load_digits(return_X_y=True)
    split = train_test_split((X / 16).astype(np.float32), y, test_size=0.25, random_state=0, stratify=y)
    train, test, y_train, y_test = split
    rng = np.random.default_rng(0)
    model = Perceptron(SIZES, rng)
    for epoch in range(options.epochs):
        order = rng.permutation(len(train))
        batches = [order[at : at + BATCH] for at in range(0, len(order), BATCH)]
        loss = sum(len(rows) * model.step(train[rows], y_train[rows]) for rows in batches) / len(train)
        scores = model.scores(test)
        test_loss = fx.softmax_cross_entropy(scores, y_test)
        accuracy = (scores.argmax(axis=1) == y_test).mean()
        print(f"epoch {epoch + 1:2}: loss {loss:.4f}; test: loss {test_loss:.4f}, accuracy {accuracy:.2%}")


if __name__ == "__main__":
    main()
