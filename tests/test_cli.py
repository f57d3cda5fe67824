"""The command line: figures against an independent computation, refusals, files, output."""

from __future__ import annotations

import importlib.util
import json
import os
import struct
import subprocess
import sys
import textwrap
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastxent import cli
from fastxent._array_files import CommandError
from fastxent._evaluate import Accumulator, Metrics, evaluate_files, fit_files
from fastxent._temperature import SMALLEST

needs_rich = pytest.mark.skipif(not importlib.util.find_spec("rich"), reason="needs rich")
needs_extras = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("rich", "matplotlib", "sklearn")),
    reason="needs rich, matplotlib and scikit-learn",
)
needs_sklearn = pytest.mark.skipif(not importlib.util.find_spec("sklearn"), reason="needs scikit-learn")

FIGURES = (
    "mean_loss",
    "standard_error",
    "perplexity",
    "accuracy",
    "top_k_accuracy",
    "brier_score",
    "expected_calibration_error",
)


# ---------------------------------------------------------------------------------------------
# An independent computation, in long double and row by row


def reference(
    logits: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray | None = None,
    smoothing: float = 0.0,
    temperature: float = 1.0,
) -> dict[str, float]:
    n, classes = logits.shape
    w = np.ones(n, np.longdouble) if weights is None else weights.astype(np.longdouble)
    total = w.sum()
    loss = np.zeros(n, np.longdouble)
    correct, in_top, brier, confidence = (np.zeros(n) for _ in range(4))
    for i, row in enumerate(logits.astype(np.longdouble) / np.longdouble(temperature)):
        if targets.ndim == 1:
            y = np.zeros(classes, np.longdouble)
            y[targets[i]] = 1
        else:
            y = targets[i].astype(np.longdouble)
        shifted = row - row.max()
        log_p = shifted - np.log(np.exp(shifted).sum())
        smooth = (1 - smoothing) * y + smoothing * y.sum() / classes
        loss[i] = -sum(smooth[c] * log_p[c] for c in range(classes) if smooth[c])
        p = np.exp(log_p)
        label = int(np.argmax(y))
        correct[i] = int(np.argmax(row)) == label
        in_top[i] = sum(score > row[label] for score in row) < 5
        brier[i] = ((p - y) ** 2).sum()
        confidence[i] = p.max()
    mean = (w * loss).sum() / total
    calibration = 0.0
    for b in range(15):
        inside = (confidence > b / 15) & (confidence <= (b + 1) / 15)
        if inside.any():
            share = w[inside].sum()
            gap = (w * correct)[inside].sum() / share - (w * confidence)[inside].sum() / share
            calibration += float(share / total * abs(gap))
    return {
        "mean_loss": float(mean),
        "standard_error": float(np.sqrt(n / np.longdouble(n - 1) * (w**2 * (loss - mean) ** 2).sum()) / total),
        "perplexity": float(np.exp(mean)),
        "accuracy": float((w * correct).sum() / total),
        "top_k_accuracy": float((w * in_top).sum() / total),
        "brier_score": float((w * brier).sum() / total),
        "expected_calibration_error": calibration,
    }


