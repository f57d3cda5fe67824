"""Threads, processes, and the settings that choose them."""

from __future__ import annotations

import multiprocessing
import os
import textwrap
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.special
from scipy import sparse

import fastxent as fx
from losses import Loss, class_losses, every_loss, make_inputs, make_logits, make_targets, same_bits
from subprocesses import output, run

needs_openmp = pytest.mark.skipif(not fx.info()["openmp"], reason="a serial build")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

# A call large enough for threads; `expected` is what one thread computes.
PARENT = """
import os, sys
import numpy as np
import fastxent as fx
x = np.random.default_rng(0).standard_normal((4000, 100)).astype(np.float32)
y = np.random.default_rng(1).integers(0, 100, 4000)
p = np.tanh(x) ** 2
def compute(n_threads=None):
    loss, grad = fx.softmax_cross_entropy(x, y, grad=True, n_threads=n_threads)
    sigmoid, slope = fx.sigmoid_cross_entropy(x, x > 0, grad=True, n_threads=n_threads)
    binary, step = fx.binary_cross_entropy(p, x > 0, grad=True, n_threads=n_threads)
    of_classes, rise = fx.categorical_cross_entropy(p, y, grad=True, normalize=True, n_threads=n_threads)
    sigmoid, slope = sigmoid + binary + of_classes, np.stack([slope, step, rise])
    return loss, sigmoid, grad.tobytes() + slope.tobytes() + fx.logsumexp(x, axis=1, n_threads=n_threads).tobytes()
expected = compute(n_threads=1)
assert compute(n_threads=2) == expected
assert compute() == expected
"""


# ---- fork ------------------------------------------------------------------------------------------------------


@needs_fork
def test_fork() -> None:
    """A child of a process that has used threads computes the same, serially; so does the parent afterwards."""
    code = """
    pid = os.fork()
    if pid == 0:
        right = all(compute(n) == expected for n in (None, 1, 2, 4))
        right = right and fx.info()["threads"] == 1
        os._exit(0 if right else 3)
    assert compute(n_threads=2) == expected
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status
    assert compute(n_threads=2) == expected
    print("done")
    """
    assert output(PARENT + textwrap.dedent(code), OMP_NUM_THREADS="2") == "done"


@needs_fork
def test_fork_of_a_fork() -> None:
    code = """
    def children(depth):
        if compute() != expected:
            os._exit(3)
        if depth:
            pid = os.fork()
            if pid == 0:
                children(depth - 1)
            os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        os._exit(0)
    pid = os.fork()
    if pid == 0:
        children(2)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """
    assert output(PARENT + textwrap.dedent(code), OMP_NUM_THREADS="2") == "0"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(method: str, tmp_path: Path) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    # A file: children of the other methods import the main module.
    program = tmp_path / "program.py"
    code = """
    import multiprocessing
    def work(i):
        return compute() == expected
    if __name__ == "__main__":
        with multiprocessing.get_context(sys.argv[1]).Pool(3) as pool:
            print(pool.map_async(work, range(6)).get(timeout=60))
    """
    program.write_text(PARENT + textwrap.dedent(code))
    assert output(str(program), method, timeout=90) == str([True] * 6)


# ---- the number of threads -----------------------------------------------------------------------------------


@needs_openmp
@pytest.mark.parametrize("asked", ["1", "2"])
def test_omp_num_threads(asked: str) -> None:
    code = "import fastxent as fx; print(fx.info()['threads'])"
    cpus = int(output(code))
    assert output(code, OMP_NUM_THREADS=asked) == str(min(int(asked), cpus))


@needs_openmp
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs affinity")
def test_affinity_caps_the_number_of_threads() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
    code += "; import fastxent as fx; print(fx.info()['threads'])"
    assert output(code) == "1"
    assert output(code, OMP_NUM_THREADS="8") == "1"


