"""One job at a time in a folder."""

from __future__ import annotations

import contextlib
import fcntl
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from linegroup.errors import UserError

logger = logging.getLogger(__name__)

_LOCK = ".lock"


@contextlib.contextmanager
def locked(out: Path, lock: Path | None = None, *, kind: str = "") -> Iterator[None]:
    """Hold the lock of an output folder: the system gives it back when the process dies.

    Args:
        out: The folder.
        lock: The file that is locked, and whoever names one removes it. None: `.lock` in the folder, which is made
            where it is missing, and removed again where the job fails with nothing in it.
        kind: What makes the folder, for people: it stays in the lock, and a folder of another kind is refused.

    Raises:
        UserError: another process holds it, or the folder is of another kind.
        OSError: the folder cannot be written.
    """
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    own, lock = lock is None, lock or out / _LOCK
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"Another job is writing into {out}. Wait for it, or choose another folder.") from None
        except OSError as error:
            logger.warning("%s cannot be locked (%s): let no second job write into it.", out, error.strerror)
        try:
            if kind:
                _claim(stream, out, lock, kind)
            yield
        except UserError:
            if own:
                _leave_nothing(lock, made)
            raise


def _claim(stream: IO[str], out: Path, lock: Path, kind: str) -> None:
    stream.seek(0)
    other = stream.read().strip()
    if other and other != kind and any(path != lock for path in out.iterdir()):
        raise UserError(f"{out} is the folder of {other}, and it stays so: name another one.")
    stream.seek(0)
    stream.truncate()
    stream.write(f"{kind}\n")
    stream.flush()


def _leave_nothing(lock: Path, made: list[Path]) -> None:
    """Remove a lock that is alone in its folder, and the folders that were made for it, the innermost first."""
    if all(path == lock for path in lock.parent.iterdir()):
        lock.unlink()
        with contextlib.suppress(OSError):
            for folder in made:
                folder.rmdir()