def make_data(n: int, classes: int, dtype: Any, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = (2.5 * rng.standard_normal((n, classes))).astype(dtype)
    labels = (0.7 * logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return logits, labels


def make_distribution(n: int, classes: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.3), size=n)


def save(folder: Path, name: str, array: Any) -> str:
    path = folder / name
    np.save(path, array)
    return str(path)


def assert_figures(metrics: Metrics, expected: dict[str, float], rtol: float) -> None:
    for name in FIGURES:
        np.testing.assert_allclose(getattr(metrics, name), expected[name], rtol=rtol, atol=rtol, err_msg=name)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    try:
        status = cli.main(list(arguments))
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else -1
    out, err = capsys.readouterr()
    return status, out, err


# ---------------------------------------------------------------------------------------------
# Figures


@pytest.mark.parametrize("block_rows", [None, 37])
@pytest.mark.parametrize(
    ("n", "classes", "dtype"),
    [
        (400, 10, "f4"),
        (301, 3, "f8"),
        (60, 300, "f4"),
        (150, 2, "f8"),
        (200, 7, "f2"),
        (2, 5, "f4"),
    ],
)
def test_figures_of_labels(tmp_path: Path, n: int, classes: int, dtype: str, block_rows: int | None) -> None:
    logits, labels = make_data(n, classes, dtype)
    metrics = evaluate_files(save(tmp_path, "z.npy", logits), save(tmp_path, "y.npy", labels), block_rows=block_rows)
    assert (metrics.rows, metrics.counted_rows, metrics.classes) == (n, n, classes)
    assert metrics.top_k == min(5, classes)
    assert sum(b.rows for b in metrics.reliability) == n
    assert sum(metrics.loss_histogram) == pytest.approx(n)
    rtol = 1e-12 if dtype == "f8" else 2e-6
    assert_figures(metrics, reference(logits, labels), rtol)


@pytest.mark.parametrize(("classes", "dtype"), [(2, "f8"), (12, "f4"), (12, "f2")])
def test_figures_of_distributions(tmp_path: Path, classes: int, dtype: str) -> None:
    logits, _ = make_data(200, classes, dtype)
    targets = make_distribution(200, classes)
    weights = np.random.default_rng(1).random(200)
    metrics = evaluate_files(
        save(tmp_path, "z.npy", logits),
        save(tmp_path, "p.npy", targets),
        weights=save(tmp_path, "w.npy", weights),
        label_smoothing=0.2,
        block_rows=64,
    )
    rtol = 1e-12 if dtype == "f8" else 2e-6
    assert_figures(metrics, reference(logits, targets, weights, 0.2), rtol)


@pytest.mark.parametrize("one_hot", ["f4", "f8", "i1", "?"])
def test_one_hot_is_labels(tmp_path: Path, one_hot: str) -> None:
    logits, labels = make_data(100, 9, "f4")
    z = save(tmp_path, "z.npy", logits)
    dense = save(tmp_path, "p.npy", np.eye(9)[labels].astype(one_hot))
    from_labels = evaluate_files(z, save(tmp_path, "y.npy", labels))
    from_dense = evaluate_files(z, dense)
    for name in FIGURES:
        assert getattr(from_dense, name) == pytest.approx(getattr(from_labels, name), rel=1e-6)


@needs_sklearn
def test_figures_against_sklearn(tmp_path: Path) -> None:
    from sklearn.metrics import accuracy_score, log_loss, top_k_accuracy_score

    logits, labels = make_data(2000, 12, "f8")
    weights = np.random.default_rng(3).random(2000)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    metrics = evaluate_files(
        save(tmp_path, "z.npy", logits),
        save(tmp_path, "y.npy", labels),
        weights=save(tmp_path, "w.npy", weights),
    )
    known = {"sample_weight": weights}
    assert metrics.mean_loss == pytest.approx(log_loss(labels, p, **known), rel=1e-12)
    assert metrics.accuracy == pytest.approx(accuracy_score(labels, p.argmax(1), **known))
    assert metrics.top_k_accuracy == pytest.approx(top_k_accuracy_score(labels, p, k=5, **known))


def test_standard_error_is_the_textbook_one_without_weights(tmp_path: Path) -> None:
    from scipy.stats import sem

    logits, labels = make_data(1000, 4, "f8")
    metrics = evaluate_files(save(tmp_path, "z.npy", logits), save(tmp_path, "y.npy", labels), block_rows=7)
    shifted = logits - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(1000), labels]
    assert metrics.standard_error == pytest.approx(sem(losses), rel=1e-11)


@pytest.mark.parametrize("block_rows", [1, 10, 10_000])
def test_standard_error_does_not_cancel(block_rows: int) -> None:
    # Losses near 1e6 that differ in the seventh digit: a difference of sums of squares, both
    # near 1e15, would keep three digits of the variance.
    rng = np.random.default_rng(0)
    logits = np.zeros((3000, 2))
    logits[:, 0] = 1e6 + 0.1 * rng.standard_normal(3000)
    weights = rng.random(3000) + 0.5
    accumulator = Accumulator(2)
    for start in range(0, 3000, block_rows):
        rows = slice(start, start + block_rows)
        accumulator.update(logits[rows], np.ones(len(logits[rows]), np.int64), weights[rows])
    w, loss = weights.astype(np.longdouble), logits[:, 0].astype(np.longdouble)
    mean = (w * loss).sum() / w.sum()
    expected = np.sqrt(3000 / np.longdouble(2999) * (w**2 * (loss - mean) ** 2).sum()) / w.sum()
    assert accumulator.metrics().standard_error == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_block_size_changes_nothing(tmp_path: Path, weighted: bool) -> None:
    logits, labels = make_data(777, 11, "f4")
    labels[::5] = -1
    z, y = save(tmp_path, "z.npy", logits), save(tmp_path, "y.npy", labels)
    w = save(tmp_path, "w.npy", np.random.default_rng(2).random(777)) if weighted else None
    whole = evaluate_files(z, y, weights=w, ignore_index=-1)
    for block_rows in (1, 5, 64, 776, 10**6):
        split = evaluate_files(z, y, weights=w, ignore_index=-1, block_rows=block_rows)
        assert [b.rows for b in split.reliability] == [b.rows for b in whole.reliability]
        for name in (*FIGURES, "counted_rows", "weight"):
            assert getattr(split, name) == pytest.approx(getattr(whole, name), rel=1e-12), name


def test_scale_of_weights_cancels(tmp_path: Path) -> None:
    logits, labels = make_data(300, 6, "f8")
    weights = np.random.default_rng(5).random(300)
    z, y = save(tmp_path, "z.npy", logits), save(tmp_path, "y.npy", labels)
    one = evaluate_files(z, y, weights=save(tmp_path, "w.npy", weights))
    other = evaluate_files(z, y, weights=save(tmp_path, "v.npy", 1000 * weights))
    assert_figures(one, reference(logits, labels, weights), 1e-12)
    for name in FIGURES:
        assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-12)


