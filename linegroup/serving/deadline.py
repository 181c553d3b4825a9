"""Until when somebody waits for an answer."""

from __future__ import annotations

import time


class Late(TimeoutError):
    """Nobody waits for this answer any more."""


def check_time(deadline: float | None) -> None:
    """Stop where nobody waits.

    Args:
        deadline: Unix time; None: somebody always does.

    Raises:
        Late: the deadline is over.
    """
    if deadline is not None and time.time() > deadline:
        raise Late("The time for this request is over.")
