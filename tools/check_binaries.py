"""Check what a build exports, and how large it is: ``python tools/check_binaries.py BUILD_FOLDER``.

* each library of kernels exports its table and nothing else, or two instruction sets could share a function;
* what else is ours in C exports nothing but names that begin with ``fx_``;
* each extension module exports ``PyInit_...`` and nothing else;
* all extension modules together, stripped, stay below 2 MB.

Needs ``nm`` and ``strip``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

MOST_BYTES = 2_000_000


def exported(nm: list[str], binary: Path) -> set[str]:
    """Names that `binary` defines for others."""
    lines = subprocess.run([*nm, str(binary)], check=True, capture_output=True, text=True).stdout.splitlines()
    return {line.split()[-1] for line in lines if len(line.split()) == 3}


def stripped_size(binary: Path) -> int:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copy(binary, folder))
        subprocess.run(["strip", str(copy)], check=True)
        return copy.stat().st_size


def main(build: Path) -> int:
    problems = []
    wanted = {}
    libraries = sorted(build.glob("src_c/lib*.a"))
    for library in libraries:
        name = library.stem.removeprefix("lib")
        wanted[library] = name.replace("kernels_", "fx_table_") if name.startswith("kernels_") else "fx_.*"
    modules = sorted(build.glob("fastxent/*.so"))
    for module in modules:
        wanted[module] = f"PyInit_{module.name.partition('.')[0]}"
    if not any(library.stem.startswith("libkernels_") for library in libraries) or not modules:
        problems.append(f"no kernels or no extension modules in {build}")

    for binary, pattern in sorted(wanted.items()):
        dynamic = ["-D"] if binary in modules else ["-g"]
        found = exported(["nm", *dynamic, "--defined-only"], binary)
        print(f"{binary.relative_to(build)}: {' '.join(sorted(found))}")
        if not found or not all(re.fullmatch(pattern, name) for name in found):
            problems.append(f"{binary.name} exports {sorted(found)}, not {pattern}")

    sizes = {module: stripped_size(module) for module in modules}
    print(*(f"{size:>9,} bytes  {module.name}" for module, size in sizes.items()), sep="\n")
    print(f"{sum(sizes.values()):>9,} bytes  together, stripped, of {MOST_BYTES:,}")
    if sum(sizes.values()) >= MOST_BYTES:
        problems.append(f"the extension modules take {sum(sizes.values()):,} bytes")
    for problem in problems:
        print(f"check_binaries: {problem}", file=sys.stderr)
    return bool(problems)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tools/check_binaries.py BUILD_FOLDER")
    sys.exit(main(Path(sys.argv[1])))