@pytest.mark.parametrize("ignored", [-100, 3, 255])
def test_rows_that_do_not_count_are_as_if_absent(tmp_path: Path, ignored: int) -> None:
    logits, labels = make_data(300, 8, "f4")
    weights = np.random.default_rng(7).random(300)
    labels[::4] = ignored
    weights[1::10] = 0
    counts = (labels != ignored) & (weights > 0)
    expected = reference(logits[counts], labels[counts], weights[counts])
    logits[~counts] = np.nan
    metrics = evaluate_files(
        save(tmp_path, "z.npy", logits),
        save(tmp_path, "y.npy", labels.astype("i2")),
        weights=save(tmp_path, "w.npy", weights),
        ignore_index=ignored,
        block_rows=50,
    )
    assert metrics.rows == 300
    assert metrics.counted_rows == np.count_nonzero(counts)
    assert_figures(metrics, expected, 2e-6)


def test_ties() -> None:
    # Six equal scores: the prediction is class 0, every label is in the top 5.
    accumulator = Accumulator(6)
    accumulator.update(np.zeros((6, 6)), np.arange(6))
    metrics = accumulator.metrics()
    assert metrics.accuracy == pytest.approx(1 / 6)
    assert metrics.top_k_accuracy == 1.0

    # Five strictly larger scores push the label out, four do not.
    accumulator = Accumulator(8)
    accumulator.update(np.array([[9.0, 9, 9, 9, 9, 1, 1, 1], [9, 9, 9, 9, 1, 1, 1, 1]]), np.array([7, 7]))
    assert accumulator.metrics().top_k_accuracy == 0.5


def test_exact_where_the_label_is_nearly_certain() -> None:
    accumulator = Accumulator(2)
    accumulator.update(np.array([[20.0, 0.0]], np.float32), np.array([0]))
    metrics = accumulator.metrics()
    assert metrics.mean_loss == pytest.approx(2.061153620314381e-09, rel=1e-6)
    assert metrics.brier_score == pytest.approx(2 * 2.0611536e-09**2, rel=1e-6)


def test_infinite_loss_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logits = np.array([[0.0, -np.inf, 1.0], [2.0, 0.0, -np.inf], [1.0, 2.0, 3.0]])
    z = save(tmp_path, "z.npy", logits)
    y = save(tmp_path, "y.npy", np.array([1, 0, 2]))
    metrics = evaluate_files(z, y)
    assert metrics.mean_loss == metrics.perplexity == np.inf
    assert metrics.infinite_losses == 1
    assert metrics.accuracy == pytest.approx(2 / 3)
    status, out, _ = run(capsys, "evaluate", z, y, "--json")
    assert status == 0
    report = json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert report["mean_loss"] is None
    assert report["infinite_losses"] == 1


@pytest.mark.parametrize("targets", ["labels", "distribution"])
@pytest.mark.parametrize("dtype", ["f8", "f4", "f2"])
def test_figures_at_a_temperature(tmp_path: Path, dtype: str, targets: str) -> None:
    logits, labels = make_data(200, 7, dtype)
    y = labels if targets == "labels" else make_distribution(200, 7)
    metrics = evaluate_files(
        save(tmp_path, "z.npy", logits), save(tmp_path, "y.npy", y), temperature=1.7, label_smoothing=0.1, block_rows=64
    )
    assert metrics.temperature == 1.7
    assert_figures(metrics, reference(logits, y, smoothing=0.1, temperature=1.7), 1e-12 if dtype == "f8" else 2e-6)


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2"])
@pytest.mark.parametrize(("weighted", "smoothing"), [(False, 0.0), (True, 0.0), (True, 0.3)])
def test_fitted_temperature_is_the_minimum(tmp_path: Path, weighted: bool, smoothing: float, dtype: str) -> None:
    logits, labels = make_data(600, 5, dtype)
    labels[::7] = -1
    weights = 1e90 * np.random.default_rng(6).random(600) if weighted else None
    counts = labels >= 0
    known = (logits[counts], labels[counts], None if weights is None else weights[counts], smoothing)
    logits[~counts] = np.nan
    z, y = save(tmp_path, "z.npy", logits), save(tmp_path, "y.npy", labels)
    w = None if weights is None else save(tmp_path, "w.npy", weights)
    options: dict[str, Any] = {"weights": w, "ignore_index": -1, "label_smoothing": smoothing}
    before, found, after = fit_files(z, y, **options)
    assert before == evaluate_files(z, y, **options)
    assert after == evaluate_files(z, y, temperature=found.value, **options)
    assert found.trouble == ""
    assert after.temperature == found.value != 1.0
    assert after.mean_loss == pytest.approx(found.loss, rel=1e-12 if dtype == "f8" else 1e-6)
    assert_figures(after, reference(*known, temperature=found.value), 1e-12 if dtype == "f8" else 2e-6)
    least = reference(*known, temperature=found.value)["mean_loss"]
    for factor in (0.999, 1.001):
        assert reference(*known, temperature=factor * found.value)["mean_loss"] > least
    split = fit_files(z, y, block_rows=37, **options)[1]
    assert split.value == pytest.approx(found.value, rel=1e-6)


