"""One job at a time in a folder."""

from __future__ import annotations

import contextlib
import fcntl
import logging
from collections.abc import Iterator
from pathlib import Path

from linegroup.errors import UserError

logger = logging.getLogger(__name__)

_LOCK = ".lock"


@contextlib.contextmanager
def locked(out: Path, lock: Path | None = None) -> Iterator[None]:
    """Hold the lock of an output folder: the system gives it back when the process dies.

    Args:
        out: The folder.
        lock: The file that is locked, and whoever names one removes it. None: `.lock` in the folder, which is made
            where it is missing, and removed again where the job fails with nothing in it.

    Raises:
        UserError: another process holds it.
        OSError: the folder cannot be written.
    """
    made = [folder for folder in (out, *out.parents) if not folder.exists()] if lock is None else []
    lock = lock or out / _LOCK
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"Another job is writing into {out}. Wait for it, or choose another folder.") from None
        except OSError as error:
            logger.warning("%s cannot be locked (%s): let no second job write into it.", out, error.strerror)
        try:
            yield
        except UserError:
            _leave_no_empty_folder(lock, made)
            raise


def _leave_no_empty_folder(lock: Path, made: list[Path]) -> None:
    """Remove folders made for the lock alone, the innermost first."""
    if made and all(path == lock for path in lock.parent.iterdir()):
        lock.unlink()
        with contextlib.suppress(OSError):
            for folder in made:
                folder.rmdir()
