"""Which files a command reads, and what their results are called."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from linegroup.errors import UserError
from linegroup.picture_files import SUFFIXES, is_picture


@dataclass(frozen=True)
class Input:
    """One picture and the stem of its results' names."""

    path: Path
    stem: str


def collect(inputs: Iterable[Path]) -> list[Input]:
    """The pictures that files and folders stand for, each once, in the order given.

    Folders are not searched below; their pictures come sorted by name, without hidden files and without
    what `predict` itself writes. Results are named by the file's stem; where several inputs share one
    (`a.png`, `a.jpg`), by their full names.

    Raises:
        UserError: a folder holds no pictures, or two inputs have the same full name.
    """
    unique: dict[Path, Path] = {}
    for path in (file for given in inputs for file in _expand(given)):
        unique.setdefault(path.resolve(), path)
    paths = list(unique.values())
    return [Input(path, stem) for path, stem in zip(paths, stems_of(paths), strict=True)]


def stems_of(paths: list[Path]) -> list[str]:
    """How the results' names of each begin: with its stem, or its full name where several share one.

    Raises:
        UserError: two have the same full name.
    """
    by_stem = _shared(paths, lambda path: path.stem)
    stems = [path.name if path in by_stem else path.stem for path in paths]
    # A full name may be the stem of another input: a.png beside a.png.png.
    if len({stem.casefold() for stem in stems}) < len(stems):
        stems = [path.name for path in paths]
        clash = _shared(paths, lambda path: path.name)
        if clash:
            names = ", ".join(map(str, sorted(clash)[:4]))
            raise UserError(
                f"Results of these inputs would have the same name: {names}. Use one --out for each folder."
            )
    return stems


def check_out(out: Path) -> None:
    """Whether files can be written into the output folder; it is made with the first of them, not before.

    Raises:
        UserError: it cannot be made or written, or is a file.
    """
    try:
        there = next(folder for folder in (out, *out.absolute().parents) if os.path.lexists(folder))
        if not there.is_dir():
            raise UserError(f"Cannot make the output folder {out}: {there} is a file. Choose another --out.")
    except OSError as error:
        raise UserError(f"Cannot make the output folder {out}: {error.strerror}.") from None
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"Cannot write into the output folder {out}: permission denied.")


def check_free(paths: Iterable[Path], inputs: Collection[Path] = ()) -> None:
    """Whether files can be written there; asked before the first of them, so that none is left of a picture.

    Args:
        paths: The files to be.
        inputs: Files that are read and must stay, resolved.

    Raises:
        UserError: one of them is a folder, or one of the inputs.
    """
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            raise UserError(f"{path} is a folder; choose another --out.")
        if inputs and path.resolve() in inputs:
            raise UserError(f"{path} is one of the inputs and would be overwritten; choose another --out.")


def check_same(pictures: Mapping[Path, bytes]) -> None:
    """Whether pictures can be written where nothing is, or they themselves.

    Raises:
        UserError: another file is there.
    """
    for path, content in pictures.items():
        if path.is_file() and path.read_bytes() != content:
            raise UserError(f"{path} is there already and is another picture; choose another --out.")


def _expand(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    try:
        found = sorted(entry for entry in path.iterdir() if is_picture(entry.name))
    except OSError as error:
        raise UserError(f"Cannot read the folder {path}: {error.strerror}.") from None
    if not found:
        known = ", ".join(sorted(SUFFIXES))
        raise UserError(f"The folder {path} holds no pictures ({known}); folders below it are not searched.")
    return found


def _shared(paths: list[Path], key: Callable[[Path], str]) -> set[Path]:
    """Those whose key another one has too, letters' case aside: some file systems do not tell them apart."""
    counts = Counter(key(path).casefold() for path in paths)
    return {path for path in paths if counts[key(path).casefold()] > 1}