def test_progress_ends_at_the_last_row(tmp_path: Path) -> None:
    logits, labels = make_data(100, 3, "f4")
    calls: list[tuple[int, int]] = []
    evaluate_files(
        save(tmp_path, "z.npy", logits),
        save(tmp_path, "y.npy", labels),
        block_rows=30,
        progress=lambda done, rows: calls.append((done, rows)),
    )
    assert calls == [(30, 100), (60, 100), (90, 100), (100, 100)]


# ---------------------------------------------------------------------------------------------
# Files


def test_every_way_to_store_the_same_logits(tmp_path: Path) -> None:
    logits, labels = make_data(500, 13, "f4")
    y = save(tmp_path, "y.npy", labels)
    expected = evaluate_files(save(tmp_path, "z.npy", logits), y, block_rows=33)

    np.savez(tmp_path / "plain.npz", z=logits)
    np.savez_compressed(tmp_path / "packed.npz", z=logits)
    np.savez_compressed(tmp_path / "both.npz", z=logits, y=labels)
    os.rename(save(tmp_path, "x.npy", logits), tmp_path / "no-suffix")
    np.save(tmp_path / "odd:name.npy", logits)
    with open(tmp_path / "version2.npy", "wb") as stream:
        np.lib.format.write_array(stream, logits, version=(2, 0))
    both = f"{tmp_path / 'both.npz'}"
    stored = [
        str(tmp_path / "plain.npz"),
        str(tmp_path / "packed.npz"),
        f"{both}:z",
        str(tmp_path / "no-suffix"),
        str(tmp_path / "odd:name.npy"),
        str(tmp_path / "version2.npy"),
        save(tmp_path, "columns.npy", np.asfortranarray(logits)),
        save(tmp_path, "swapped.npy", logits.astype(">f4")),
    ]
    for name in stored:
        assert evaluate_files(name, y, block_rows=33) == expected, name
    assert evaluate_files(f"{both}:z", f"{both}:y", block_rows=33) == expected


@pytest.mark.parametrize("dtype", ["i1", "u1", ">i2", "u2", "i4", "u4", "i8", "u8"])
def test_labels_of_every_width(tmp_path: Path, dtype: str) -> None:
    logits, labels = make_data(120, 20, "f4")
    z = save(tmp_path, "z.npy", logits)
    expected = evaluate_files(z, save(tmp_path, "y.npy", labels))
    assert evaluate_files(z, save(tmp_path, "v.npy", labels.astype(dtype))) == expected


