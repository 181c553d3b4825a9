"""Checkpoints in Ray's storage: finding those of a run again, and agreeing with what the machines have themselves."""

from __future__ import annotations

import hashlib
import logging
import uuid
from pathlib import Path

from pyarrow import fs
from ray.train import Checkpoint

from linegroup.errors import UserError
from linegroup.files import write_bytes
from linegroup.training.checkpoint import BEST, LAST, PREVIOUS, find_checkpoint, load_checkpoint
from linegroup.training.runtime import Runtime

logger = logging.getLogger(__name__)


def run_name(out: Path) -> str:
    """A name for Ray: new each time, and to be recognised by the run folder, which must be absolute.

    A name that was used before would be gone on with by Ray itself, or be over already.
    """
    return f"{_prefix(out)}{uuid.uuid4().hex[:12]}"


def newest_stored(storage: str, out: Path) -> str | None:
    """The newest good checkpoint that earlier sessions of the run in `out` left in Ray's storage.

    Args:
        storage: `ray.storage`: a folder, or a URI that pyarrow knows (s3, gs, hdfs, file).
        out: The absolute run folder. Runs into other folders may share the storage; theirs are not looked at.

    Returns:
        The folder in the storage, for `open_stored`; None where there is none.

    Raises:
        UserError: the storage cannot be read.
    """
    try:
        files, root = _filesystem(storage)
        runs = files.get_file_info(fs.FileSelector(root, allow_not_found=True))
        places = [
            f"{folder.path}/{LAST}"
            for run in runs
            if run.base_name.startswith(_prefix(out)) and run.type == fs.FileType.Directory
            for folder in files.get_file_info(fs.FileSelector(run.path))
            if folder.base_name.startswith("checkpoint_")
        ]
        found = [info for info in files.get_file_info(places) if info.type == fs.FileType.File] if places else []
    # pyarrow's errors: OSError of every kind, ArrowInvalid (a ValueError) for a URI that it does not know.
    except (OSError, ValueError) as error:
        raise UserError(f"ray.storage={storage} cannot be read: {error}") from None
    # By time, not by step: a run may have gone back to an earlier step on purpose.
    for info in sorted(found, key=lambda info: (info.mtime_ns or 0, info.path), reverse=True):
        place = info.path.removesuffix(f"/{LAST}")
        try:
            with open_stored(storage, place).as_directory() as source:
                load_checkpoint(Path(source) / LAST)
        except UserError as error:
            # Its writer may have been killed half-way.
            logger.warning("%s Looking for an earlier one.", error)
            continue
        return str(place)
    return None


def open_stored(storage: str, place: str) -> Checkpoint:
    """What `newest_stored` has found."""
    return Checkpoint(place, _filesystem(storage)[0])


def fetch(stored: Checkpoint, folder: Path, runtime: Runtime, *, newer: bool) -> None:
    """Put a stored checkpoint into `folder`, unless what is there is to be gone on from; all workers must call it.

    All of them go on from the same step: where they have different ones (machines without a shared disk, of
    which only that of rank 0 has the newest), each takes the stored one.

    Args:
        stored: The newest checkpoint in the storage.
        folder: `checkpoints` of the run folder.
        runtime: This process.
        newer: Take the stored one also where all have an older one.
    """
    with stored.as_directory() as source:
        try:
            step = load_checkpoint(Path(source) / LAST).step
        except UserError as error:
            logger.warning("%s The stored checkpoint is left alone.", error)
            return
        here = local_step(folder)
        wanted = max(here, step) if newer or here < 0 else here
        low, high = runtime.extremes(wanted)
        if (here != step) if low != high else (here < wanted):
            _copy(Path(source), folder)


def local_step(folder: Path) -> int:
    """The step of the newest good checkpoint in `folder`; -1 where there is none."""
    try:
        found = find_checkpoint(folder)
    except UserError as error:
        logger.warning("%s", error)
        return -1
    return -1 if found is None else found[0].step


def _copy(source: Path, folder: Path) -> None:
    # Several processes of a machine may do so at once: each file is whole at every moment, and the same.
    if (source / BEST).exists():
        write_bytes(folder / BEST, (source / BEST).read_bytes())
    else:
        (folder / BEST).unlink(missing_ok=True)
    write_bytes(folder / LAST, (source / LAST).read_bytes())
    # It may be of a later step.
    (folder / PREVIOUS).unlink(missing_ok=True)


def _prefix(out: Path) -> str:
    return f"train-{hashlib.sha256(str(out).encode()).hexdigest()[:12]}-"


def _filesystem(storage: str) -> tuple[fs.FileSystem, str]:
    found: tuple[fs.FileSystem, str] = fs.FileSystem.from_uri(
        storage if "://" in storage else str(Path(storage).absolute())
    )
    return found
