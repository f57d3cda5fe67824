"""Run the examples in the docstrings of the installed fastxent, and those in README.md and docs/*.md.

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

CHECKOUT = Path(__file__).resolve().parents[1]
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]


def main() -> int:
    modules = []
    for name in ["fastxent", *(module.name for module in pkgutil.walk_packages(fastxent.__path__, "fastxent."))]:
        try:
            modules += [] if name.endswith("__main__") else [importlib.import_module(name)]
        except ImportError as error:
            # As those say that want a package which fastxent does not ask for.
            if "pip install" not in str(error):
                raise
            print(f"{name}: left out, {error}")
    failed = attempted = 0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # examples may write files
        for module in modules:
            result = doctest.testmod(module)
            if result.attempted:
                print(f"{module.__name__}: {result.attempted} examples")
            failed += result.failed
            attempted += result.attempted
        in_docstrings = attempted
        for page in PAGES:
            result = doctest.testfile(str(page), module_relative=False, encoding="utf-8", optionflags=doctest.ELLIPSIS)
            print(f"{page.name}: {result.attempted} examples")
            failed += result.failed
            attempted += result.attempted
        os.chdir(CHECKOUT)
    print(f"{attempted} examples, {failed} failed, with fastxent from {Path(fastxent.__file__).parent}")
    # None at all would mean that they were not found.
    return failed > 0 or in_docstrings == 0 or attempted == in_docstrings


if __name__ == "__main__":
    sys.exit(main())