def test_npz_is_streamed(tmp_path: Path) -> None:
    logits = np.zeros((40_000, 200), np.float32)  # 32 MB
    np.savez_compressed(tmp_path / "z.npz", logits)
    np.savez_compressed(tmp_path / "y.npz", np.zeros(40_000, np.int64))
    tracemalloc.start()
    try:
        evaluate_files(str(tmp_path / "z.npz"), str(tmp_path / "y.npz"), block_rows=1000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6e6  # blocks of 0.8 MB


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_does_not_grow_with_a_mapped_file(tmp_path: Path, order: str) -> None:
    z = str(tmp_path / "z.npy")
    y = save(tmp_path, "y.npy", np.zeros(200_000, np.int32))
    mapped = np.lib.format.open_memmap(
        z, "w+", np.float32, (200_000, 400), fortran_order=order == "F"
    )  # 320 MB, sparse on disk
    del mapped
    program = """
        import sys
        from fastxent._evaluate import evaluate_files

        def memory(field):
            for line in open("/proc/self/status"):
                if line.startswith(field):
                    return int(line.split()[1]) / 1024

        import fastxent
        before = memory("VmRSS")
        evaluate_files(sys.argv[1], sys.argv[2], block_rows=5_000)
        print(memory("VmHWM") - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), z, y],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        cwd=tmp_path,
    )
    assert float(done.stdout) < 64  # MB; blocks are 8 MB


# ---------------------------------------------------------------------------------------------
# Refusals


LOGITS, LABELS = make_data(50, 6, "f4")
WEIGHTS = np.ones(50)
DISTRIBUTION = make_distribution(50, 6)


def changed(array: np.ndarray, at: Any, value: Any) -> np.ndarray:
    copy = array.copy()
    copy[at] = value
    return copy


def with_logits(logits: np.ndarray, *words: str) -> tuple[dict[str, np.ndarray], str, list[str]]:
    return {"bad": logits}, "bad.npy y.npy", ["bad.npy", *words]


def with_labels(labels: np.ndarray, *words: str) -> tuple[dict[str, np.ndarray], str, list[str]]:
    return {"bad": labels}, "z.npy bad.npy", ["bad.npy", *words]


def with_weights(weights: np.ndarray, *words: str) -> tuple[dict[str, np.ndarray], str, list[str]]:
    return {"bad": weights}, "z.npy y.npy --weights bad.npy", ["bad.npy", *words]


# Files to save, the command line, and what the complaint has to contain. The folder also holds
# the sound z.npy and y.npy, and the files of `put_damaged_files`.
REFUSALS: dict[str, tuple[dict[str, np.ndarray], str, list[str]]] = {
    "missing": ({}, "nowhere.npy y.npy", ["nowhere.npy", "No such file"]),
    "folder": ({}, ". y.npy", ["directory"]),
    "text": ({}, "text.npy y.npy", ["text.npy", "numpy.save"]),
    "empty file": ({}, "empty.npy y.npy", ["empty.npy", "numpy.save"]),
    "cut short": ({}, "short.npy y.npy", ["short.npy", "row 20 of 50"]),
    "bad header": ({}, "header.npy y.npy", ["header.npy", "cannot be read"]),
    "bad zip": ({}, "zip.npz y.npy", ["zip.npz", "cannot be read"]),
    "damaged member": ({}, "broken.npz y.npy", ["broken.npz", "cannot be read"]),
    "member cut short": ({}, "lying.npz y.npy", ["lying.npz", "row 25 of 50"]),
    "two arrays": ({}, "two.npz y.npy", ["two.npz", "(a, b)", "two.npz:a"]),
    "no such array": ({}, "two.npz:c y.npy", ["two.npz", "'c'", "a, b"]),
    "no array": ({}, "none.npz y.npy", ["none.npz", "no array"]),
    "name in npy": ({}, "z.npy:a y.npy", ["z.npy", "'a'"]),
    "columns in npz": ({}, "columns.npz y.npy", ["columns.npz", "ascontiguousarray"]),
    "objects": ({}, "objects.npy y.npy", ["objects.npy", "objects"]),
    "swapped": ({}, "y.npy z.npy", ["y.npy", "int64", "swapped"]),
    "integer logits": with_logits(np.ones((50, 6), np.int32), "int32"),
    "complex logits": with_logits(np.ones((50, 6), np.complex64), "complex64"),
    "long double": with_logits(LOGITS.astype(np.longdouble), "float64"),
    "bfloat16": with_logits(LOGITS.astype("f2").view("V2"), "bfloat16", "float32"),
    "logits of one axis": with_logits(LOGITS[0], "(6,)"),
    "logits of three axes": with_logits(np.ones((5, 10, 6)), "(5, 10, 6)", "reshape"),
    "no rows": with_logits(np.ones((0, 6)), "no rows"),
    "one class": with_logits(np.ones((50, 1)), "two classes"),
    "labels too few": with_labels(LABELS[1:], "(49,)", "(50, 6)"),
    "labels (n, 1)": with_labels(LABELS[:, None], "(50, 1)", "(50,)"),
    "distribution too narrow": with_labels(DISTRIBUTION[:, 1:], "(50, 5)", "(50, 6)"),
    "float labels": with_labels(LABELS.astype(np.float64), "float64"),
    "bool labels": with_labels(LABELS > 2, "bool"),
    "label too large": with_labels(changed(LABELS, 33, 6), "row 33", "label 6", "0 to 5", "--ignore-index 6"),
    "label negative": with_labels(changed(LABELS, 47, -1).astype("i1"), "row 47", "label -1"),
    "label beyond int64": with_labels(changed(LABELS.astype("u8"), 12, 2**64 - 1), "row 12", "18446744073709551615"),
    "another label than the ignored": (
        {"bad": changed(changed(LABELS, 2, -100), 44, -7)},
        "z.npy bad.npy --ignore-index -100",
        ["bad.npy", "row 44", "label -7", "-100"],
    ),
    "every row ignored": (
        {"bad": np.full(50, -1)},
        "z.npy bad.npy --ignore-index -1",
        ["bad.npy", "no row counts"],
    ),
    "ignored class of a distribution": (
        {"bad": DISTRIBUTION},
        "z.npy bad.npy --ignore-index 1",
        ["bad.npy", "integer labels"],
    ),
    "negative probability": with_labels(changed(DISTRIBUTION, (29, 4), -0.25), "row 29", "column 4", "-0.25"),
    "NaN probability": with_labels(changed(DISTRIBUTION, (31, 0), np.nan), "row 31", "column 0", "nan"),
    "infinite probability": with_labels(changed(DISTRIBUTION, (31, 0), np.inf), "row 31", "inf"),
    "not a distribution": with_labels(changed(DISTRIBUTION, 41, 0.5), "row 41", "adds up to 3"),
    "NaN logit": with_logits(changed(LOGITS, (38, 2), np.nan), "row 38", "column 2", "nan"),
    "NaN half": with_logits(changed(LOGITS, (38, 2), np.nan).astype("f2"), "row 38", "column 2", "nan"),
    "infinite logit": with_logits(changed(LOGITS, (39, 1), np.inf), "row 39", "column 1", "inf"),
    "row of -inf": with_logits(changed(LOGITS, 40, -np.inf), "row 40", "-inf"),
    "NaN logit after ignored rows": (
        {"bad": changed(LOGITS, (38, 2), np.nan), "some": changed(LABELS, slice(0, 38, 2), -1)},
        "bad.npy some.npy --ignore-index=-1",
        ["bad.npy", "row 38", "column 2"],
    ),
    "weights too few": with_weights(WEIGHTS[1:], "(49,)", "(50,)"),
    "NaN weight": with_weights(changed(WEIGHTS, 21, np.nan), "row 21", "nan"),
    "negative weight": with_weights(changed(WEIGHTS, 22, -2.5), "row 22", "-2.5"),
    "infinite weight": with_weights(changed(WEIGHTS, 23, np.inf), "row 23", "inf"),
    "complex weight": with_weights(WEIGHTS * 1j, "complex128"),
    "weights all zero": (
        {"bad": 0 * WEIGHTS},
        "z.npy y.npy --weights bad.npy",
        ["y.npy", "no row counts"],
    ),
    "temperature of distributions": (
        {"bad": DISTRIBUTION},
        "z.npy bad.npy --fit-temperature",
        ["bad.npy", "--fit-temperature", "integer labels"],
    ),
    "temperature of probabilities": (
        {"bad": DISTRIBUTION},
        "bad.npy y.npy --fit-temperature",
        ["bad.npy", "probabilities", "--fit-temperature", "numpy.log"],
    ),
    "probabilities at a temperature": (
        {"bad": DISTRIBUTION.astype("f2")},
        "bad.npy y.npy --temperature 2",
        ["bad.npy", "probabilities", "--temperature", "numpy.log"],
    ),
    "temperature with a label at -inf": (
        {"bad": changed(LOGITS, (3, LABELS[3]), -np.inf)},
        "bad.npy y.npy --fit-temperature",
        ["bad.npy", "1 row ", "-inf", "weight 0"],
    ),
    "NaN logit and temperature": (
        {"bad": changed(LOGITS, (38, 2), np.nan)},
        "bad.npy y.npy --fit-temperature",
        ["bad.npy", "row 38", "column 2", "nan"],
    ),
    "two temperatures": ({}, "z.npy y.npy --temperature 2 --fit-temperature", ["--temperature", "--fit-temperature"]),
    "temperature zero": ({}, "z.npy y.npy --temperature 0", ["--temperature", "0 is not", "above 0"]),
    "temperature infinite": ({}, "z.npy y.npy --temperature inf", ["--temperature", "inf is not"]),
    "smoothing too large": ({}, "z.npy y.npy --label-smoothing 1.5", ["1.5", "0 to 1"]),
    "smoothing NaN": ({}, "z.npy y.npy --label-smoothing nan", ["nan", "0 to 1"]),
    "no rows in a block": ({}, "z.npy y.npy --block-rows 0", ["--block-rows"]),
    "word for a number": ({}, "z.npy y.npy --ignore-index x", ["--ignore-index", "'x'"]),
    "unknown option": ({}, "z.npy y.npy --jsn", ["--jsn"]),
    "no labels": ({}, "z.npy", ["LABELS"]),
}


def put_damaged_files() -> None:
    """Write files into the working folder that no array can be read from."""
    Path("text.npy").write_text("1 2 3\n")
    Path("empty.npy").write_bytes(b"")
    Path("short.npy").write_bytes(Path("z.npy").read_bytes()[: 128 + 20 * 24 + 10])
    Path("header.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", 4) + b"{'x'")
    Path("zip.npz").write_bytes(b"PK\x03\x04" + 50 * b"?")
    np.savez("two.npz", a=LOGITS, b=LABELS)
    np.savez("none.npz")
    np.savez("columns.npz", np.asfortranarray(LOGITS))
    np.savez("broken.npz", LOGITS)
    content = bytearray(Path("broken.npz").read_bytes())
    content[len(content) // 2] ^= 0xFF
    Path("broken.npz").write_bytes(content)
    with zipfile.ZipFile("lying.npz", "w") as archive:
        archive.writestr("z.npy", Path("z.npy").read_bytes()[: 128 + 25 * 24])
    np.save("objects.npy", np.array([{}, 1], object), allow_pickle=True)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working folder with sound files z.npy, y.npy, w.npy."""
    monkeypatch.chdir(tmp_path)
    for name, array in (("z", LOGITS), ("y", LABELS), ("w", WEIGHTS)):
        save(tmp_path, f"{name}.npy", array)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusal_is_one_line_and_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    arrays, command, words = REFUSALS[name]
    for file, array in arrays.items():
        save(folder, f"{file}.npy", array)
    put_damaged_files()
    before = contents(folder)
    options = ["--json"]
    if importlib.util.find_spec("matplotlib"):
        options += ["--plot", "plot.png"]
    if "--block-rows" not in command:
        options += ["--block-rows", "9"]  # rows have to be counted over the blocks
    status, out, err = run(capsys, "evaluate", *command.split(), *options)
    assert status == 2
    assert out == ""
    assert err.count("\n") == 1
    assert err.endswith("\n")
    for word in words:
        assert word in err
    assert contents(folder) == before


@needs_extras
@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("plot.xyz", ".png"),
        ("plot", ".png"),
        ("nowhere/plot.png", "no folder nowhere"),
        ("taken.png", "is a folder"),
    ],
)
def test_a_plot_that_cannot_be_written_is_refused_first(
    folder: Path, capsys: pytest.CaptureFixture[str], target: str, words: str
) -> None:
    (folder / "taken.png").mkdir()
    for command in (["evaluate", "no-such-file", "y.npy", "--plot"], ["demo", "--output"]):
        status, out, err = run(capsys, *command, target)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert target in err
        assert words in err
        assert "no-such-file" not in err


