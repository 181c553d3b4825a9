"""Variables of the environment for the length of a piece of work."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping


@contextlib.contextmanager
def default_variables(values: Mapping[str, str], also_restored: Iterable[str] = ()) -> Iterator[None]:
    """Set what the caller's environment leaves open, and put it back; what the user has set stays as it is.

    Processes that are started within inherit the variables, later ones do not.

    Args:
        values: Variables and their values.
        also_restored: Others that are put back too: libraries write them.
    """
    before = {name: os.environ.get(name) for name in (*values, *also_restored)}
    for name, value in values.items():
        os.environ.setdefault(name, value)
    try:
        yield
    finally:
        for name, old in before.items():
            if old is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = old
