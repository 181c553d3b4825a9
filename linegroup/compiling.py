"""Loops as machine code: the one way that numba is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """Machine code that releases the interpreter; kept on disk where that is possible."""
    made: Any
    try:
        made = njit(cache=True, nogil=True)(function)
    except RuntimeError:  # what numba raises where no folder can be written: read-only images, users without a home
        made = njit(nogil=True)(function)
    return cast(_Function, made)