@needs_extras
def test_a_plot_that_fails_half_way_leaves_the_old_one(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    def fill_the_disk(self: Figure, path: str, **_: Any) -> None:
        Path(path).write_bytes(b"half a picture")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", fill_the_disk)
    (folder / "plot.png").write_bytes(b"old")
    before = contents(folder)
    status, out, err = run(capsys, "evaluate", "z.npy", "y.npy", "--plot", "plot.png")
    assert (status, out) == (2, "")
    assert err == "fastxent: --plot plot.png: No space left on device\n"
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("missing", "command"),
    [
        ("rich", "demo"),
        ("matplotlib", "demo"),
        ("sklearn", "demo"),
        ("rich", "info"),
        ("rich", "evaluate z.npy y.npy"),
        ("matplotlib", "evaluate z.npy y.npy --plot plot.png"),
        ("matplotlib", "evaluate z.npy y.npy --plot plot.png --json"),
    ],
)
def test_missing_extras_are_named(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    missing: str,
    command: str,
) -> None:
    hide(monkeypatch, missing)
    before = contents(folder)
    status, out, err = run(capsys, *command.split())
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert missing.replace("sklearn", "scikit-learn") in err
    assert 'pip install "fastxent[demo]"' in err
    assert contents(folder) == before


@pytest.mark.parametrize("command", ["evaluate z.npy y.npy --json", "info --json"])
def test_json_needs_no_extras(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    hide(monkeypatch, "rich", "matplotlib", "sklearn", "threadpoolctl")
    status, out, _ = run(capsys, *command.split())
    assert status == 0
    assert json.loads(out)


def hide(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in modules else find_spec(name))


# ---------------------------------------------------------------------------------------------
# Output


def test_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "evaluate", "z.npy", "y.npy", "--json")
    assert (status, err) == (0, "")
    report = json.loads(out)
    expected = reference(LOGITS, LABELS)
    for name in FIGURES:
        assert report[name] == pytest.approx(expected[name], rel=2e-6), name
    assert (report["rows"], report["classes"], report["top_k"]) == (50, 6, 5)
    assert len(report["reliability"]) == 15
    assert {"lower", "upper", "rows", "confidence", "accuracy"} <= set(report["reliability"][0])