@needs_openmp
def test_threadpoolctl_sees_and_limits_us() -> None:
    pytest.importorskip("threadpoolctl")
    code = """
    from threadpoolctl import threadpool_info, threadpool_limits
    assert any(pool["user_api"] == "openmp" for pool in threadpool_info()), threadpool_info()
    with threadpool_limits(1):
        print(fx.info()["threads"])
        assert compute() == expected
    with threadpool_limits(1, user_api="openmp"):
        print(fx.info()["threads"])
    print(fx.info()["threads"])
    """
    available = min(2, int(output("import fastxent as fx; print(fx.info()['threads'])")))
    assert output(PARENT + textwrap.dedent(code), OMP_NUM_THREADS="2").split() == ["1", "1", str(available)]


@needs_openmp
def test_workers_of_joblib_share_the_processors() -> None:
    pytest.importorskip("joblib")
    code = """
    from joblib import Parallel, cpu_count, delayed
    def work():
        import fastxent as fx
        return fx.info()["threads"]
    print(cpu_count(), *Parallel(n_jobs=2)(delayed(work)() for _ in range(2)))
    """
    cpus, *threads = map(int, output(textwrap.dedent(code)).split())
    assert threads == [max(1, cpus // 2)] * 2


def test_set_num_threads() -> None:
    before = fx.set_num_threads(3)
    try:
        assert fx.info()["threads"] == (3 if fx.info()["openmp"] else 1)
        assert fx.set_num_threads(1) == 3
        assert fx.info()["threads"] == 1
        assert fx.set_num_threads(None) == 1
        assert fx.set_num_threads(np.int64(2)) is None
    finally:
        fx.set_num_threads(before)
    assert fx.set_num_threads(before) == before


@needs_openmp
@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs /proc")
def test_threads_are_started_only_for_enough_work() -> None:
    code = """
    import os
    import numpy as np
    import fastxent as fx
    def threads():
        return len(os.listdir("/proc/self/task"))
    before = threads()
    small = np.zeros((32, 10), np.float32)
    fx.softmax_cross_entropy(small, np.zeros(32, int), grad=True, n_threads=4)
    print(threads() - before)
    large = np.zeros((4000, 100), np.float32)
    fx.softmax_cross_entropy(large, np.zeros(4000, int), grad=True, n_threads=1)
    print(threads() - before)
    fx.softmax_cross_entropy(large, np.zeros(4000, int), grad=True, n_threads=3)
    print(threads() - before)
    """
    assert output(code).split() == ["0", "0", "2"]


# ---- several threads on one row --------------------------------------------------------------------------------


def make_long(rng: np.random.Generator, loss: Loss, n: int, classes: int, dtype: Any, spread: float) -> Any:
    """Rows of scores with ties, masked classes and, for the last one, a maximum far above all others."""
    logits = make_logits(rng, n, classes, dtype, spread)
    logits[:, rng.integers(0, classes, 50)] = logits.max()
    logits[:, rng.integers(0, classes, 50)] = -np.inf
    logits[-1, classes // 2] = logits.max() + 40
    return loss.inputs_of(logits)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@class_losses
def test_threads_may_share_a_row(loss: Loss, dtype: Any, isa: str) -> None:
    """Few rows of very many classes, by one thread and by several: the same bits, whatever is asked for."""
    rng = np.random.default_rng(0)
    for form, n, spread in zip(loss.forms, (3, 1, 1), (30.0, 1.0, 30.0), strict=True):
        logits = make_long(rng, loss, n, 40_001, dtype, spread)
        targets = make_targets(rng, form, loss, *logits.shape, dtype)
        for options in ({}, *loss.options):
            wanted = loss.function(logits, targets, grad=True, hess=True, n_threads=1, **options)
            got = loss.function(logits, targets, grad=True, hess=True, n_threads=2, **options)
            assert all(same_bits(a, b) for a, b in zip(got, wanted, strict=True)), (form, options)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@class_losses
def test_long_rows_whatever_is_asked_for(loss: Loss, dtype: Any, isa: str) -> None:
    """Rows that are read once for the loss and once for the gradient: the bits are those of the loss alone, of gradient
    and Hessian together, of rows that have to be gathered, and of a gradient in the place of the scores."""
    rng = np.random.default_rng(0)
    for form, spread in zip(loss.forms, (1.0, 30.0, 30.0), strict=True):
        logits = make_long(rng, loss, 3, 130_001, dtype, spread)
        targets = make_targets(rng, form, loss, *logits.shape, dtype)
        for options in ({}, *loss.options):
            value, grad, _ = loss.function(logits, targets, grad=True, hess=True, reduction="none", **options)
            assert same_bits(value, loss.function(logits, targets, reduction="none", **options)), (form, options)
            buffer = logits.copy()
            for scores, room in ((logits, True), (np.asfortranarray(logits), True), (buffer, buffer)):
                got = loss.function(scores, targets, grad=room, reduction="none", **options)
                assert same_bits(value, got[0]) and same_bits(grad, got[1]), (form, options)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n, classes", [(4_200, 71), (2_101, 401)])
@class_losses
def test_many_rows_have_the_bits_of_few(loss: Loss, n: int, classes: int, dtype: Any) -> None:
    """More rows are taken together in large calls: apart, in columns, and in place of the scores."""
    rng = np.random.default_rng(0)
    logits = make_inputs(loss, rng, n, classes, dtype)
    for form in loss.forms:
        targets = make_targets(rng, form, loss, n, classes, dtype)
        # Sums of losses and scales of gradients depend on how many rows there are.
        for options in ({"reduction": "sum"}, *({"reduction": "none", **each} for each in loss.options)):
            value, grad = loss.function(logits, targets, grad=True, **options)
            parts = [slice(start, start + 100) for start in range(0, n, 100)]
            few = [loss.function(logits[part], targets[part], grad=True, **options) for part in parts]
            assert same_bits(grad, np.concatenate([each for _, each in few])), (form, options)
            if options["reduction"] == "none":
                assert same_bits(value, np.concatenate([each for each, _ in few])), (form, options)
            buffer = logits.copy()
            for scores, room in ((np.asfortranarray(logits), True), (buffer, buffer)):
                got = loss.function(scores, targets, grad=room, **options)
                assert same_bits(value, got[0]) and same_bits(grad, got[1]), (form, options)


@pytest.mark.parametrize("isa", [isa for isa in fx.info()["isas"] if isa != "scalar"], indirect=True)
@pytest.mark.parametrize("n, classes", [(40_003, 1_001), (5_000, 8_003), (309, 130_001)])
def test_gradients_larger_than_the_caches(n: int, classes: int, isa: str) -> None:
    """On some machines they are stored past them: with the bits of as many small gradients."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((n, classes), np.float32) * 4
    logits[3] = np.nan
    labels = rng.integers(0, classes, n)
    labels[::7] = -1
    weights = rng.random(n)
    for options in ({}, {"label_smoothing": 0.1, "temperature": 1.7}):
        shared = {"reduction": "sum", "grad": True, "ignore_index": -1, **options}
        room = np.full(logits.size + 5, 7.0, np.float32)
        grad = room[3 : 3 + logits.size].reshape(logits.shape)
        fx.softmax_cross_entropy(logits, labels, sample_weight=weights, **(shared | {"grad": grad}))
        for few in np.array_split(np.arange(n), 8):
            rows = slice(few[0], few[-1] + 1)
            small = fx.softmax_cross_entropy(logits[rows], labels[rows], sample_weight=weights[rows], **shared)[1]
            assert same_bits(grad[rows], small)
        assert np.all(room[:3] == 7) and np.all(room[-2:] == 7)
    # Sparse targets: rows of none, one and several entries.
    entries = np.arange(n) % 4
    columns = np.concatenate([rng.choice(classes, k, replace=False) for k in entries])
    targets = sparse.csr_array(
        (rng.random(columns.size), columns, np.concatenate(([0], np.cumsum(entries)))), shape=logits.shape
    )
    grad = fx.softmax_cross_entropy(logits, targets, reduction="sum", grad=True)[1]
    for few in np.array_split(np.arange(n), 8):
        rows = slice(few[0], few[-1] + 1)
        assert same_bits(
            grad[rows], fx.softmax_cross_entropy(logits[rows], targets[rows], reduction="sum", grad=True)[1]
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_long_rows_without_a_finite_maximum(bad: float, dtype: Any) -> None:
    """As short rows in front of classes that are masked, wherever the bad score stands."""
    same = partial(np.testing.assert_allclose, rtol=4 * np.finfo(dtype).eps)  # of sums in another order
    for place in (3, 400):
        logits = make_logits(np.random.default_rng(0), 2, 500, dtype)
        logits[0, place] = bad
        logits[1] = -np.inf if bad == -np.inf else logits[1]
        long = np.full((2, 130_001), -np.inf, dtype)
        long[:, :200], long[:, -300:] = logits[:, :200], logits[:, 200:]
        kept = np.r_[:200, 129_701:130_001]
        for n_threads in (1, 2):
            same(fx.softmax(long, axis=1, n_threads=n_threads)[:, kept], fx.softmax(logits, axis=1))
            same(fx.logsumexp(long, axis=1, n_threads=n_threads), fx.logsumexp(logits, axis=1))
            wanted = fx.softmax_cross_entropy(logits, [204, 5], grad=True, reduction="none")
            got = fx.softmax_cross_entropy(long, [129_705, 5], grad=True, reduction="none", n_threads=n_threads)
            same(got[0], wanted[0])
            same(got[1][:, kept], wanted[1])


@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_bad_score_among_masked_classes(n_threads: int, isa: str) -> None:
    for dtype, place in product((np.float32, np.float64), (0, 20_000, 49_999)):
        logits = np.full((1, 130_000), -np.inf, dtype)
        logits[0, 90_000:98_000] = 1
        logits[0, place] = np.nan
        loss, grad = fx.softmax_cross_entropy(logits, [90_001], grad=True, n_threads=n_threads)
        assert np.isnan(loss) and np.isnan(grad[0, 90_001])
        assert np.isnan(fx.logsumexp(logits, axis=1, n_threads=n_threads)).all()


@pytest.mark.parametrize("high, low", [(800, 300), (1000, 400), (3, -702), (-100, -700), (2040, 1500), (2100, 1500)])
def test_a_score_far_above_a_long_row(high: float, low: float, isa: str) -> None:
    """As far as the result is a normal number."""
    logits = np.full((1, 130_000), low, np.float64)
    logits[0, 7] = high
    exact = 129_999 * np.exp(np.longdouble(low - high))
    loss, grad = fx.softmax_cross_entropy(logits, [7], grad=True, reduction="none")
    np.testing.assert_allclose(loss, np.float64(exact), rtol=4e-16)
    np.testing.assert_allclose(grad[0, 7], -np.float64(exact), rtol=4e-16)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_may_share_a_row_in_place(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    for gap, classes in product((0.0, 60.0), (100_000, 200_000)):
        logits = make_logits(rng, 1, classes, dtype)
        logits[0, 777] += gap
        buffers = [logits.copy() for _ in range(2)]
        losses = [fx.softmax_cross_entropy(x, [5], grad=x, n_threads=i + 1)[0] for i, x in enumerate(buffers)]
        assert losses[0] == losses[1] == fx.softmax_cross_entropy(logits, [5])
        assert same_bits(*buffers)


@pytest.mark.parametrize("classes", [90_000, 130_000])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("function", [fx.logsumexp, fx.softmax, fx.log_softmax])
def test_threads_may_share_a_row_of_the_special_functions(function: Any, bad: float, classes: int) -> None:
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        x = make_logits(rng, 1, classes, dtype, 5.0)
        assert same_bits(function(x, axis=1, n_threads=2), function(x, axis=1, n_threads=1))
        wanted = getattr(scipy.special, function.__name__)(x.astype(np.longdouble), axis=1)
        np.testing.assert_allclose(
            function(x, axis=1, n_threads=2), wanted, rtol=1e-5 if dtype == np.float32 else 1e-13
        )
        x[0, [3, 50_000]] = bad
        assert same_bits(function(x, axis=1, n_threads=2), function(x, axis=1, n_threads=1))


# ---- the instruction set -------------------------------------------------------------------------------------


def test_the_best_instruction_set_is_the_default() -> None:
    assert output("import fastxent as fx; print(fx.isa())") == fx.info()["isas"][0]
    assert fx.info()["isas"][-1] == "scalar"


def test_environment_chooses_the_instruction_set(isa: str) -> None:
    assert output("import fastxent as fx; print(fx.isa())", FASTXENT_ISA=isa) == isa


@pytest.mark.parametrize("bad", ["sse9", "AVX2", ""])
def test_a_bad_environment_is_an_import_error_that_names_the_choices(bad: str) -> None:
    code = "try:\n    import fastxent\nexcept ImportError as error:\n    print(error)"
    message = output(code, FASTXENT_ISA=bad)
    assert f"FASTXENT_ISA={bad}" in message
    for name in fx.info()["isas"]:
        assert name in message
    assert run("import fastxent", FASTXENT_ISA=bad).returncode != 0


def test_set_isa() -> None:
    before = fx.isa()
    for name in fx.info()["isas"]:
        previous = fx.isa()
        assert fx.set_isa(name) == previous
        assert fx.isa() == fx.info()["isa"] == name
    fx.set_isa("auto")
    assert fx.isa() == fx.info()["isas"][0]
    with pytest.raises(ValueError, match="scalar"):
        fx.set_isa("none such")
    assert fx.isa() == fx.info()["isas"][0]
    fx.set_isa(before)


def test_instruction_sets_are_different_kernels() -> None:
    """Otherwise the tests on each would be one and the same."""
    x = make_logits(np.random.default_rng(0), 200, 100)
    before = fx.isa()
    seen = set()
    for name in fx.info()["isas"]:
        fx.set_isa(name)
        seen.add(fx.softmax(x, axis=1).tobytes())
    fx.set_isa(before)
    assert len(seen) >= min(2, len(fx.info()["isas"]))


# ---- Python threads ------------------------------------------------------------------------------------------


@every_loss
def test_calls_from_many_python_threads(loss: Loss) -> None:
    rng = np.random.default_rng(0)
    cases = []
    for i in range(12):
        shape = ((2000, 11), (300, 150), (40, 7))[i % 3]
        logits = make_inputs(loss, rng, *shape, (np.float32, np.float64)[i % 2])
        cases.append((logits, make_targets(rng, loss.forms[i % 3], loss, *shape, logits.dtype)))
    wanted = [loss.function(*case, grad=True, n_threads=1) for case in cases]

    def work(i: int) -> bool:
        got = loss.function(*cases[i % 12], grad=True, n_threads=1 + i % 3)
        return all(same_bits(a, b) for a, b in zip(got, wanted[i % 12], strict=True))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(480)))


def test_the_gil_is_released() -> None:
    """Another thread runs while a long call does."""
    code = """
    import sys, threading
    import numpy as np
    import fastxent as fx
    sys.setswitchinterval(1000)
    x = np.zeros((4000, 4000), np.float32)
    y = np.zeros(4000, int)
    ticks, stop = [0], threading.Event()
    def tick():
        while not stop.wait(0.0005):
            ticks[0] += 1
    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    before = ticks[0]
    for _ in range(20):
        fx.softmax_cross_entropy(x, y, n_threads=1)
    during = ticks[0] - before
    stop.set()
    print(during > 0)
    """
    assert output(code) == "True"
