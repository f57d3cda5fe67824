"""``python -m fastxent``: the same as the ``fastxent`` command."""

import sys

from fastxent.cli import main

sys.exit(main())