def test_one_row_has_no_standard_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    z, y = save(folder, "z1.npy", LOGITS[:1]), save(folder, "y1.npy", LABELS[:1])
    _, out, _ = run(capsys, "evaluate", z, y, "--json")
    assert json.loads(out)["standard_error"] is None


@needs_rich
def test_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = changed(LABELS, slice(0, 5), -1)
    save(folder, "some.npy", labels)
    status, out, err = run(capsys, *["evaluate", "z.npy", "some.npy", "--ignore-index", "-1", "--weights", "w.npy"])
    assert (status, err) == (0, "")
    expected = reference(LOGITS[5:], LABELS[5:])
    for text in (
        "z.npy against some.npy",
        "5 left out",
        f"{expected['mean_loss']:.5g}",
        f"{expected['standard_error']:.2g}",
        f"{100 * expected['accuracy']:.3f} %",
        "top-5 accuracy",
        "Brier",
        "calibration",
    ):
        assert text in out


def test_fitted_temperature_in_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ("evaluate", "z.npy", "y.npy", "--json")
    given = json.loads(run(capsys, *command)[1])
    status, out, err = run(capsys, *command, "--fit-temperature")
    assert (status, err) == (0, "")
    report = json.loads(out)
    fitted = report.pop("fitted")
    assert report == given
    assert (given["temperature"], fitted.pop("trouble")) == (1.0, None)
    assert fitted.pop("passes") > 2
    assert fitted["mean_loss"] < given["mean_loss"]
    assert fitted["accuracy"] == given["accuracy"]
    again = json.loads(run(capsys, *command, "--temperature", repr(fitted["temperature"]))[1])
    assert again == fitted


