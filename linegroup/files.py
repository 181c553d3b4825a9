"""Atomic files: a reader sees the whole new file or none of it, also after a crash."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

TEMPORARY, REPLACED = ".tmp", ".old"
"""Ends of names beside a file or folder that is being written: the new one, and the one that stepped aside for it."""

_RANDOM = r"[a-z0-9_]{8}"
"""What `tempfile` puts into a name."""

_open_temporaries: set[Path] = set()
"""Those that this process is writing, for the case that it ends without unwinding."""


def write_atomic(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Call `write` on a temporary file beside `path`, flush it to disk, then rename it to `path`.

    When anything fails (disk full, an exception in `write`), the temporary file is removed and what
    stood at `path` before is untouched. The folder of `path` is made when missing.

    Raises:
        OSError: the file could not be written; nothing has changed at `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
    temporary = Path(name)
    _open_temporaries.add(temporary)
    try:
        with _named(path), os.fdopen(handle, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes private files; results are as readable as any file the user makes.
        temporary.chmod(0o666 & ~_umask())
        _rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        _open_temporaries.discard(temporary)
    sync_folder(path.parent)


def remove_open_temporaries() -> None:
    """Remove the temporary files that this process is writing, right before it ends without unwinding."""
    for path in list(_open_temporaries):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically (see `write_atomic`)."""
    write_atomic(path, lambda stream: _write_all(stream, content))


def write_text(path: Path, content: str) -> None:
    """Write `content` as UTF-8 to `path` atomically (see `write_atomic`)."""
    write_bytes(path, content.encode("utf-8"))


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that becomes `folder` at the end, in place of the one there; on an error it is removed."""
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=TEMPORARY))
    old = work.with_suffix(REPLACED)
    try:
        yield work
        work.chmod(0o777 & ~_umask())
        # A folder cannot be renamed onto a full one: the old one steps aside for this moment.
        if folder.exists():
            folder.rename(old)
        work.rename(folder)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
    sync_folder(folder.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder into which a stopped job's last tasks may still be writing: it steps aside first.

    Whoever writes by its old name finds no folder any more, and cannot fill it while it is emptied.
    """
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=REPLACED))
    folder.rename(aside)  # onto an empty folder
    shutil.rmtree(aside)


def recover_folder(folder: Path, is_good: Callable[[Path], bool]) -> bool:
    """Clear away what killed users of `new_folder` left beside a folder; nobody may be writing it now.

    Only names that `new_folder` makes are touched: `.NAME.xxxxxxxx.tmp` and `.NAME.xxxxxxxx.old`.

    Args:
        folder: Where it is, or was, or will be.
        is_good: Whether a folder is whole.

    Returns:
        Whether the one that had stepped aside when its writer was killed had to be put back.
    """
    folder = folder.absolute()
    back = False
    if not os.path.lexists(folder):
        aside = [path for path in left_beside(folder, REPLACED) if is_good(path)]
        if aside:
            # By the time when they stepped aside.
            max(aside, key=lambda path: path.stat().st_ctime_ns).rename(folder)
            sync_folder(folder.parent)
            back = True
    replaced = list(left_beside(folder, REPLACED))
    # Not before there is a good one: what cannot be read here may be of a newer version.
    left = replaced if replaced and is_good(folder) else []
    for path in [*left, *left_beside(folder)]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
    return back


def left_beside(path: Path, end: str = TEMPORARY) -> Iterator[Path]:
    """What writers of `path` have beside it: those at work, and those that were killed.

    Args:
        path: The file or folder; `*` in its name stands for anything.
        end: `TEMPORARY` or `REPLACED`.
    """
    ours = _named_like(path.name)
    yield from (each for each, wanted in _left_in(path.parent, end) if ours.fullmatch(wanted))


def _named_like(name: str) -> re.Pattern[str]:
    """`*` stands for anything."""
    return re.compile(re.escape(name).replace(r"\*", ".*"), re.DOTALL)


def _left_in(folder: Path, end: str) -> list[tuple[Path, str]]:
    """What writers have in a folder, and the name of what they write."""
    ours = re.compile(rf"\.(.*)\.{_RANDOM}{re.escape(end)}", re.DOTALL)
    try:
        found = [(each, ours.fullmatch(each.name)) for each in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [(each, match[1]) for each, match in found if match]


def remove_temporaries(folder: Path, *names: str) -> None:
    """Remove what killed writers of these files left in a folder; nobody may be writing them now.

    Args:
        folder: It may be missing.
        names: Of the files; `*` stands for anything.
    """
    exact = {name for name in names if "*" not in name}
    patterns = [_named_like(name) for name in names if "*" in name]
    for path, wanted in _left_in(folder, TEMPORARY):
        ours = wanted in exact or any(pattern.fullmatch(wanted) for pattern in patterns)
        if ours and (path.is_symlink() or not path.is_dir()):
            path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a rename inside it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with _named(folder):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes, read in chunks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """A full disk does not say what it was that could not be written."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def _rename(temporary: Path, path: Path) -> None:
    """Errors name the file that is wanted; the temporary one says nothing to anybody."""
    try:
        temporary.replace(path)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from None


def _write_all(stream: IO[bytes], content: bytes) -> None:
    stream.write(content)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
