"""How many requests are at work or wait for it: bounded, and what is beyond is told to come again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from linegroup.serving.stages import Overloaded


class Gate:
    """Counts requests in and out.

    Args:
        limit: Most that are in at once.
        retry_after_s: What those beyond are told.
    """

    def __init__(self, limit: int, retry_after_s: float) -> None:
        self._limit = limit
        self._retry_after_s = retry_after_s
        self.inside = 0

    @property
    def full(self) -> bool:
        """Whether nobody else may enter."""
        return self.inside >= self._limit

    @contextmanager
    def entered(self) -> Iterator[None]:
        """One place for as long as the block lasts.

        Raises:
            Overloaded: there is none.
        """
        if self.full:
            raise Overloaded(retry_after_s=self._retry_after_s)
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1
