"""Loops as machine code: the one way that numba is used.

`COMPILES` says whether they are; else they run as Python, which is right but slow.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

try:
    from numba import config, njit

    COMPILES: bool = not config.DISABLE_JIT  # type: ignore[attr-defined]
except ImportError:  # none for this platform, or a broken one
    COMPILES = False

_KEPT: list[Any] = []
"""Functions whose machine code is kept on disk."""

_given: list[int] = []
"""What `use_threads` said last; else empty."""

_Function = TypeVar("_Function", bound=Callable[..., Any])


def use_threads(count: int) -> None:
    """Spread long loops over so many threads from now on, in this process, whatever the environment says.

    The environment is not for this: it is read in other threads while it would be written.
    """
    _given[:] = [count]


def threads() -> int:
    """Threads to spread long loops over: as `use_threads` said, else OMP_NUM_THREADS, as Ray says, else all cores."""
    if _given:
        return _given[0]
    text = os.environ.get("OMP_NUM_THREADS", "")
    first = text.split(",")[0].strip()
    return max(1, int(first)) if first.isdigit() else (os.cpu_count() or 1)


def compiled(function: _Function) -> _Function:
    """Machine code that releases the interpreter; kept on disk where that is possible.

    Arithmetic is done as written: sums have the order of the loop.
    """
    return _compile(function, {})


def inlined(function: _Function) -> _Function:
    """As `compiled`, and part of whatever calls it: for small steps of inner loops that take many arrays."""
    return _compile(function, {"forceinline": True})


def inlined_freely(function: _Function) -> _Function:
    """As `inlined`, but sums may be taken in any order, products fused into them, and nothing is NaN.

    For bounds that leave a margin for rounding.
    """
    return _compile(function, {"forceinline": True, "fastmath": {"reassoc", "contract", "nsz", "nnan"}})


def is_cold() -> bool:
    """Whether no machine code of the functions imported so far is kept from an earlier run: the first call compiles."""
    return COMPILES and not any(map(_is_kept, _KEPT))


def _is_kept(made: Any) -> bool:
    source = Path(made.py_func.__code__.co_filename)
    try:
        changed = source.stat().st_mtime
        indices = Path(made.stats.cache_path).glob(f"{source.stem}.{made.py_func.__qualname__}-*.nbi")
        return any(index.stat().st_mtime >= changed for index in indices)
    except OSError:
        return False


def _compile(function: _Function, options: dict[str, Any]) -> _Function:
    if not COMPILES:
        return function
    made: Any
    try:
        made = njit(cache=True, nogil=True, **options)(function)
        _KEPT.append(made)
    except RuntimeError:  # what numba raises where no folder can be written: read-only images, users without a home
        made = njit(nogil=True, **options)(function)
    return cast(_Function, made)
