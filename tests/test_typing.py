"""What a type checker needs is installed with the package."""

from __future__ import annotations

import importlib.util
from importlib import resources

import fastxent as fx
from subprocesses import output


def test_the_package_is_typed() -> None:
    files = resources.files(fx)
    assert files.joinpath("py.typed").is_file()
    for name in ("_kernels", "_softmax", "_sigmoid", "_probability"):
        assert importlib.util.find_spec(f"fastxent.{name}") is not None
        assert files.joinpath(f"{name}.pyi").is_file(), f"{name} has no stub"


def test_all_names_exist_and_are_documented() -> None:
    assert sorted(fx.__all__, key=str.lower) == sorted(set(fx.__all__), key=str.lower)
    for name in fx.__all__:
        thing = getattr(fx, name)
        assert not callable(thing) or (thing.__doc__ or "").strip(), f"{name} has no docstring"


def test_importing_brings_in_nothing_else() -> None:
    """What numpy and scipy.sparse do not import themselves is imported where it is used."""
    script = """
import sys, numpy, scipy.sparse
before = set(sys.modules)
import fastxent as fx
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(sorted(name for name in new if not name.startswith("_cython")), "fastxent.losses" in sys.modules)
print("losses" in dir(fx), fx.losses.SoftmaxCrossEntropy.__name__, fx.softmax.__name__)
try:
    fx.nothing
except AttributeError as error:
    print(error)
"""
    first, second, third = output(script).splitlines()
    assert first == "['fastxent'] False"
    assert second == "True SoftmaxCrossEntropy softmax"
    assert third == "module 'fastxent' has no attribute 'nothing'"
