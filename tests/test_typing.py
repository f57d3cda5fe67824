"""What a type checker needs is installed with the package."""

from __future__ import annotations

import importlib.util
from importlib import resources

import fastxent as fx


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
