"""The tests are for the built package, however pytest was started: the sources in `fastxent/` must not shadow it."""

import os
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent

# `python -m pytest` puts the current folder first.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != CHECKOUT]
# The same for the Pythons that tests start.
os.environ["PYTHONSAFEPATH"] = "1"
