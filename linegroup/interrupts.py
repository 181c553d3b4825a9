"""Ctrl-C at safe points only: an exception in the midst of compiled code (numba, torch, OpenCV) may crash it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Never

from linegroup.files import remove_open_temporaries

INTERRUPTED = 130
"""Exit code of what was interrupted."""

_SHOW_CURSOR = "\x1b[?25h"
"""Progress bars hide it."""


class _Noted:
    """A handler of SIGINT that remembers the first and ends the process at the second."""

    def __init__(self) -> None:
        self.came = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        if self.came:
            _end_now()
        self.came = True


@contextmanager
def interrupts_held() -> Iterator[None]:
    """While the block runs, Ctrl-C is only noted; `KeyboardInterrupt` comes at its end or at a `safe_point` within.

    A second one ends the process at once. Imports of compiled libraries belong into such a block, too: interrupted,
    they end with errors of their own. Where Ctrl-C is not Python's own (another thread, another handler, within
    another such block), nothing changes.

    Raises:
        KeyboardInterrupt: one was noted, in place of what the block raised.
    """
    if not _is_main_thread() or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    noted = _Noted()
    signal.signal(signal.SIGINT, noted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if noted.came:
            raise KeyboardInterrupt


def safe_point() -> None:
    """A place where nothing is half done and no compiled code is running.

    Raises:
        KeyboardInterrupt: one was noted by `interrupts_held`.
    """
    handler = signal.getsignal(signal.SIGINT)
    if isinstance(handler, _Noted) and handler.came and _is_main_thread():
        raise KeyboardInterrupt


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _end_now() -> Never:
    remove_open_temporaries()
    with suppress(OSError):
        end = _SHOW_CURSOR if sys.stderr.isatty() else ""
        os.write(2, f"{end}linegroup: Interrupted.\n".encode())
    os._exit(INTERRUPTED)
