"""Word vectors from text that every machine has: the sources of Python's standard library.

Skip-gram with noise-contrastive estimation: of a word in the middle, its vector is to tell true neighbours from words
that were drawn by their frequency. Prints the nearest words of a few, and draws a projection of the most frequent ones.

    python examples/word_vectors.py --png word_vectors.png
"""

from __future__ import annotations

import argparse
import re
import sysconfig
import time
from collections import Counter
from pathlib import Path

import numpy as np

import fastxent as fx
from fastxent.samplers import FixedUnigramSampler

WORD = re.compile(r"[A-Za-z][a-z]+")
RAREST = 20
WINDOW = 5
PAIRS, NOISE = 4096, 512
RATE = 0.2
SHOWN = ("list", "write", "thread", "error", "first", "float", "socket", "month")


def read_words(most: int) -> list[str]:
    """All words of the sources, in order; those of several capitals apart: ValueError is "value", "error"."""
    words: list[str] = []
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        if not {"site-packages", "test", "tests", "encodings", "idlelib"} & set(path.parts):
            words += [word.lower() for word in WORD.findall(path.read_text(encoding="utf-8", errors="ignore"))]
        if len(words) > most:
            break
    return words


def make_pairs(text: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Words and neighbours of theirs, mixed; the most frequent words are left out most of the time (word2vec)."""
    share = counts / counts.sum()
    kept = text[rng.random(len(text)) < np.sqrt(1e-3 / np.maximum(share, 1e-3))[text]]
    reach = rng.integers(1, WINDOW + 1, len(kept))
    centers, neighbours = [], []
    for distance in range(1, WINDOW + 1):
        near = np.flatnonzero(reach[:-distance] >= distance)
        centers += [kept[near], kept[near + distance]]
        neighbours += [kept[near + distance], kept[near]]
    order = rng.permutation(sum(map(len, centers)))
    return np.concatenate(centers)[order], np.concatenate(neighbours)[order]


def rows_of(ids: np.ndarray, values: np.ndarray, n: int) -> fx.RowSparse:
    """Rows of values summed by their ids."""
    order = np.argsort(ids, kind="stable")
    distinct, first = np.unique(ids[order], return_index=True)
    return fx.RowSparse(distinct, np.add.reduceat(values[order], first), (n, values.shape[1]))


def train(text: np.ndarray, counts: np.ndarray, d: int, epochs: int, rng: np.random.Generator) -> np.ndarray:
    """A vector for each word."""
    n = len(counts)
    vectors = rng.uniform(-0.5 / d, 0.5 / d, (n, d)).astype(np.float32)
    # As it begins, every word is as likely next to any other as it is in the text.
    weight, bias = np.zeros((n, d), np.float32), np.log(counts / counts.sum()).astype(np.float32)
    vector_sums, weight_sums, bias_sums = (np.full_like(array, 0.01) for array in (vectors, weight, bias))
    sampler = FixedUnigramSampler(counts, distortion=0.75, rng=rng)
    for epoch in range(epochs):
        centers, neighbours = make_pairs(text, counts, rng)
        start, total = time.perf_counter(), 0.0
        steps = len(centers) // PAIRS
        for at in range(0, steps * PAIRS, PAIRS):
            center, neighbour = centers[at : at + PAIRS], neighbours[at : at + PAIRS]
            loss, grad = fx.nce_loss(
                weight,
                bias,
                vectors[center],
                neighbour,
                sampler=sampler,
                num_sampled=NOISE,
                reduction="sum",
                grad=True,
            )
            total += loss
            rows_of(center, grad.inputs, n).adagrad(vectors, vector_sums, learning_rate=RATE)
            grad.weight.adagrad(weight, weight_sums, learning_rate=RATE)
            if grad.bias is not None:
                grad.bias.adagrad(bias, bias_sums, learning_rate=RATE)
        seconds = time.perf_counter() - start
        rate = steps * PAIRS / seconds
        print(f"epoch {epoch + 1}: loss {total / steps / PAIRS:.3f}, {seconds:.1f} s, {rate:,.0f} pairs/s")
    return vectors


def nearest(vectors: np.ndarray, word: int, k: int = 8) -> np.ndarray:
    """The words whose vectors have the largest cosines with that of one."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.argsort(-(unit @ unit[word]))[1 : k + 1]


def draw(vectors: np.ndarray, words: list[str], path: Path) -> None:
    """The two directions in which the most frequent words differ most."""
    from matplotlib.figure import Figure

    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = unit[: len(words)] - unit[: len(words)].mean(0)
    at = unit @ np.linalg.svd(unit, full_matrices=False)[2][:2].T
    figure = Figure(figsize=(11, 9), layout="constrained")
    axes = figure.subplots()
    axes.scatter(*at.T, s=4, color="0.6")
    for place, word in zip(at, words, strict=True):
        axes.annotate(word, place, fontsize=7)
    axes.set_axis_off()
    figure.savefig(path, dpi=120)
    print(f"{path}: the {len(words)} most frequent words")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dimensions", type=int, default=64, help="of a vector (%(default)s)")
    parser.add_argument("--epochs", type=int, default=3, help="times through the text (%(default)s)")
    parser.add_argument("--words", type=int, default=1_500_000, help="most words of text (%(default)s)")
    parser.add_argument("--png", type=Path, help="where to draw a projection (needs matplotlib)")
    options = parser.parse_args()

    text_words = read_words(options.words)
    frequent = [(word, count) for word, count in Counter(text_words).most_common() if count >= RAREST]
    number = {word: i for i, (word, _) in enumerate(frequent)}
    text = np.array([number[word] for word in text_words if word in number])
    print(f"{len(text):,} words, {len(frequent):,} different ones")
    counts = np.array([count for _, count in frequent], float)
    vectors = train(text, counts, options.dimensions, options.epochs, np.random.default_rng(0))
    names = [word for word, _ in frequent]
    for word in SHOWN:
        if word in number:
            print(f"{word:>8}: {', '.join(names[i] for i in nearest(vectors, number[word]))}")
    if options.png is not None:
        draw(vectors, names[:250], options.png)


if __name__ == "__main__":
    main()
