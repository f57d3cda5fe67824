"""The memory of results is kept for the next ones, and given back."""

from __future__ import annotations

import gc
import os
import resource
import sys

import numpy as np
import pytest

import fastxent as fx
from subprocesses import output

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nothing is kept elsewhere")

N, C = 4000, 1000  # 16 MB of float32


@pytest.fixture
def kept():
    before = fx.set_kept_memory(1 << 28)
    fx.set_kept_memory(0)
    yield fx.set_kept_memory
    fx.set_kept_memory(before)


def gradient(rows: int = N) -> np.ndarray:
    x = np.linspace(-3.0, 3.0, rows * C, dtype=np.float32).reshape(rows, C)
    return fx.softmax_cross_entropy(x, np.arange(rows) % C, grad=True)[1]


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


@linux
def test_the_next_result_stands_where_the_last_one_was(kept) -> None:
    kept(1 << 28)
    first = gradient()
    wanted, where = first.copy(), address(first)
    del first
    second = gradient()
    assert address(second) == where
    np.testing.assert_array_equal(second, wanted)
    # A living one keeps its memory.
    third = gradient()
    assert address(third) != where
    np.testing.assert_array_equal(third, second)


@linux
def test_small_results_and_large_ones_do_not_make_room_for_each_other(kept) -> None:
    kept(1 << 28)
    large = gradient()
    small = [gradient(rows) for rows in (50, 300)]
    where = [address(array) for array in (large, *small)]
    del large, small
    again = [gradient(), *map(gradient, (50, 300))]
    assert [address(array) for array in again] == where
    del again
    another = [gradient(2 * N), *map(gradient, (50, 300))]
    assert [address(array) for array in another[1:]] == where[1:]
    # Blocks of about the size serve.
    del another
    assert address(gradient(280)) == where[2]


@linux
def test_many_small_results_leave_a_large_one_its_memory(kept) -> None:
    kept(1 << 28)
    large = gradient()
    where = address(large)
    small = [gradient(50 + i) for i in range(40)]
    del large, small
    assert address(gradient()) == where


@linux
def test_what_is_too_large_to_be_kept_drives_nothing_out(kept) -> None:
    kept(40 << 20)
    large, small, huge = gradient(), gradient(50), gradient(3 * N)
    where = address(large), address(small)
    del huge, large, small
    assert (address(gradient()), address(gradient(50))) == where
    # A block that fits when the oldest have gone is kept instead of them.
    larger = gradient(2 * N)
    large = gradient()
    where = address(large)
    del larger, large
    assert address(gradient()) == where


@linux
def test_small_results_take_little_room(kept) -> None:
    def mappings() -> int:
        with open("/proc/self/maps") as file:
            return len(file.readlines())

    kept(1 << 28)
    before = mappings()
    small = [gradient(50) for _ in range(400)]
    assert mappings() < before + 100
    # Where little may be kept, nothing is.
    where = {address(array) for array in small}
    kept(1 << 20)
    del small
    assert mappings() < before + 4
    assert address(gradient(50)) not in where


@linux
def test_every_function_with_large_results_shares_it(kept) -> None:
    kept(1 << 28)
    where = set()
    x = np.linspace(-3.0, 3.0, N * C, dtype=np.float32).reshape(N, C)
    labels = np.arange(N) % C
    for result in (
        lambda: fx.softmax_cross_entropy(x, labels, grad=True)[1],
        lambda: fx.softmax_cross_entropy(x, labels, grad=True, label_smoothing=0.1)[1],
        lambda: fx.sigmoid_cross_entropy(x, x > 0, grad=True)[1],
        lambda: fx.sigmoid_cross_entropy(x, x > 0, reduction="none"),
        lambda: fx.softmax(x, axis=1),
        lambda: fx.log_softmax(x, axis=1),
        lambda: fx.expit(x),
    ):
        where.add(address(result()))
    assert len(where) == 1


@linux
def test_nothing_is_kept_when_told_so(kept) -> None:
    script = """
import numpy as np, fastxent as fx
def rss():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20
x = np.zeros((8000, 1000), np.float32)
fx.softmax_cross_entropy(x[:2], np.zeros(2, int), grad=True)
before = rss()
fx.softmax_cross_entropy(x, np.zeros(8000, int), grad=True)
kept = rss() - before
fx.set_kept_memory(0)
print(kept, rss() - before)
"""
    held, left = map(float, output(script, FASTXENT_KEPT_MEMORY=str(1 << 28)).split())
    # The rows of x are zeros, which were never there before.
    assert held > left + 25 and left < 40
    held, left = map(float, output(script, FASTXENT_KEPT_MEMORY="0").split())
    assert held < left + 4


@linux
def test_what_is_kept_makes_room_for_another_size(kept) -> None:
    kept(1 << 28)
    del_me = gradient()
    where = address(del_me)
    del del_me
    larger = gradient(2 * N)
    assert larger.shape == (2 * N, C)
    # The smaller block was given back before, so that this one cannot be it.
    again = gradient()
    assert np.isfinite(again).all() and (address(again) != where or not np.may_share_memory(again, larger))


def test_an_array_grows_with_what_it_holds(kept) -> None:
    kept(1 << 28)
    array = gradient()
    wanted = array.copy()
    array.resize((3 * N, C), refcheck=False)
    np.testing.assert_array_equal(array[:N], wanted)
    assert not array[N:].any()
    array.resize((N // 2, C), refcheck=False)
    np.testing.assert_array_equal(array, wanted[: N // 2])


@linux
def test_children_have_their_own(kept) -> None:
    kept(1 << 28)
    array = gradient()
    wanted = array.copy()
    freed = gradient()
    del freed
    gc.collect()
    child = os.fork()
    if child == 0:
        ok = np.array_equal(gradient(), wanted) and np.array_equal(array, wanted)
        os._exit(0 if ok else 1)
    mine = gradient()
    mine += 1.0
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(array, wanted)


def test_the_default_comes_from_the_environment() -> None:
    script = "import fastxent as fx; print(fx.set_kept_memory(5))"
    if sys.platform.startswith("linux"):
        assert output(script, FASTXENT_KEPT_MEMORY="12345").strip() == "12345"
        limited = (
            "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 36, resource.RLIM_INFINITY)); " + script
        )
        unlimited = resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
        assert (0 < int(output(script)) <= 1 << 30) == unlimited
        # What is kept would count, and could not be taken back.
        assert int(output(limited)) == 0
    refused = "try:\n    import fastxent\nexcept ImportError as error:\n    print(error)"
    assert "FASTXENT_KEPT_MEMORY=much: give a number of bytes" in output(refused, FASTXENT_KEPT_MEMORY="much")


@pytest.mark.parametrize("wrong", [True, 1.5, "1"])
def test_what_is_no_number_is_refused(wrong) -> None:
    with pytest.raises(TypeError, match="n_bytes is"):
        fx.set_kept_memory(wrong)


@pytest.mark.parametrize("wrong", [-1, 1 << 65])
def test_what_is_no_size_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match="n_bytes is"):
        fx.set_kept_memory(wrong)
