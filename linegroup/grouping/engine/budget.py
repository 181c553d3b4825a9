"""How much a clustering may look at before it gives up.

A step is a node or a block of 32 points held against a point or another node: some 50 ns. The count does not
depend on the machine, so the same call ends the same way everywhere.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linegroup.errors import UserError

UNLIMITED = 2**62


class WorkExceeded(UserError):
    """A clustering was stopped because it had looked at more than it was allowed to."""


def allowance(steps: int | None) -> NDArray[np.int64]:
    """`(2,) int64` for the engine's kernels: spent so far, and allowed; None: without limit."""
    return np.array([0, UNLIMITED if steps is None else steps], dtype=np.int64)


def settle(work: NDArray[np.int64], what: str, count: int) -> None:
    """Refuse to go on with a result that was cut short.

    Raises:
        WorkExceeded: more was spent than allowed.
    """
    if work[0] > work[1]:
        raise WorkExceeded(
            f"{what} of {count} points was stopped after {work[1]} steps: the points lie almost evenly, as those of an"
            " untrained model do. Raise grouping.max_work, lower grouping.max_candidate_points, or choose"
            " grouping.over_work=sample."
        )
