"""How many threads torch has in a thread of ours."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

_here = threading.local()


def use_torch_threads(count: int) -> None:
    """Let torch use so many in this thread from now on; threads that are new to it have as many as was said last."""
    # Asked for the first time in a thread, torch takes what was said last, by whomever: that is to be over.
    torch.get_num_threads()
    torch.set_num_threads(count)


@contextmanager
def sharing(count: Callable[[], int]) -> Iterator[None]:
    """For as long as the block lasts, let each step of a network in this thread ask anew how many threads it may use.

    Args:
        count: Says so; asked often.
    """
    _here.count = count
    try:
        yield
    finally:
        del _here.count


def share() -> None:
    """Before a step of a network: use as many threads as there are for it now, if this thread shares them."""
    count = getattr(_here, "count", None)
    if count is not None and (now := count()) != torch.get_num_threads():
        torch.set_num_threads(now)