def test_fitted_temperature_at_the_end_of_the_search(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(folder, "easy.npy", LOGITS.argmax(axis=1))
    report = json.loads(run(capsys, "evaluate", "z.npy", "easy.npy", "--fit-temperature", "--json")[1])
    assert report["fitted"]["temperature"] == SMALLEST
    assert report["fitted"]["mean_loss"] == 0.0
    assert "smallest temperature" in report["fitted"]["trouble"]


@needs_rich
def test_fitted_temperature_in_the_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, found, after = fit_files("z.npy", "y.npy")
    status, out, err = run(capsys, "evaluate", "z.npy", "y.npy", "--fit-temperature")
    assert (status, err) == (0, "")
    for text in (
        "as given",
        "fitted",
        f"{found.value:.7g}",
        f"{before.mean_loss:.7g}",
        f"{after.mean_loss:.7g}",
        f"{100 * before.expected_calibration_error:.3f} %",
        f"{100 * after.expected_calibration_error:.3f} %",
    ):
        assert text in out
    assert "No best temperature" not in out
    save(folder, "easy.npy", LOGITS.argmax(axis=1))
    assert "No best temperature" in run(capsys, "evaluate", "z.npy", "easy.npy", "--fit-temperature")[1]
    assert "temperature" in run(capsys, "evaluate", "z.npy", "y.npy", "--temperature", "2")[1]


@needs_extras
@pytest.mark.parametrize("options", [[], ["--fit-temperature"]])
@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_plot(folder: Path, capsys: pytest.CaptureFixture[str], kind: str, options: list[str]) -> None:
    before = set(contents(folder))
    status, out, err = run(capsys, "evaluate", "z.npy", "y.npy", "--plot", f"plot.{kind}", *options)
    assert (status, err) == (0, "")
    assert f"wrote {folder / 'plot'}.{kind}" in out
    assert set(contents(folder)) == before | {f"plot.{kind}"}
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[kind]
    assert (folder / f"plot.{kind}").read_bytes().startswith(start)


@needs_extras
@pytest.mark.parametrize("case", ["certain", "infinite", "one bin"])
def test_plot_of_odd_losses(folder: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    logits = {
        "certain": np.array([[2000.0, 0.0]] * 3),
        "infinite": np.array([[-np.inf, 0.0]] * 3),
        "one bin": np.array([[1.0, 0.0]] * 3),
    }[case]
    z, y = save(folder, "odd.npy", logits), save(folder, "zero.npy", np.zeros(3, int))
    status, _, err = run(capsys, "evaluate", z, y, "--plot", "odd.png")
    assert (status, err) == (0, "")
    assert (folder / "odd.png").stat().st_size > 10_000


@needs_extras
def test_demo(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "demo", "--output", "demo.png", "--seed", "3")
    assert (status, err) == (0, "")
    assert f"wrote {folder / 'demo.png'}" in out
    for text in ("training objective", "test loss", "test accuracy", "seconds", "scikit-learn"):
        assert text in out
    assert (folder / "demo.png").read_bytes().startswith(b"\x89PNG")
    objectives = next(line for line in out.splitlines() if "training objective" in line)
    ours, theirs = (float(cell) for cell in objectives.split("│")[2:4])
    assert ours == pytest.approx(theirs, rel=1e-6)


@needs_extras
def test_demo_gradient() -> None:
    from scipy.optimize import check_grad

    from fastxent import _demo

    digits = _demo.load_digits()
    x, y = _demo.with_ones(digits.x_train[:40]), digits.y_train[:40]
    start = 0.1 * np.random.default_rng(0).standard_normal((10, 65))

    def value(flat: np.ndarray) -> float:
        return _demo.objective(flat.reshape(10, 65), x, y, 0.3)[0]

    def gradient(flat: np.ndarray) -> np.ndarray:
        return _demo.objective(flat.reshape(10, 65), x, y, 0.3)[1].ravel()

    assert check_grad(value, gradient, start.ravel()) < 1e-5


@needs_extras
def test_demo_objective_is_that_of_sklearn() -> None:
    from sklearn.linear_model import LogisticRegression

    from fastxent import _demo

    digits = _demo.load_digits()
    model = LogisticRegression(C=_demo.REGULARISATION, tol=1e-10, max_iter=5000)
    model.fit(digits.x_train, digits.y_train)
    best = np.column_stack([model.coef_, model.intercept_])
    x = _demo.with_ones(digits.x_train)
    _, gradient = _demo.objective(best, x, digits.y_train, digits.l2)
    assert np.abs(gradient).max() < 1e-6  # the minimum of theirs is one of ours
    accuracy = (digits.y_test == _demo.fit_fastxent(digits).logits(digits.x_test).argmax(1)).mean()
    assert accuracy == pytest.approx(model.score(digits.x_test, digits.y_test), abs=0.003)


@needs_rich
def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    import fastxent as fx

    status, out, err = run(capsys, "info")
    assert (status, err) == (0, "")
    assert fx.__version__ in out
    assert fx.isa() in out
    assert "BLAS" in out


def test_info_json(capsys: pytest.CaptureFixture[str]) -> None:
    import fastxent as fx

    status, out, _ = run(capsys, "info", "--json")
    assert status == 0
    report = json.loads(out)
    assert report["version"] == fx.__version__
    assert report["blas"]


# ---------------------------------------------------------------------------------------------
# The process


def test_python_m_and_version(tmp_path: Path) -> None:
    import fastxent as fx

    done = subprocess.run(
        [sys.executable, "-m", "fastxent", "--version"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,  # not the source folder
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"fastxent {fx.__version__}\n", "")


def test_no_command_is_refused_and_help_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys)
    assert (status, out, err.count("\n")) == (2, "", 1)
    for command in ([], ["demo"], ["evaluate"], ["info"]):
        status, out, err = run(capsys, *command, "--help")
        assert (status, err) == (0, "")
        assert "fastxent" in out


def test_interrupt(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "evaluate_files", interrupted)
    assert run(capsys, "evaluate", "z.npy", "y.npy", "--json") == (
        130,
        "",
        "fastxent: interrupted\n",
    )


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX pipe")
@pytest.mark.parametrize("command", ["evaluate z.npy y.npy --json", pytest.param("info", marks=needs_rich)])
def test_reader_gone(folder: Path, command: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "fastxent", *command.split()],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
            cwd=folder,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_accumulator_refuses_without_rows() -> None:
    with pytest.raises(CommandError, match="no row counts"):
        Accumulator(3).metrics()
