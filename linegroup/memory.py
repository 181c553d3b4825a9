"""What memory costs besides what is done with it: pages that are cleared, objects that are looked through."""

from __future__ import annotations

import ctypes
import functools
import gc
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Parameters of glibc's `mallopt`."""

KEPT = 1 << 30
"""Bytes of freed memory that a process keeps for what it asks for next; of more, the rest goes back."""


@functools.cache
def keep_freed_memory() -> bool:
    """Let this process keep up to `KEPT` bytes of freed memory, whatever the size of the pieces.

    glibc gives each array above 32 MB back as soon as it is freed, and the system clears each page of the next one. The
    layers of a network on a picture of a megapixel are such arrays: page faults then take as long as the network.
    The peak of the memory stays what it was; what was needed once is kept until the process ends. Threads that begin
    from now on share one heap: the others hold no piece above 64 MB, and would give large arrays back all the same.

    Returns:
        Whether it was done; False where the C library is another one, or refuses.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    # The first two: setting one ends glibc's own way of adapting the other.
    return all(mallopt(*change) == 1 for change in ((_MMAP_THRESHOLD, KEPT), (_TRIM_THRESHOLD, KEPT), (_ARENA_MAX, 1)))


def keep_objects() -> None:
    """No longer look through the objects that there are now for garbage: a process that serves has a million of them.

    Libraries, loaded models and compiled code stay anyway; looking through them stops a request for a third of a second
    every now and then. To be called again after a model was changed: what is left of the old one goes first.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
