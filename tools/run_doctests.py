"""Run the examples in the docstrings of the installed fastxent, and those in README.md.

Extension modules are among them, which ``pytest --doctest-modules`` passes over. This folder, not the checkout, is
where Python looks first, so ``fastxent`` is the package that was built.
"""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import sys
import tempfile
from pathlib import Path

import fastxent

README = Path(__file__).resolve().parents[1] / "README.md"


def main() -> int:
    names = [module.name for module in pkgutil.walk_packages(fastxent.__path__, "fastxent.")]
    modules = [importlib.import_module(name) for name in ["fastxent", *names] if not name.endswith("__main__")]
    failed = attempted = 0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # examples may write files
        for module in modules:
            result = doctest.testmod(module)
            if result.attempted:
                print(f"{module.__name__}: {result.attempted} examples")
            failed += result.failed
            attempted += result.attempted
        result = doctest.testfile(str(README), module_relative=False, encoding="utf-8")
        print(f"{README.name}: {result.attempted} examples")
        os.chdir(README.parent)
    failed += result.failed
    attempted += result.attempted
    print(f"{attempted} examples, {failed} failed, with fastxent from {Path(fastxent.__file__).parent}")
    # None at all would mean that they were not found.
    return failed > 0 or result.attempted == 0 or attempted == result.attempted


if __name__ == "__main__":
    sys.exit(main())
