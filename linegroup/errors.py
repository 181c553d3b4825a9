"""The one error class for mistakes of the caller's, shared by every stage."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something the caller can mend: the message says what is wrong, where, and what to do.

    The command line prints the message alone and exits with 2; the server answers 4xx with it.
    """


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Error for a name that a registry does not hold: names the nearest right one and all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return UserError(f"Unknown {kind} {name!r}.{hint} Known: {', '.join(names)}.")
