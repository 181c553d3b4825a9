"""How many threads torch has in a thread of ours."""

from __future__ import annotations

import torch


def use_torch_threads(count: int) -> None:
    """Let torch use so many in this thread from now on; threads that are new to it have as many as was said last."""
    # Asked for the first time in a thread, torch takes what was said last, by whomever: that is to be over.
    torch.get_num_threads()
    torch.set_num_threads(count)
