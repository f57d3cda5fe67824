"""What every library hands to the harness: calls to time, each with a name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["ours", "peer", "yardstick"]
Output = Literal["fresh", "buffer"]

INTO_BUFFER = ", into buffer"


@dataclass(frozen=True)
class Implementation:
    """One way to compute a case.

    ``call`` takes nothing and returns ``(loss, gradient)``, or for ``logsumexp`` the values, as
    anything ``numpy.asarray`` understands; it has finished when it returns.

    ``output`` says who owns the gradient: ``"fresh"`` is allocated by the call, ``"buffer"`` was
    allocated before and is written again by every call. Only equals are ranked.

    A ``"yardstick"`` computes something else on the same bytes: neither checked nor ranked.
    """

    name: str
    library: str
    call: Callable[[], Any]
    role: Role = "peer"
    output: Output = "fresh"
    note: str = ""
