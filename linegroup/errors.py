"""The one error class for mistakes of the caller's, shared by every stage."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable


class UserError(ValueError):
    """Something the caller can mend: the message says what is wrong, where, and what to do.

    The command line prints the message alone and exits with 2; the server answers 4xx with it.

    Attributes:
        cause: The message without the file that it is of, where many files may have it in common; else "".
    """

    def __init__(self, *words: object, cause: str = "") -> None:
        super().__init__(*words)
        self.cause = cause


def plainly(error: Exception) -> str:
    """What is wrong with a file or a text, without the words of the parser or system call that stumbled over it."""
    if isinstance(error, json.JSONDecodeError):
        if not error.doc[error.pos :].strip():
            return "it ends too early" if error.doc.strip() else "it is empty"
        return f"it is not JSON from line {error.lineno}, column {error.colno} on"
    if isinstance(error, UnicodeDecodeError):
        return "it is not text in UTF-8"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing" if error.args else "something is missing"
    words = " ".join(str(error).split())
    no_number = re.match(r"(?:could not convert string to float|invalid literal for int\(\) with base 10): (.+)", words)
    if no_number:
        return f"{no_number[1]} is not a number"
    if isinstance(error, TypeError | AttributeError | IndexError) or "values to unpack" in words:
        return "a value is missing, or of another kind than it must be"
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is not None:
        return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
    return words


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Error for a name that a registry does not hold: names the nearest right one and all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return UserError(f"Unknown {kind} {name!r}.{hint} Known: {', '.join(names)}.")
